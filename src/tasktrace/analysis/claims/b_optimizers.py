"""What study B says of optimizers, methods and learning rates (table 2, figures 2, A3 and A4, tables A2 and A4 to A7).

Methods and optimizers have the names of the blocks in ``config/config.yaml``: the plain sum (EW) is ``umtg``, SGD with
momentum ``sgdm``. An experiment is a method with an optimizer at a learning rate, the mean over its seeds; a method
with an optimizer stands at the learning rate that validation chose. Delta_m is in percent, and lower is better.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats  # type: ignore[import-untyped]

from tasktrace.analysis.claims.base import Claim, Finding, Tables, listed, undecided
from tasktrace.analysis.claims.statistics import ALPHA, holm, judged, some
from tasktrace.analysis.fronts import COUNTINGS
from tasktrace.analysis.metrics import STD, directions, metric_columns
from tasktrace.analysis.pareto import undominated_by

Array = npt.NDArray[np.float64]

ADAM, SGD, SIGNSGD = "adam", "sgdm", "signsgd"
EW, ADATASK = "umtg", "adatask"

EXCEPTION = "cityscapes_segnet"
"""The one of the paper's four set-ups in which EW with Adam is not on the front."""

RARELY = 0.1
"""At most this share is rarely; of SGD's experiments in table 2 the largest is 6 of some 80."""

_ONE_SIDE = "every experiment of one side diverged"

Counts = dict[tuple[str, str], dict[Any, Any]]
"""Rows of ``pareto_counts.csv`` by optimizer and way of counting."""

DRAWS = 10_000
"""Of the Delta_m of all methods, for the interval of a rank correlation."""


def compare_optimizers(tables: Tables, *, optimizer: str, other: str) -> Finding | None:
    """Delta_m of every method with two optimizers, each at its chosen learning rate."""
    sides = _sides(tables, optimizer, other)
    if sides is None:
        return None
    first, second, diverged = sides
    if first.empty:
        return _all_diverged(listed(diverged))
    n, count = _seeds(first, second), len(first)
    clear = _corrected(p_values(first, second, "delta_m")) < ALPHA
    is_lower = (first["delta_m"] < second["delta_m"]).to_numpy()
    lower, higher = int((clear & is_lower).sum()), int((clear & ~is_lower).sum())
    holds = None
    if higher > lower:
        holds = False
    elif lower > higher and 2 * is_lower.sum() > count:
        holds = True
    numbers = listed(
        [
            f"Δm lower with {optimizer} than with {other} for {int(is_lower.sum())} of {count} methods, significantly "
            f"lower for {lower}, higher for {higher}",
            *(f"{name} {_delta(first.loc[name])} against {_delta(second.loc[name])}" for name in first.index),
            *diverged,
        ]
    )
    open_is = "signs disagree" if clear.any() else "no difference is larger than the spread over seeds"
    missing = f"more seeds, or longer training: {open_is}"
    return judged(holds, numbers, n, missing, count)


def ranking_changes(tables: Tables) -> Finding | None:
    """Methods ranked by Delta_m with Adam and with SGD: pairs that clearly change places, and Kendall's tau."""
    sides = _sides(tables, ADAM, SGD)
    if sides is None or len(sides[0]) < 2:
        return None
    first, second, diverged = sides
    one, other = np.triu_indices(len(first), 1)
    p = np.maximum(*(p_values(side.iloc[one], side.iloc[other], "delta_m") for side in (first, second)))
    deltas = [side["delta_m"].to_numpy() for side in (first, second)]
    opposite = np.prod([own[one] - own[other] for own in deltas], axis=0) < 0
    swapped = _corrected(np.where(opposite, p, 1.0)) < ALPHA
    agreement = stats.kendalltau(*deltas, alternative="greater")
    holds = True if swapped.any() else (False if agreement.pvalue < ALPHA else None)
    names = [f"{first.index[a]} and {first.index[b]}" for a, b in zip(one[swapped], other[swapped], strict=True)]
    numbers = listed(
        [
            f"best with {ADAM} {first['delta_m'].idxmin()}, with {SGD} {second['delta_m'].idxmin()}",
            f"Kendall's tau over {len(first)} methods {agreement.statistic:.2f} (of agreement p = "
            f"{agreement.pvalue:.2g}{_tau_interval(first, second)})",
            f"{int(opposite.sum())} of {len(one)} pairs change places, significantly {some(names)}",
            *diverged,
        ]
    )
    missing = (
        "more seeds, or more methods: neither do two methods clearly change places, nor do the rankings clearly agree"
    )
    return judged(holds, numbers, _seeds(first, second), missing, len(one))


