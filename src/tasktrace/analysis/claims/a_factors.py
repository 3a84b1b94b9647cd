"""Study A, section 4.1: do sharpness, Fisher trace and gradient covariance explain transfer? (figure 3, table 1)."""

from typing import Any, NamedTuple

import pandas as pd

from tasktrace.analysis.claims.a_transfer import (
    MORE,
    SIGNIFICANT,
    SIGNS,
    UMTG,
    case,
    difference,
    fewest_seeds,
    is_auxiliary,
    partners,
    transfers,
    with_seeds,
)
from tasktrace.analysis.claims.base import Claim, Finding, MissingTableError, Tables, listed
from tasktrace.analysis.claims.statistics import (
    ALPHA,
    BAND,
    association,
    holm,
    judged,
    more_than_chance,
    sign_test,
    some,
)
from tasktrace.analysis.matched_loss import CURVE, bands_apart
from tasktrace.analysis.published import COLUMNS

FACTORS = COLUMNS[1:]
"""Sharpness, Fisher trace and, as coherence, the trace of the gradient covariance; of each, lower is better."""

INCONSISTENT = ("fisher", "coherence")
"""The two whose differences the paper finds of either sign."""

LAST = 20
"""Sharpness in table 1 is the mean over so many last checkpoints."""

RHO = "sharpness.rho"
_BOTH = f"both significant positive and significant negative transfer: {MORE}; or other `groups` in the setting's file"
_NO_ARM = "no arm with significant transfer"


def factor_rows(tables: Tables, rule: str) -> pd.DataFrame:
    """Together less alone of every factor, plain sum, by a rule of ``deltas.csv``, and ``seeds``.

    Raises:
        MissingTableError: There is no such table, or no factor in it was measured alone and together.
    """
    rows = partners(tables.csv("deltas.csv"))
    known = with_seeds(rows[rows["factor"].isin(FACTORS)])
    if known.empty:
        raise MissingTableError("no factor that was measured alone and together: `measuring` in the setting's file")
    return known[known["rule"] == rule].assign(significant=known["significant"].eq(True))


def with_transfer(rows: pd.DataFrame, tables: Tables) -> pd.DataFrame:
    """The rows of arms with significant transfer, whose sign is in ``transfer``."""
    signs = transfers(tables)[[*CURVE, "transfer"]]
    return rows.merge(signs[signs["transfer"].isin(SIGNS)], on=CURVE, validate="many_to_one")


def equal_or_better_at_equal_loss(tables: Tables) -> Finding | None:
    """Whether partners of opposite transfer leave every factor at equal loss no worse than alone."""
    arms = transfers(tables)
    arms = arms[arms.groupby(["optimizer", "task"])["group"].transform("size") > 1]
    if arms.empty:
        return None
    rows = with_transfer(factor_rows(tables, "end"), tables).merge(arms[CURVE], on=CURVE)
    worse = rows[rows["significant"] & (rows["delta"] > 0)]
    no_higher, n = rows["delta"] <= 0, fewest_seeds(rows, arms)
    holds = None
    if more_than_chance(len(worse), len(rows), n):
        holds = False
    elif _has_both_signs(rows.groupby(["optimizer", "task"])["transfer"]) and _half_of_each(no_higher, rows):
        holds = True
    numbers = (
        f"significantly higher together in {len(worse)} of {len(rows)} comparisons with significant transfer, mean no "
        f"higher in {int(no_higher.sum())}: {_by_factor(rows)}"
    )
    missing = f"one task with {_BOTH}; checkpoints at losses that both reach; and more seeds where the means are higher"
    return judged(holds, numbers, n, missing, max(len(rows), 1))


def _has_both_signs(signs: Any) -> bool:
    return bool(signs.agg(set).map(lambda found: set(SIGNS) <= found).any())


def _half_of_each(flags: Any, rows: pd.DataFrame) -> bool:
    """Whether at least half of the rows with either sign of transfer have the flag."""
    return bool(flags.groupby(rows["transfer"]).mean().ge(0.5).all())


def _by_factor(rows: pd.DataFrame) -> str:
    return some([f"{row['factor']} {difference(row)}" for row in rows.to_dict("records")])


