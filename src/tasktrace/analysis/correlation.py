"""Does conflict between gradients go with the factors, or with generalisation? (study A, figures 5 and 6).

Each target task is trained with random sets of auxiliary tasks; a set is one point. The bootstrap resamples sets.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasktrace.analysis import aggregates
from tasktrace.analysis.factor_tables import SIMILARITY, G, TaskRun, by_arm, compared_factors, sides
from tasktrace.seeding import numpy_generator

Array = npt.NDArray[np.float64]

INTERVAL = 0.95
"""Share of the bootstrap's resamples between the ends of an interval."""

FEWEST_SETS = 3
_NAMES = ["optimizer", "method", "task"]
_BOUNDS = [f"{name}{what}" for name in ("pearson", "spearman") for what in ("", "_low", "_high")]
CORRELATIONS_COLUMNS = [*_NAMES, "quantity", "sets", *_BOUNDS]


def auxiliary_table(runs: list[TaskRun], auxiliary: dict[str, list[str]], options: dict[str, Any]) -> pd.DataFrame:
    """One row per target task and set of auxiliary tasks: a point of figures 5 and 6.

    Args:
        runs: What :func:`tasktrace.analysis.factor_tables.task_runs` gives.
        auxiliary: Target task to its groups (``mtl.<name>``), each the target with one set of auxiliary tasks.
        options: As for :func:`tasktrace.analysis.factor_tables.deltas`.

    Returns:
        Columns optimizer, method, task (the target), group, metric (G's), ``seeds`` (runs); then, as means over seeds:
        ``similarity``, the mean over all checkpoints of the cosine between the target's and the multi-task gradient
        (Eq. 6), every factor early in training (the loss bins), and G by the rule of Table 1; their sample standard
        deviations over seeds as ``<name>_std``; and
        ``early_checkpoints``, the smallest number that a factor of a seed is the mean of.
    """
    rows = [
        {"optimizer": optimizer, "method": method, "task": task, "group": group, **_set_row(own, options)}
        for (optimizer, task), arms in by_arm(runs).items()
        for (method, group), own in arms.items()
        if group in auxiliary.get(task, [])
    ]
    return pd.DataFrame(rows, columns=_auxiliary_columns(options))


def correlations(points: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """How similarity goes with each factor and with G, over a target's sets.

    Args:
        points: What :func:`auxiliary_table` gives.
        options: factors, and resamples: how often the bootstrap draws as many sets as there are.

    Returns:
        ``CORRELATIONS_COLUMNS``: Pearson's and Spearman's coefficient, each with the ends of its percentile interval;
        all NaN with fewer than three ``sets`` of which both numbers are known, or if one of them never differs. A
        resample in which one never differs has no coefficient, and counts for no interval.
    """
    rows = [
        {**dict(zip(_NAMES, names, strict=True)), "quantity": quantity}
        | _correlated(own, quantity, names, options["resamples"])
        for names, own in points.groupby(_NAMES, sort=False)
        for quantity in (*compared_factors(options), G)
    ]
    return pd.DataFrame(rows, columns=CORRELATIONS_COLUMNS)


def pearson(x: Array, y: Array) -> Array:
    """Pearson's coefficient of each row of ``x`` with that row of ``y``, both (r, n); NaN where a row is constant."""
    varies = (np.ptp(x, axis=1) > 0) & (np.ptp(y, axis=1) > 0)
    found = np.full(len(x), np.nan)
    found[varies] = np.clip((_standardised(x[varies]) * _standardised(y[varies])).sum(axis=1), -1, 1)
    return found


def ranks(values: Array) -> Array:
    """The ranks within each row, equal values sharing their mean rank; of shape (r, n) like ``values``."""
    return pd.DataFrame(values).rank(axis=1).to_numpy()


def _standardised(values: Array) -> Array:
    """Each row less its mean, of length 1; divided by its largest value first, whose square could be 0 or infinite."""
    centred = values - values.mean(axis=1, keepdims=True)
    centred /= np.abs(centred).max(axis=1, keepdims=True)
    return np.asarray(centred / np.linalg.norm(centred, axis=1, keepdims=True))


def _auxiliary_columns(options: dict[str, Any]) -> list[str]:
    quantities = [SIMILARITY, *compared_factors(options), G]
    return [
        *_NAMES,
        "group",
        "metric",
        "seeds",
        *quantities,
        *(f"{name}_std" for name in quantities),
        "early_checkpoints",
    ]


def _set_row(own: list[TaskRun], options: dict[str, Any]) -> dict[str, Any]:
    early = {factor: sides(own, [], factor, "early", options)[0] for factor in compared_factors(options)}
    nothing = pd.Series(dtype=float)
    similarity = [aggregates.mean_of(aggregates.finished(run.factors.get(SIMILARITY, nothing))) for run in own]
    by_seed = {SIMILARITY: similarity, **early, G: sides(own, [], G, "table1", options)[0]}
    values = {name: pd.Series([seed.value for seed in seeds], dtype=float) for name, seeds in by_seed.items()}
    # A run without early checkpoints leaves its set without the factor: a mean of the others would be of fewer seeds.
    means = {name: known.mean(skipna=False) for name, known in values.items()}
    spreads = {f"{name}_std": known.std(skipna=False) for name, known in values.items()}
    checkpoints = [seed.checkpoints for seeds in early.values() for seed in seeds]
    known = {"metric": own[0].task.metric, "seeds": len(own)}
    return {**known, **means, **spreads, "early_checkpoints": min(checkpoints, default=0)}


def _correlated(own: pd.DataFrame, quantity: str, names: Any, resamples: int) -> dict[str, Any]:
    known = own[[SIMILARITY, quantity]].dropna()
    x, y = known[SIMILARITY].to_numpy(dtype=float), known[quantity].to_numpy(dtype=float)
    if len(known) < FEWEST_SETS:
        return {"sets": len(known), **dict.fromkeys(_BOUNDS, np.nan)}
    # The same resamples for every quantity of a target, so that their intervals can be compared.
    drawn = numpy_generator(0, "bootstrap", *names).integers(len(known), size=(resamples, len(known)))
    rows = np.concatenate([np.arange(len(known))[None], drawn])
    found = {"pearson": pearson(x[rows], y[rows]), "spearman": pearson(ranks(x[rows]), ranks(y[rows]))}
    return {"sets": len(known), **{key: value for name, all_ in found.items() for key, value in _interval(name, all_)}}


def _interval(name: str, found: Array) -> list[tuple[str, float]]:
    """The coefficient of the sets themselves, which comes first, and the interval of the resamples."""
    known = found[1:][~np.isnan(found[1:])]
    if np.isnan(found[0]) or not len(known):
        return [(name, float(found[0])), (f"{name}_low", np.nan), (f"{name}_high", np.nan)]
    low, high = np.quantile(known, [(1 - INTERVAL) / 2, (1 + INTERVAL) / 2])
    return [(name, float(found[0])), (f"{name}_low", float(low)), (f"{name}_high", float(high))]