def more_optimal(tables: Tables) -> Finding | None:
    """Pareto-optimal experiments with Adam and with SGD, among those of both."""
    return _both_ways(tables, "optimal", lambda adam, sgd: bool(adam["optimal"] > sgd["optimal"]))


def sgd_is_rarely_optimal(tables: Tables) -> Finding | None:
    """Experiments of each optimizer that none of the other's dominates."""

    def is_rare(adam: dict[Any, Any], sgd: dict[Any, Any]) -> bool:
        shares = [own["optimal_against_others"] / own["points"] for own in (adam, sgd)]
        return bool(shares[1] <= RARELY and shares[1] < shares[0])

    return _both_ways(tables, "optimal_against_others", is_rare)


def ew_is_undominated_by_sgd(tables: Tables) -> Finding | None:
    """EW with Adam at its chosen learning rate, against every experiment with SGD."""
    experiments = tables.csv("experiments.csv")
    others = experiments[experiments["optimizer"] == SGD]
    return _undominated(_ew(experiments), others, chosen=True)


def ew_is_optimal(tables: Tables) -> Finding | None:
    """Every experiment of EW with Adam, against all others with Adam and SGD."""
    experiments = tables.csv("experiments.csv")
    optimizers = set(experiments["optimizer"])
    if tables.setting == EXCEPTION or not {ADAM, SGD} <= optimizers:
        return None
    others = experiments[experiments["optimizer"].isin([ADAM, SGD])]
    return _undominated(_ew(experiments), others, chosen=False)


def methods_do_not_dominate(tables: Tables) -> Finding | None:
    """EW with Adam against every specialised method with Adam, all at their chosen learning rates."""
    if tables.setting == EXCEPTION:
        return None
    experiments = tables.csv("experiments.csv")
    specialised = (experiments["optimizer"] == ADAM) & ~experiments["method"].isin([EW, ADATASK])
    return _undominated(_ew(experiments), experiments[specialised & experiments["chosen"]], chosen=True)


def adatask_dominates(tables: Tables) -> Finding | None:
    """AdaTask against EW with Adam, metric by metric, both at their chosen learning rates."""
    results = tables.csv("results.csv").set_index(["method", "optimizer"])
    names = [(ADATASK, ADAM), (EW, ADAM)]
    if not set(names) <= set(results.index):
        return None
    columns = metric_columns(results)
    adatask, ew = (results.loc[[name]] for name in names)
    if pd.concat([adatask, ew])[columns].isna().any(axis=None):
        return _all_diverged(f"{ADATASK} or {EW} diverged at every learning rate")
    gains = _signs(columns) * (adatask[columns].to_numpy() - ew[columns].to_numpy())[0]
    clear = _corrected(np.concatenate([p_values(adatask, ew, column) for column in columns])) < ALPHA
    holds = None
    if (clear & (gains < 0)).any():
        holds = False
    elif (gains >= 0).all() and clear.any():
        holds = True
    numbers = listed(
        [
            f"better on {int((gains > 0).sum())} of {len(columns)} metrics, significantly on "
            f"{int((clear & (gains > 0)).sum())}, significantly worse on {int((clear & (gains < 0)).sum())}",
            *(f"{name} {_shown(adatask.iloc[0], name)} against {_shown(ew.iloc[0], name)}" for name in columns),
        ]
    )
    missing = "more seeds: the differences do not clearly make one dominate the other"
    return judged(holds, numbers, _seeds(adatask, ew), missing, len(columns))


def p_values(first: pd.DataFrame, second: pd.DataFrame, column: str) -> Array:
    """Welch's two-sided test of a column's means over seeds, row by row; 1 where a side has no spread to test with."""
    sides = [own[name].to_numpy(dtype=float) for own in (first, second) for name in (column, f"{column}{STD}", "seeds")]
    with np.errstate(all="ignore"):
        found = stats.ttest_ind_from_stats(*sides, equal_var=False).pvalue
    p: Array = np.nan_to_num(found, nan=1.0)
    return p


@dataclass(frozen=True)
class _Standing:
    """How many experiments dominate one.

    Attributes:
        rate: Its learning rate.
        dominating: How many do, on the means over seeds.
        clearly: How many of these are better on a metric by more than the spread over seeds.
    """

    rate: float
    dominating: int
    clearly: int