def sharper_for_all(tables: Tables) -> Finding | None:
    """Whether every task is sharper together, also those with positive transfer."""
    rows = factor_rows(tables, "table1")
    rows = rows[rows["factor"] == "sharpness"]
    if rows.empty:
        return None
    n, sharper, flatter = fewest_seeds(rows), rows[rows["delta"] > 0], rows[rows["delta"] <= 0]
    helped = with_transfer(rows, tables).query("transfer == 'positive'")
    all_clear = bool(rows["significant"].all()) or sign_test(len(sharper), len(rows)) < ALPHA
    holds = None
    if more_than_chance(_significant(flatter), len(rows), n) or sign_test(len(flatter), len(rows)) < ALPHA:
        holds = False
    elif flatter.empty and len(helped) and all_clear:
        holds = True
    numbers = (
        f"sharper in {len(sharper)} of {len(rows)} (significantly in {_significant(sharper)}; sign test p "
        f"{sign_test(len(sharper), len(rows)):.2g}; median {rows['delta'].median():+.2g}), significantly flatter in "
        f"{_significant(flatter)}; helped: {some([difference(row) for row in helped.to_dict('records')])}"
    )
    return judged(holds, numbers, n, f"{_unsettled(flatter, helped)}: {MORE}", len(rows))


def _significant(rows: pd.DataFrame) -> int:
    return int(rows["significant"].sum())


def _unsettled(flatter: pd.DataFrame, helped: pd.DataFrame) -> str:
    """What of 'all tasks, also those with positive transfer' is open."""
    if len(flatter):
        return f"a clear sign where tasks are flatter ({some([case(row) for row in flatter.to_dict('records')])})"
    return "five tasks, or significant differences of sharpness" if len(helped) else "a task with positive transfer"


def inconsistent_and_mostly_insignificant(tables: Tables) -> Finding | None:
    """Whether differences of Fisher trace and covariance have either sign and are mostly not significant."""
    rows = factor_rows(tables, "table1")
    rows = rows[rows["factor"].isin(INCONSISTENT)]
    if set(rows["factor"]) != set(INCONSISTENT):
        return None
    n, significant = fewest_seeds(rows), _significant(rows)
    signs = {str(factor): (int((own["delta"] > 0).sum()), len(own)) for factor, own in rows.groupby("factor")}
    corrected = holm([sign_test(*counts, "two-sided") for counts in signs.values()])
    decidable = all(sign_test(of, of, "two-sided") * len(signs) < ALPHA for _, of in signs.values())
    holds = None
    if 2 * significant > len(rows) or min(corrected) < ALPHA:
        holds = False
    elif decidable and all(0 < higher < of for higher, of in signs.values()):
        holds = True
    medians = rows.groupby("factor")["delta"].median()
    described = [
        f"{factor} higher together in {higher} of {of} (median {medians[factor]:+.2g}; sign test, Holm: p {p:.2g})"
        for (factor, (higher, of)), p in zip(signs.items(), corrected, strict=True)
    ]
    numbers = f"significant in {significant} of {len(rows)}; {listed(described)}"
    missing = "seven tasks trained alone and together, fewer of which decide no sign test; or more seeds"
    return judged(holds, numbers, n, missing, len(rows))


class Prediction(NamedTuple):
    """How well 'lower together, so helped; higher, so hurt' says the sign of transfer.

    Attributes:
        factor: The factor.
        right: For how many arms it is right.
        commoner: For how many the commoner sign of transfer is.
        arms: How many arms.
        p: The two-sided p-value of Fisher's exact test of the factor's sign against that of transfer.
        perfect_p: The p-value that there would be if it were right for all.
    """

    factor: str
    right: int
    commoner: int
    arms: int
    p: float
    perfect_p: float


def no_sign_predicts(tables: Tables) -> Finding | None:
    """Whether for no factor a lower value goes with positive transfer, and a higher one with negative."""
    every = factor_rows(tables, "table1")
    rows = with_transfer(every, tables)
    predictions = _predictions(rows)
    found, corrected = predictions
    described = [
        f"{one.factor}: right for {one.right} of {one.arms}, the commoner sign for {one.commoner} (p {p:.2g})"
        for one, p in zip(found, corrected, strict=True)
    ]
    missing = (
        f"arms with {_BOTH}; seven, three and four, are about the fewest that could show a prediction, and more are "
        "wanted where a factor is right oftener than the commoner sign"
    )
    n = fewest_seeds(rows, every)
    return judged(_none_predicts(*predictions), listed(described) or _NO_ARM, n, missing, max(len(found), 1))


def _predictions(rows: pd.DataFrame) -> tuple[list[Prediction], list[float]]:
    """How well each factor's sign predicts transfer, and the p-values, corrected for there being several."""
    found = [_prediction(str(factor), own) for factor, own in rows.groupby("factor", sort=False)]
    return found, holm([one.p for one in found])


