"""Study A, section 5: what goes with conflict between gradients (figures 5, 6)."""

from typing import NamedTuple

import pandas as pd

from tasktrace.analysis.claims.a_transfer import MORE, SIGNIFICANT
from tasktrace.analysis.claims.base import Claim, Finding, Tables, listed
from tasktrace.analysis.claims.statistics import ALPHA, BAND, Pooled, correlation_p, holm, judged, pooled_correlation
from tasktrace.analysis.factor_tables import SIMILARITY, G
from tasktrace.analysis.published import COLUMNS
from tasktrace.tasks import HIGHER_IS_BETTER

FACTORS = COLUMNS[1:]
TARGET = ["optimizer", "method", "task"]
FISH = "fish"

FEWEST_SETS = 4
"""Fisher's z of fewer has no variance."""

LITTLE = 0.5
"""A correlation is little if less than this: it accounts for less than a quarter of the variance (Cohen: not large)."""

_NO_COEFFICIENT = "no coefficient is known of four sets"
_MORE_SETS = "more auxiliary `sets` or `targets` in the setting's file"


def _seeds(tables: Tables) -> int:
    """The smallest number of runs that a set's values are means over."""
    return int(tables.csv("auxiliary.csv")["seeds"].min())


def known_correlations(tables: Tables) -> pd.DataFrame:
    """``correlations.csv``, where a coefficient is known of sets enough."""
    table = tables.csv("correlations.csv")
    return table[table["pearson"].notna() & (table["sets"] >= FEWEST_SETS)]


def conflict_goes_with_worse_factors(tables: Tables) -> Finding | None:
    """Whether less similarity goes with higher early sharpness, Fisher trace and covariance."""
    rows = known_correlations(tables)
    rows = rows[rows["quantity"].isin(FACTORS)]
    pooled = {str(name): _pooled(own) for name, own in rows.groupby("quantity", sort=False)}
    found = {name: one for name, one in pooled.items() if one is not None}
    corrected = dict(zip(found, holm([one.p for one in found.values()]), strict=True))
    clear = {name: one for name, one in found.items() if corrected[name] < ALPHA}
    holds = None
    if any(one.coefficient > 0 for one in clear.values()):
        holds = False
    elif set(clear) == set(FACTORS):
        holds = True
    described = [
        f"{name}: pooled {_interval(one)} (p {corrected[name]:.2g}, Holm), {_targets(rows, name)}"
        for name, one in found.items()
    ]
    numbers = listed(described) or _NO_COEFFICIENT
    return judged(holds, numbers, _seeds(tables), f"{_MORE_SETS}; or {MORE}", max(len(rows), 1))


def _pooled(own: pd.DataFrame) -> Pooled | None:
    return pooled_correlation(own["pearson"].tolist(), own["sets"].tolist())


def _interval(one: Pooled) -> str:
    return f"{one.coefficient:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"


def _targets(rows: pd.DataFrame, quantity: str) -> str:
    """Each target's coefficients with the table's bootstrap intervals."""
    return ", ".join(
        f"{row['task']} {row['pearson']:+.2f} [{row['pearson_low']:+.2f}, {row['pearson_high']:+.2f}] (Spearman "
        f"{row['spearman']:+.2f}, {row['sets']} sets)"
        for row in rows[rows["quantity"] == quantity].to_dict("records")
    )


def conflict_says_little_of_generalisation(tables: Tables) -> Finding | None:
    """Whether similarity and G have little or no correlation."""
    rows = known_correlations(tables)
    rows = rows[rows["quantity"] == G]
    pooled = _pooled(rows)
    own = holm([correlation_p(r, sets) for r, sets in zip(rows["pearson"], rows["sets"], strict=True)])
    large = [abs(r) >= LITTLE and p < ALPHA for r, p in zip(rows["pearson"], own, strict=True)]
    holds = None
    if any(large):
        holds = False
    elif pooled is not None and pooled.low > -LITTLE and pooled.high < LITTLE:
        holds = True
    numbers = _NO_COEFFICIENT
    if pooled is not None:
        numbers = (
            f"pooled {_interval(pooled)}; {_targets(rows, G)}; of the targets by themselves p {min(own):.2g}, Holm"
        )
    return judged(holds, numbers, _seeds(tables), _MORE_SETS, max(len(rows), 1))