def _undominated(ew: pd.DataFrame, others: pd.DataFrame, *, chosen: bool) -> Finding | None:
    """Whether EW with Adam, at the chosen or at any learning rate, is dominated by no other experiment."""
    if ew.empty or others.empty:
        return None
    columns, wanted = metric_columns(others), set(others["optimizer"])
    own = (ew[ew["chosen"]] if chosen else ew).dropna(subset=columns)
    others = others.dropna(subset=columns)
    if own.empty or not wanted <= set(others["optimizer"]):
        return _all_diverged(_ONE_SIDE)
    standings = [_standing(own.iloc[[place]], others, columns) for place in range(len(own))]
    free = [standing for standing in standings if not standing.dominating]
    holds = True if free else (False if all(standing.clearly for standing in standings) else None)
    numbers = listed(
        [
            f"undominated at {len(free)} of {len(standings)} learning rates of {EW} with {ADAM}, held against "
            f"{len(others)} experiments",
            *(
                f"at {standing.rate:g} dominated by {standing.dominating}, clearly by {standing.clearly}"
                for standing in standings
            ),
        ]
    )
    missing = "more seeds: what dominates does so within the spread over seeds"
    return judged(holds, numbers, _seeds(own, others), missing, len(standings) * len(others))


def _standing(row: pd.DataFrame, others: pd.DataFrame, columns: list[str]) -> _Standing:
    values, higher = row[columns].to_numpy(dtype=float), directions(columns)
    held = others[columns].to_numpy(dtype=float)
    dominating = others[[not undominated_by(values, other[np.newaxis], higher)[0] for other in held]]
    rate = float(row["learning_rate"].iloc[0])
    if dominating.empty:
        return _Standing(rate, 0, 0)
    repeated = row.loc[row.index.repeat(len(dominating))]
    p = np.column_stack([p_values(dominating, repeated, column) for column in columns])
    clear = _corrected(p.ravel()).reshape(p.shape) < ALPHA
    return _Standing(rate, len(dominating), int(clear.any(axis=1).sum()))


def _ew(experiments: pd.DataFrame) -> pd.DataFrame:
    return experiments[(experiments["method"] == EW) & (experiments["optimizer"] == ADAM)]


def _sides(tables: Tables, first: str, second: str) -> tuple[pd.DataFrame, pd.DataFrame, list[str]] | None:
    """The results with two optimizers of the methods that have both, and words on those that diverged.

    Returns:
        None where no method was trained with both. A method with an optimizer that diverged at every learning rate is
        on neither side.
    """
    results = tables.csv("results.csv")
    both = [results[results["optimizer"] == name].set_index("method") for name in (first, second)]
    methods = [name for name in both[0].index if name in both[1].index]
    if not methods:
        return None
    came = [name for name in methods if all(pd.notna(own.loc[name, "delta_m"]) for own in both)]
    left_out = [f"{name} left out: diverged at every learning rate" for name in methods if name not in came]
    return both[0].loc[came], both[1].loc[came], left_out


def _counts(tables: Tables) -> Counts | None:
    """Table 2's counts of Adam and of SGD among the experiments of both; None without both."""
    counts = tables.csv("pareto_counts.csv")
    own = counts[[set(compared.split()) == {ADAM, SGD} for compared in counts["compared"]]]
    return {(row["optimizer"], row["counting"]): row for row in own.to_dict("records")} or None


def _counted(counts: Counts, column: str) -> str:
    """How many points of each optimizer are optimal, in both ways of counting."""
    return listed(
        f"{name}, {way}: {counts[name, way][column]} of {counts[name, way]['points']}"
        for way in COUNTINGS
        for name in (ADAM, SGD)
    )


def _both_ways(tables: Tables, column: str, holds: Callable[[dict[Any, Any], dict[Any, Any]], bool]) -> Finding | None:
    """Whether something holds of Adam's and SGD's counts in both ways of counting, in none, or in one: open.

    Returns:
        None without experiments of both.
    """
    counts = _counts(tables)
    if counts is None:
        return None
    if not all(own["points"] for own in counts.values()):
        return _all_diverged(_ONE_SIDE)
    flags = [holds(counts[ADAM, way], counts[SGD, way]) for way in COUNTINGS]
    experiments = tables.csv("experiments.csv")
    compared = experiments[experiments["optimizer"].isin([ADAM, SGD])]
    missing = f"more seeds: counting by {' and by '.join(COUNTINGS)} says different things"
    is_so = flags[0] if len(set(flags)) == 1 else None
    return judged(is_so, _counted(counts, column), int(compared["seeds"].min()), missing, len(flags))