def _none_predicts(found: list[Prediction], corrected: list[float]) -> bool | None:
    """Whether no factor's sign predicts transfer; None if the arms are too few to say, or one is often right."""
    if any(p < ALPHA for p in corrected):
        return False
    could_be_seen = found and all(one.right <= one.commoner and one.perfect_p < ALPHA for one in found)
    return True if could_be_seen else None


def _prediction(factor: str, own: pd.DataFrame) -> Prediction:
    helped, lower = own["transfer"] == "positive", own["delta"] < 0
    both, neither = int((helped & lower).sum()), int((~helped & ~lower).sum())
    p = association(both, int((helped & ~lower).sum()), int((~helped & lower).sum()), neither)
    positive, negative = int(helped.sum()), int((~helped).sum())
    perfect_p = association(positive, 0, 0, negative)
    return Prediction(factor, both + neither, max(positive, negative), len(own), p, perfect_p)


def factors_do_not_explain(tables: Tables) -> Finding | None:
    """Whether no factor changes significantly, in the explaining direction, with most transfer of either sign.

    That few change significantly at all may be for want of seeds, and explains nothing away.
    """
    every = factor_rows(tables, "table1")
    rows = with_transfer(every, tables)
    explained = rows["significant"] & ((rows["delta"] < 0) == (rows["transfer"] == "positive"))
    counts = explained.groupby([rows["factor"], rows["transfer"]], sort=False).agg(["sum", "size"])
    most = (2 * counts["sum"] > counts["size"]).groupby("factor").all()
    n = fewest_seeds(rows, every)
    holds = None
    if set(rows["transfer"]) == set(SIGNS):
        changes = more_than_chance(_significant(rows), len(rows), n)
        holds = False if most.any() else True if changes and _none_predicts(*_predictions(rows)) else None
    described = [f"{factor} {right} of {of} {sign}" for (factor, sign), right, of in counts.itertuples()]
    numbers = f"explained by a significant change: {', '.join(described)}" if described else _NO_ARM
    missing = f"enough arms for a4-no-sign-predicts, and significant changes, with {_BOTH}"
    return judged(holds, numbers, n, missing, max(len(most), 1))


def rho_keeps_the_order(tables: Tables) -> Finding | None:
    """Whether together and alone are ordered alike by the sharpness of every radius rho."""
    rows = _sharpness_by_rho(tables)
    if rows.empty or rows["measure"].nunique() < 2:
        return None
    n = int(rows["seeds"].min())
    clear = rows.groupby(CURVE)["significant"].transform("any")
    signs = rows[clear].groupby(CURVE)["higher"].nunique()
    turned = rows[clear & rows["significant"]].groupby(CURVE)["higher"].nunique().gt(1)
    holds = None
    if turned.any():
        holds = False
    elif len(signs) and (signs == 1).all():
        holds = True
    numbers = (
        f"{rows['measure'].nunique()} values of rho; of {len(signs)} arms and tasks with a significant difference for "
        f"one of them {int((signs == 1).sum())} have one sign for all, {int(turned.sum())} are significant with both"
    )
    missing = f"arms whose sharpness differs significantly from the task's alone, with one sign for all rho: {MORE}"
    return judged(holds, numbers, n, missing, max(len(signs), 1))