def most_conflict_can_be_best(tables: Tables) -> Finding | None:
    """Whether the set of lowest similarity generalises best, with higher factors than the others."""
    table = tables.csv("auxiliary.csv").dropna(subset=[SIMILARITY, G])
    table = table[table["task"] == FISH] if FISH in set(table["task"]) else table
    targets = [_extremes(own) for _, own in table.groupby(TARGET, sort=False) if len(own) >= FEWEST_SETS]
    holds = None
    if any(one.as_said for one in targets):
        holds = True
    elif targets and all(one.worse for one in targets):
        holds = False
    numbers = listed(one.numbers for one in targets) or f"no target with {FEWEST_SETS} sets"
    missing = f"a target whose G differs significantly between lowest and highest similarity: {_MORE_SETS}; or {MORE}"
    return judged(holds, numbers, _seeds(tables), missing, max(len(targets), 1))


class Extremes(NamedTuple):
    """A target's sets of lowest and highest similarity.

    Attributes:
        as_said: The lowest has the best G, significantly better than the highest, and every factor higher than the mean
            of the other sets.
        worse: Its G is significantly worse than that of the highest.
        numbers: Both, in words.
    """

    as_said: bool
    worse: bool
    numbers: str


def _extremes(own: pd.DataFrame) -> Extremes:
    ranked = own.sort_values(SIMILARITY)
    lowest, highest, others = ranked.iloc[0], ranked.iloc[-1], ranked.iloc[1:]
    sign = 1 if HIGHER_IS_BETTER[lowest["metric"]] else -1
    gap = sign * float(lowest[G] - highest[G])
    clear = abs(gap) > BAND * float(lowest[f"{G}_std"] + highest[f"{G}_std"])
    higher = [factor for factor in FACTORS if factor in own and lowest[factor] > others[factor].mean()]
    rank = int((sign * own[G] > sign * lowest[G]).sum()) + 1
    sides = (f"{side[SIMILARITY]:.2f} G {side[G]:.4g} ± {side[f'{G}_std']:.1g}" for side in (lowest, highest))
    numbers = (
        f"{lowest['task']}: similarity {' against '.join(sides)}, rank {rank} of {len(own)}; higher factors than the "
        f"others: {', '.join(higher) or 'none'}"
    )
    return Extremes(clear and rank == 1 and len(higher) == len(FACTORS), clear and gap < 0, numbers)


CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="a5-conflict-factors",
        study="A",
        place="section 5.1, figure 5",
        statement="The more a task's gradient conflicts with the multi-task gradient, the higher are sharpness, "
        "Fisher trace and gradient covariance early in training.",
        settings="CIFAR-100: three targets with random auxiliary sets, Fish among them",
        statistic="Pearson's coefficient, over a target's sets, of similarity (mean over the epochs) with each "
        "factor in the early loss bins; per factor pooled over the targets by Fisher's z; the targets' own have "
        "bootstrap intervals",
        threshold="the pooled coefficient of each of the three factors below zero (0.05, Holm over the factors); "
        "contradicted if one is above zero",
        needs="`auxiliary` sets, measured",
        check=conflict_goes_with_worse_factors,
    ),
    Claim(
        id="a5-conflict-generalisation",
        study="A",
        place="section 5.2, figure 6",
        statement="Conflict and generalisation have little or no correlation.",
        settings="CIFAR-100: three targets with random auxiliary sets",
        statistic="Pearson's coefficient, over a target's sets, of similarity (mean over the epochs) with G; pooled "
        "over the targets by Fisher's z, and each target by itself",
        threshold=f"the pooled 95 % interval within ±{LITTLE} (less than a quarter of the variance); contradicted if "
        "a target's own coefficient is not, and is significant (0.05, Holm over the targets)",
        needs="`auxiliary` sets, measured",
        check=conflict_says_little_of_generalisation,
    ),
    Claim(
        id="a5-most-conflict-best",
        study="A",
        place="section 5.2, figure 6",
        statement="The auxiliary set of most conflict can generalise best, although its Fisher trace, covariance and "
        "sharpness are higher.",
        settings="CIFAR-100: Fish",
        statistic="G of the set of lowest similarity among a target's sets, and against that of highest similarity; "
        f"its early factors against the mean of the other sets. {SIGNIFICANT[0].upper()}{SIGNIFICANT[1:]}",
        threshold="for Fish, elsewhere for any target, the best mean G, significantly better than that of highest "
        "similarity, and all three factors higher; contradicted if it is significantly worse, for every target",
        needs="`auxiliary` sets, measured",
        check=most_conflict_can_be_best,
    ),
)