def _tau_interval(first: pd.DataFrame, second: pd.DataFrame) -> str:
    """The middle 95 % of Kendall's tau where each mean is drawn anew from what its seeds say of it (Student's t)."""
    if _seeds(first, second) < 2:
        return ""
    one, other = np.triu_indices(len(first), 1)
    generator = np.random.default_rng(0)
    orders = []
    for side in (first, second):
        error = (side[f"delta_m{STD}"] / np.sqrt(side["seeds"])).to_numpy()
        freedom = side["seeds"].to_numpy() - 1
        drawn = side["delta_m"].to_numpy() + error * generator.standard_t(freedom, size=(DRAWS, len(side)))
        orders.append(np.sign(drawn[:, one] - drawn[:, other]))
    low, high = np.quantile((orders[0] * orders[1]).mean(axis=1), [ALPHA / 2, 1 - ALPHA / 2])
    return f"; 95 % interval over seeds {low:.2f} to {high:.2f}"


def _all_diverged(what: str) -> Finding:
    return undecided(what, 0, "learning rates at which not every run diverges: `learning_rates` in `experiments`")


def _corrected(p: Array) -> Array:
    return np.array(holm(p.tolist()))


def _signs(columns: list[str]) -> Array:
    return np.where(directions(columns), 1.0, -1.0)


def _seeds(first: pd.DataFrame, second: pd.DataFrame) -> int:
    return int(min(first["seeds"].min(), second["seeds"].min()))


def _delta(row: pd.Series) -> str:
    spread = row[f"delta_m{STD}"]
    return f"{row['delta_m']:.2f}" + ("" if np.isnan(spread) else f" ± {spread:.2f}") + " %"


def _shown(row: pd.Series, column: str) -> str:
    spread = row[f"{column}{STD}"]
    return f"{row[column]:.4g}" + ("" if np.isnan(spread) else f" ± {spread:.2g}")


_SETUPS = "Cityscapes and NYUv2, each with SegNet and DeepLabV3+"
_BOTH = f"`experiments` with `{ADAM}` and `{SGD}`"
_WELCH = "Welch's test over seeds at 0.05 with Holm's correction over"