def _sharpness_by_rho(tables: Tables) -> pd.DataFrame:
    """Per arm, task and rho: ``higher`` together than alone, ``significant``, ``seeds``."""
    table = tables.parquet("factors.parquet")
    table = table[table["measure"].str.startswith(RHO) & ~is_auxiliary(table)]
    keys = [*CURVE, "measure"]
    trained = table[table["epoch"] > 0].sort_values("epoch").groupby([*keys, "seed"], dropna=False).tail(LAST)
    by_run = trained.groupby([*keys, "seed"], dropna=False)["value"].mean().reset_index()
    sides = by_run.groupby(keys, dropna=False)["value"].agg(["mean", "std", "count"]).reset_index()
    together, alone = sides[sides["method"] == UMTG], sides[sides["method"].isna()]
    both = together.merge(
        alone.drop(columns=["method", "group"]), on=["optimizer", "task", "measure"], suffixes=("", "_alone")
    )
    gap = both["mean"] - both["mean_alone"]
    apart = bands_apart(gap.to_numpy(), both["std"].to_numpy(), both["std_alone"].to_numpy(), BAND)
    return both.assign(higher=gap > 0, significant=apart, seeds=both[["count", "count_alone"]].min(axis=1))


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="a4-equal-or-better",
        study="A",
        place="section 4.1, figure 3",
        statement="At equal training loss both multi-task trajectories have equal or better sharpness, Fisher trace "
        "and gradient covariance than the task alone, although one partner helps and the other hurts.",
        settings="FashionMTL: Fashion1 with Fashion2, with NoisyFashion",
        statistic="each factor together less alone in the loss bins at the end of training (appendix B.4), for "
        f"partners with significant transfer to a task that has several; {SIGNIFICANT}",
        threshold="no more significantly higher than by chance (exact binomial test, 0.05) and at least half of the "
        "means not higher, both with partners that help and with those that hurt, for a task with transfer of both "
        "signs; contradicted if more are significantly higher",
        needs="two groups that share a task trained alone, measured",
        check=equal_or_better_at_equal_loss,
    ),
    Claim(
        id="a4-sharper-for-all",
        study="A",
        place="section 4.1, table 1",
        statement="Multi-task models are sharper for all tasks, also for those with positive transfer.",
        settings="CIFAR-100",
        statistic="sharpness (mean over the last checkpoints) of the plain sum less alone, for every task; "
        f"{SIGNIFICANT}",
        threshold="every mean higher, by a sign test (0.05) or each significantly, and one of a task with "
        "significant positive transfer; contradicted if more are significantly lower than by chance (exact binomial "
        "test, 0.05), or most are lower by a sign test (0.05)",
        needs="groups, measured for sharpness",
        check=sharper_for_all,
    ),
    Claim(
        id="a4-fisher-covariance-inconsistent",
        study="A",
        place="section 4.1, table 1",
        statement="Differences of Fisher trace and gradient covariance have either sign and are mostly not "
        "significant.",
        settings="CIFAR-100; table 1 lists CelebA, Cityscapes and GLUE too",
        statistic="Fisher trace (mean of the largest values) and covariance (mean over the last checkpoints) of the "
        f"plain sum less alone, for every task; {SIGNIFICANT}",
        threshold="at most half significant, and of each factor both signs, with tasks enough for a sign test "
        "(two-sided, 0.05, Holm over both) to say otherwise; contradicted if more than half are significant, or that "
        "test finds one sign prevailing",
        needs="groups, measured for Fisher trace and coherence",
        check=inconsistent_and_mostly_insignificant,
    ),
    Claim(
        id="a4-no-sign-predicts",
        study="A",
        place="section 4.1, table 1",
        statement="The sign of no factor's difference predicts the sign of transfer.",
        settings="CIFAR-100, CelebA, Cityscapes, GLUE",
        statistic="for how many arms with significant transfer 'lower together, so helped; higher, so hurt' is "
        "right, and Fisher's exact test (two-sided) of the factor's sign against that of transfer",
        threshold="for every factor right no oftener than always saying the commoner sign, of arms of which a "
        "perfect prediction would have p < 0.05; contradicted if the test finds a prediction (0.05, Holm over the "
        "factors)",
        needs="groups, measured",
        check=no_sign_predicts,
    ),
    Claim(
        id="a4-factors-do-not-explain",
        study="A",
        place="section 4.1, takeaway",
        statement="Sharpness, Fisher trace and gradient covariance do not explain transfer.",
        settings="all",
        statistic="per factor and sign, of how many arms with significant transfer a significant change explains it: "
        f"lower together of those helped, higher of those hurt; {SIGNIFICANT}",
        threshold="no factor explains more than half of those helped and more than half of those hurt, though more "
        "changes are significant than by chance (exact binomial test, 0.05), and a4-no-sign-predicts holds; "
        "contradicted if one explains so many",
        needs="groups, measured",
        check=factors_do_not_explain,
    ),
    Claim(
        id="a4-rho-keeps-order",
        study="A",
        place="appendix B.1",
        statement="Other values of rho do not change which trajectories are sharper.",
        settings="those of which sharpness is measured for several rho",
        statistic=f"sign of sharpness (mean over the last {LAST} checkpoints) of the plain sum less alone, for every "
        f"rho; {SIGNIFICANT}",
        threshold="the same for all rho wherever it is significant for one; contradicted if it is significant with "
        "both signs for one arm and task",
        needs="groups, and sharpness measured with two `rhos`",
        check=rho_keeps_the_order,
    ),
)
