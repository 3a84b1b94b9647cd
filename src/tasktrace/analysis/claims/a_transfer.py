"""Study A, section 3: what a partner does to a task, and from which training loss on it can be seen (figures 1, 2)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from tasktrace.analysis.claims.base import Claim, Finding, Tables
from tasktrace.analysis.claims.statistics import BAND, judged, more_than_chance, prevailing, some
from tasktrace.analysis.matched_loss import CURVE, bands_apart
from tasktrace.analysis.published import published_deltas
from tasktrace.config.arms import AUXILIARY
from tasktrace.tasks import HIGHER_IS_BETTER

UMTG = "umtg"
"""The plain sum of the tasks' gradients: section 3, figure 3 and table 1 speak of no other method."""

ADAM = "adam"
EARLY = 1000.0
"""The paper: the gap opens at a loss more than three orders of magnitude above the final one."""

SPAN = 10_000.0
"""How far losses have to fall for that to be seen: the paper follows them down to 1e-4 and below."""

SIGNS = ("positive", "negative")
SIGNIFICANT = "significant (the study's rule): the intervals of mean ± 2 std over seeds do not overlap"
MORE = "more seeds, or longer training"


def partners(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the plain sum with the setting's own groups: no other method, and no auxiliary set of section 5."""
    own: pd.DataFrame = table[(table["method"] == UMTG) & ~is_auxiliary(table)]
    return own


def is_auxiliary(table: pd.DataFrame) -> pd.Series:
    """Which rows are of section 5's random sets, which are no part of sections 3 and 4."""
    return table["group"].str.startswith(f"mtl.{AUXILIARY}")


def with_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The rows with a number on both sides, and in ``seeds`` the fewer of the two sides' seeds."""
    seeds = table[["stl_seeds", "mtl_seeds"]].min(axis=1)
    return table[seeds > 0].assign(seeds=seeds)


def transfers(tables: Tables) -> pd.DataFrame:
    """Transfer of the plain sum to every task that was trained alone too: ``transfer.csv`` and ``seeds``."""
    return with_seeds(partners(tables.csv("transfer.csv")))


def fewest_seeds(rows: pd.DataFrame, otherwise: pd.DataFrame | None = None) -> int:
    """The smallest number of seeds of a row; of others where there is none."""
    return int((rows if otherwise is None or len(rows) else otherwise)["seeds"].min())


def case(row: dict[Any, Any]) -> str:
    """What a row is about: the task and its group."""
    return f"{row['task']} ({str(row['group']).removeprefix('mtl.')})"


def difference(row: dict[Any, Any]) -> str:
    """Together less alone, and both sides as mean ± std over seeds."""
    sides = [f"{row[f'{side}_mean']:.3g} ± {row[f'{side}_std']:.1g}" for side in ("mtl", "stl")]
    return f"{case(row)} {row['delta']:+.3g} ({' against '.join(sides)})"


def _both_signs(rows: pd.DataFrame, by: list[str], missing: str) -> Finding | None:
    """Whether rows that share ``by``, of which there are several, have significant transfer of both signs."""
    rows = rows[rows.groupby(by)["task"].transform("size") > 1]
    if rows.empty:
        return None
    n = fewest_seeds(rows)
    signs = rows.groupby(by)["transfer"].agg(set)
    both = signs.map(lambda found: set(SIGNS) <= found)
    counts = [int((rows["transfer"] == sign).sum()) for sign in SIGNS]
    holds = None
    if both.any() and all(more_than_chance(count, len(rows), n) for count in counts):
        holds = True
    elif rows["transfer"].isin(SIGNS).all() and (signs.map(len) == 1).all():
        holds = False
    shown = rows[rows["transfer"].isin(SIGNS)] if len(rows) > 2 else rows
    metrics = ", ".join(sorted(set(rows["metric"])))
    described = some([difference(row) for row in shown.to_dict("records")])
    numbers = f"significantly positive {counts[0]}, negative {counts[1]} of {len(rows)}; ΔG ({metrics}): {described}"
    return judged(holds, numbers, n, missing, len(rows))


def one_task_helped_and_hurt(tables: Tables) -> Finding | None:
    """Whether one task has a group that helps it and another one that hurts it."""
    missing = f"significant transfer of both signs to one task: {MORE}; or other `groups` in the setting's file"
    return _both_signs(transfers(tables), ["optimizer", "task"], missing)


def one_training_helps_and_hurts(tables: Tables) -> Finding | None:
    """Whether one group has a task that it helps and another one that it hurts."""
    missing = f"significant transfer of both signs within one group: {MORE}; or more tasks in the group"
    return _both_signs(transfers(tables), ["optimizer", "group"], missing)


def separations(tables: Tables) -> pd.DataFrame:
    """``separation.csv`` of the arms with significant transfer, with the columns of :func:`transfers`."""
    rows = transfers(tables)
    significant = rows[rows["transfer"].isin(SIGNS)]
    return significant.merge(tables.csv("separation.csv"), on=CURVE, validate="one_to_one")


def with_span(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The rows with ``span``: the highest loss that their curve and the task's alone share, over the final one."""
    highest = tables.parquet("curves.parquet").groupby(CURVE, dropna=False)["loss"].max().reset_index(name="highest")
    alone = highest[highest["method"].isna()][["optimizer", "task", "highest"]]
    both = rows.merge(highest, on=CURVE).merge(alone, on=["optimizer", "task"], suffixes=("", "_alone"))
    start = both[["highest", "highest_alone"]].min(axis=1)
    return both.assign(span=start / both["final_loss"])


def gap_opens_early(tables: Tables) -> Finding | None:
    """Whether bands part for good at more than ``EARLY`` times the final loss, where losses fall far enough."""
    rows = with_span(separations(tables), tables)
    counted = rows["span"] >= SPAN
    missing = (
        f"an arm with significant transfer whose full training loss falls by a factor of {SPAN:g} alone and together: "
        "longer training, or a larger model"
    )
    lasting, first = (rows[name] > EARLY for name in ("lasting_ratio", "first_ratio"))
    return _most(tables, rows, counted, lasting, _opening, missing, first)


def gap_opens_in_the_first_half(tables: Tables) -> Finding | None:
    """Whether bands part for good before the logarithm of the loss has fallen half its way."""
    rows = with_span(separations(tables), tables)
    counted = rows["span"] > 1
    lasting, first = (rows[name] >= np.sqrt(rows["span"]) for name in ("lasting_ratio", "first_ratio"))
    return _most(tables, rows, counted, lasting, _opening, f"an arm with significant transfer: {MORE}", first)


def gap_persists(tables: Tables) -> Finding | None:
    """Whether bands that parted stay apart down to the final loss, with the sign of the transfer."""
    rows = separations(tables)
    counted = rows["first_ratio"] > 1  # bands that part at the last loss only have nothing to last for
    lasting = rows["lasting_ratio"] >= np.sqrt(rows["first_ratio"])
    holds = lasting & (np.sign(rows["final_gap"]) == np.sign(rows["delta"]))
    return _most(tables, rows, counted, holds, _ending, f"an arm with significant transfer and a gap: {MORE}")


def _opening(row: dict[Any, Any]) -> str:
    """Where the bands of an arm part, and how far its loss and that of the task alone fall."""
    common = f"the losses fall to {row['final_loss']:.2g}, by a factor of {row['span']:.3g}"
    return f"{case(row)}: {_apart(row)}; {common}"


def _ending(row: dict[Any, Any]) -> str:
    """The gap at the lowest common loss, and from where on it lasts."""
    return f"{case(row)}: gap {row['final_gap']:+.2g} at the final loss of {row['final_loss']:.2g}, {_apart(row)}"


def _apart(row: dict[Any, Any]) -> str:
    """From which losses on the bands of an arm are apart at equal loss."""
    first, lasting = (f"{row[name]:.3g}" for name in ("first_ratio", "lasting_ratio"))
    if math.isnan(row["first_ratio"]):
        return "never apart"
    if math.isnan(row["lasting_ratio"]):
        return f"apart from {first} times the final loss on, but not there"
    return f"apart from {first}, without a break from {lasting} times the final loss on"


def _most(
    tables: Tables,
    rows: pd.DataFrame,
    counted: pd.Series,
    holds: pd.Series,
    describe: Callable[[dict[Any, Any]], str],
    missing: str,
    may_hold: pd.Series | None = None,
) -> Finding | None:
    """Whether something is so of more than half of the arms that count; none of them decide nothing.

    Where it may hold of more than half, but does not clearly, that is undecided too.
    """
    every = transfers(tables)
    if every.empty:
        return None
    count, of = int((holds & counted).sum()), int(counted.sum())
    possible = count if may_hold is None else int((may_hold & counted).sum())
    is_so = True if 2 * count > of else None if 2 * possible > of or not of else False
    n = fewest_seeds(rows[counted], every)
    described = some([describe(row) for row in rows.to_dict("records")])
    numbers = f"{count} of {of}; {len(rows)} of {len(every)} arms have significant transfer; {described}"
    return judged(is_so, numbers, n, f"gaps that last, or none: {MORE}" if of else missing, max(of, 1))


def published_signs(tables: Tables) -> Finding | None:
    """Whether the tasks of the paper's table 1 have significant transfer of its sign here."""
    paper = published_deltas()
    paper = paper[(paper["setting"] == tables.setting) & paper["delta_G"].notna() & (paper["unit"] != "unknown")]
    if paper.empty:
        return None
    rows = transfers(tables).merge(paper[["task", "delta_G", "unit"]], on="task")
    if rows.empty:
        return None
    n, published = fewest_seeds(rows), np.where(rows["delta_G"] > 0, *SIGNS)
    same = int((rows["transfer"] == published).sum())
    opposite = int(rows["transfer"].isin(SIGNS).sum()) - same
    holds = prevailing(same, opposite, len(rows), n)
    if holds and 2 * same <= len(rows):
        holds = None
    described = [f"{difference(row)}, published {row['delta_G']:+.3g} {row['unit']}" for row in rows.to_dict("records")]
    numbers = f"significantly of the published sign {same}, of the other {opposite} of {len(rows)}; {some(described)}"
    missing = f"significant transfer to more than half of the published tasks: {MORE}"
    return judged(holds, numbers, n, missing, len(rows))


def _arms(table: pd.DataFrame) -> pd.DataFrame:
    """Every arm and task once, alone and together: optimizer, task, metric, arm, mean, std, seeds."""
    sides = []
    for side, arm in (("stl", ""), ("mtl", table["method"] + " " + table["group"])):
        columns = {f"{side}_{what}": what for what in ("mean", "std", "seeds")}
        own = table[["optimizer", "task", "metric", *columns]].rename(columns=columns).assign(arm=arm)
        sides.append(own[own["seeds"] > 0].drop_duplicates())
    return pd.concat(sides, ignore_index=True)


def adam_is_best(tables: Tables) -> Finding | None:
    """Whether G is better with Adam than with the setting's other optimizers."""
    table = tables.csv("transfer.csv")
    arms = _arms(table[~is_auxiliary(table)])
    adam, others = arms[arms["optimizer"] == ADAM], arms[arms["optimizer"] != ADAM]
    rows = adam.merge(others, on=["task", "metric", "arm"], suffixes=("", "_other"))
    if rows.empty:
        return None
    gap = (rows["mean"] - rows["mean_other"]).where(
        rows["metric"].map(HIGHER_IS_BETTER), rows["mean_other"] - rows["mean"]
    )
    apart = bands_apart(gap.to_numpy(), rows["std"].to_numpy(), rows["std_other"].to_numpy(), BAND)
    better, worse = int((apart & (gap > 0)).sum()), int((apart & (gap < 0)).sum())
    n = int(rows[["seeds", "seeds_other"]].min(axis=1).min())
    named = ", ".join(sorted(set(rows["optimizer_other"])))
    numbers = (
        f"against {named}: Adam significantly better in {better} of {len(rows)} comparisons, significantly worse in "
        f"{worse}, better in the mean in {int((gap > 0).sum())}; median difference {gap.median():+.2g} of the metric"
    )
    missing = f"significant differences between optimizers: {MORE}"
    return judged(prevailing(better, worse, len(rows), n), numbers, n, missing, len(rows))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="a3-adam-best",
        study="A",
        place="section 3, training details",
        statement="Adam generalises better than SGD with and without momentum, so it is used throughout.",
        settings="all; the paper reports the choice, not the numbers",
        statistic="G (mean test metric over the epochs of best validation) of every arm and task, with Adam against "
        f"each other optimizer; {SIGNIFICANT}",
        threshold="significantly better more often than worse, and more often than by chance (exact binomial test "
        "with the rule's own rate of false alarms, 0.05); contradicted by the reverse",
        needs="groups trained with adam and another of `optimizers`",
        check=adam_is_best,
    ),
    Claim(
        id="a3-partner-both-signs",
        study="A",
        place="section 3, figure 1",
        statement="The same task can be helped by one partner and hurt by another.",
        settings="FashionMTL: Fashion1 with Fashion2 (positive), with NoisyFashion (negative)",
        statistic=f"transfer of the plain sum to each task that has several groups; {SIGNIFICANT}",
        threshold="some task has significant transfer of both signs, and there are more of each sign than by chance "
        "(exact binomial test, 0.05); contradicted if every transfer is significant, and to no task of both signs",
        needs="two groups that share a task trained alone",
        check=one_task_helped_and_hurt,
    ),
    Claim(
        id="a3-group-both-signs",
        study="A",
        place="section 3, figure 2; table 1",
        statement="The same multi-task training helps some of its tasks and hurts others.",
        settings="CIFAR-100, CelebA, GLUE",
        statistic="transfer of the plain sum within each group of several tasks that are trained alone too; "
        f"{SIGNIFICANT}",
        threshold="some group has significant transfer of both signs, and there are more of each sign than by chance "
        "(exact binomial test, 0.05); contradicted if every transfer is significant, and in no group of both signs",
        needs="a group of which two tasks are trained alone",
        check=one_training_helps_and_hurts,
    ),
    Claim(
        id="a3-published-signs",
        study="A",
        place="table 1, column ΔG",
        statement="The tasks listed with significant transfer are helped or hurt as published.",
        settings="CIFAR-100 (7 tasks), CelebA (4), GLUE (4); of Cityscapes neither cells nor units are certain",
        statistic=f"sign of ΔG of the plain sum for every published task; {SIGNIFICANT}",
        threshold="more than half are significant with the published sign; contradicted if more have the other sign "
        "significantly, and more than by chance (exact binomial test, 0.05)",
        needs="a setting of the paper's table 1, by its name",
        check=published_signs,
    ),
    Claim(
        id="a3-early-gap",
        study="A",
        place="section 3, figure 1",
        statement="The gap in generalisation opens early: at a training loss more than three orders of magnitude "
        "above the final one.",
        settings="FashionMTL: Fashion1 with either partner",
        statistic="for every arm of the plain sum with significant transfer, the loss from which on the bands of "
        "mean ± 2 std of G at equal loss stay apart, and the highest at which they are apart at all, over the lowest "
        "loss that all seeds alone and together reach. Only losses that fall by four orders of magnitude count (the "
        "paper's reach 1e-4 and below)",
        threshold="apart for good at more than 1000 times that loss (the paper's words) for more than half of these "
        "arms; contradicted if not more than half are apart so early at all (of some 200 losses one is easily so by "
        "chance)",
        needs="groups, of which separation.csv and curves.parquet are there",
        check=gap_opens_early,
    ),
    Claim(
        id="a3-gap-first-half",
        study="A",
        place="section 3, figure 2",
        statement="Where transfer is significant, the gap in generalisation opens early in every setting.",
        settings="CIFAR-100, CelebA, Cityscapes, GLUE: tasks with significant transfer",
        statistic="for every arm of the plain sum with significant transfer, the loss from which on the bands of "
        "mean ± 2 std of G at equal loss stay apart, and the highest at which they are apart at all, on the way of "
        "the common loss from its highest to its lowest value",
        threshold="apart for good in the first half of that way, in logarithms, for more than half of these arms; "
        "contradicted if not more than half are apart there at all. The paper gives no number beside figure 1's, "
        "which a3-early-gap takes",
        needs="groups, of which separation.csv and curves.parquet are there",
        check=gap_opens_in_the_first_half,
    ),
    Claim(
        id="a3-gap-persists",
        study="A",
        place="section 3, figures 1 and 2",
        statement="The gap in generalisation, once open, persists to the end of training.",
        settings="all: tasks with significant transfer",
        statistic="lasting_ratio of every arm of the plain sum with significant transfer whose bands part before the "
        "final loss: the loss from which on the bands of mean ± 2 std of G at equal loss stay apart down to the final "
        "loss, over that loss; and the gap's sign there",
        threshold="apart at the final loss with the sign of ΔG, and without a break for at least half of the way, in "
        "logarithms, from where the bands first part, for more than half of these arms",
        needs="groups, of which separation.csv is there",
        check=gap_persists,
    ),
)