CLAIMS = (
    Claim(
        id="b-adam-delta",
        study="B",
        place="Figure A3, Tables A4 to A7",
        statement="With almost every multi-task method Adam comes to a lower Δm than SGD with momentum",
        settings=f"{_SETUPS}; in NYUv2 with SegNet not with UW and IMTL",
        statistic="Δm on test data of every method with each of the two optimizers, at the learning rate that "
        f"validation chose; {_WELCH} the methods",
        threshold="supported if lower with Adam for more than half of the methods (the paper's weakest set-up: 5 of "
        "7), and significantly lower for more methods than significantly higher; contradicted if significantly higher "
        "for more; undecided otherwise",
        needs=_BOTH,
        check=partial(compare_optimizers, optimizer=ADAM, other=SGD),
    ),
    Claim(
        id="b-adam-optimal",
        study="B",
        place="Table 2, Figures 2 and A4",
        statement="More experiments are Pareto-optimal with Adam than with SGD with momentum",
        settings=_SETUPS,
        statistic="how many experiments of each optimizer no experiment of the two dominates on all metrics, "
        "counting means over seeds, and counting single runs (the paper does not say which)",
        threshold="more with Adam, in both ways of counting; contradicted if in neither, undecided if in one, or if "
        "every experiment of one side diverged",
        needs=_BOTH,
        check=more_optimal,
    ),
    Claim(
        id="b-sgd-optimal",
        study="B",
        place="Table 2, Figures 2 and A4",
        statement="Against Adam's experiments those of SGD with momentum are rarely optimal",
        settings=_SETUPS,
        statistic="the share of each optimizer's experiments that came to an end which none of the other's dominates, "
        "counting means over seeds, and counting single runs",
        threshold=f"of SGD's at most {100 * RARELY:.0f} % (table 2: at most 6 of some 80), and a smaller share than of "
        "Adam's, in both ways of counting; contradicted if in neither, undecided if in one, or if every experiment of "
        "one side diverged",
        needs=_BOTH,
        check=sgd_is_rarely_optimal,
    ),
    Claim(
        id="b-ew-adam-sgd",
        study="B",
        place="Figures 2 and A4, Tables A4 to A7",
        statement="The plain sum (EW) with Adam is dominated by no experiment with SGD with momentum, whatever its "
        "method",
        settings=_SETUPS,
        statistic="whether EW with Adam, at the learning rate that validation chose, is dominated on the means over "
        "seeds by an experiment with SGD of any method and learning rate (at least as good on every metric, better "
        "on one)",
        threshold="supported if by none; contradicted if by one that is significantly better on a metric "
        f"({_WELCH} all metrics of all that dominate); undecided if only within the spread over seeds",
        needs=f"{_BOTH}, `{EW}` among the methods",
        check=ew_is_undominated_by_sgd,
    ),
    Claim(
        id="b-ew-adam-front",
        study="B",
        place="Table A2",
        statement="The plain sum (EW) with Adam is on the Pareto front of all methods",
        settings="Cityscapes with DeepLabV3+, NYUv2 with both networks; not Cityscapes with SegNet",
        statistic="whether an experiment of EW with Adam, at any learning rate (as table A2 counts), is dominated "
        "on the means over seeds by no experiment with Adam or SGD",
        threshold="supported if one is; contradicted if each is dominated by one that is significantly better on a "
        f"metric ({_WELCH} all metrics of all that dominate); undecided if some only within the spread over seeds",
        needs=f"{_BOTH}, `{EW}` among the methods",
        check=ew_is_optimal,
    ),
    Claim(
        id="b-methods-gain",
        study="B",
        place="Tables A2 and A4 to A7",
        statement="With Adam specialised methods bring no consistent gain over the plain sum (EW): apart from "
        "AdaTask none is better on every metric",
        settings="Cityscapes with DeepLabV3+, NYUv2 with both networks; not Cityscapes with SegNet, where UW and "
        "others are",
        statistic="whether EW is dominated on the means over seeds by another method, all with Adam at the learning "
        "rate that validation chose",
        threshold="supported if by none; contradicted if by one that is significantly better on a metric "
        f"({_WELCH} all metrics of all that dominate); undecided if only within the spread over seeds",
        needs=f"`experiments` with `{ADAM}`, `{EW}` and other methods",
        check=methods_do_not_dominate,
    ),
    Claim(
        id="b-ranking",
        study="B",
        place="Figure A3, Tables A4 to A7",
        statement="Which methods are better than others changes with the optimizer",
        settings=f"{_SETUPS}; best on Cityscapes with SegNet: UW with Adam, another with SGD",
        statistic="Δm of the methods with Adam and with SGD with momentum at the chosen learning rates: pairs of "
        "methods whose order is the opposite with the other optimizer, each pair with the larger of its two "
        "p-values (Welch's tests over seeds) and Holm's correction over all pairs; Kendall's tau of both rankings, "
        "exact, one-sided. A tau below 1 alone says nothing, since seeds reorder methods that are equal",
        threshold="supported if at least one pair changes places significantly (0.05); contradicted if none does "
        "and the rankings agree (tau above zero at 0.05); undecided otherwise",
        needs=f"{_BOTH}, two methods or more",
        check=ranking_changes,
    ),
    Claim(
        id="b-adatask",
        study="B",
        place="Tables A4 to A7",
        statement="AdaTask almost always Pareto-dominates the plain sum (EW) with Adam",
        settings=_SETUPS,
        statistic=f"every metric of both at the learning rate that validation chose; {_WELCH} the metrics",
        threshold="supported if AdaTask is at least as good on every metric on the means and significantly better "
        "on one; contradicted if it is significantly worse on one; undecided otherwise",
        needs=f"`experiments` with `{ADATASK}` and `{EW}`, both with `{ADAM}`",
        check=adatask_dominates,
    ),
    Claim(
        id="b-signsgd-delta",
        study="B",
        place="Tables A4 to A7",
        statement="signSGD with momentum, too, comes to a lower Δm than SGD with momentum for most methods",
        settings=f"most of {_SETUPS}",
        statistic="Δm on test data of every method with each of the two optimizers, at the learning rate that "
        f"validation chose; {_WELCH} the methods",
        threshold="supported if lower with signSGD for more than half of the methods, and significantly lower for "
        "more methods than significantly higher; contradicted if significantly higher for more; undecided otherwise",
        needs=f"`experiments` with `{SIGNSGD}` and `{SGD}`",
        check=partial(compare_optimizers, optimizer=SIGNSGD, other=SGD),
    ),
)
