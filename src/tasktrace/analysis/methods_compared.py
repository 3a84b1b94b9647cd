"""Multi-task methods against a baseline method: does what lowers a factor raise G? (study A, section 4.2, figure 4)."""

from typing import Any

import pandas as pd

from tasktrace.analysis.factor_tables import COMPARED, LOWEST_LOSS, Arms, G, TaskRun, by_arm, compared_factors, sides
from tasktrace.analysis.matched_loss import CURVE

METHODS_COLUMNS = [*CURVE, "factor", "pairs", "G_mean", "G_std", "factor_mean", "factor_std", "inside"]
SHARES_COLUMNS = ["optimizer", "method", "factor", "points", "inside", "share", "all_inside"]


def methods_compared(runs: list[TaskRun], baseline: str, options: dict[str, Any]) -> pd.DataFrame:
    """Change of G and of every factor from the baseline to every other method, in percent.

    Args:
        runs: What :func:`tasktrace.analysis.factor_tables.task_runs` gives.
        baseline: The baseline's name (study A: UMTG); only groups and tasks that it trained are compared.
        options: As for :func:`tasktrace.analysis.factor_tables.deltas`, and aggregation (``table1``, ``loss_bins``).

    Returns:
        ``METHODS_COLUMNS``, a row for each point of the figure: mean and sample standard deviation over ``pairs``,
        the pairs of runs of the same seed in which both changes are known. G's change is positive where G is better,
        also for a metric of which lower is better. ``inside``: the factor is lower and G better, or the factor higher
        and G worse (the shaded quadrants; what the factor's explaining generalisation would mean); NA where unknown.
    """
    rows = [
        {"optimizer": optimizer, "task": task, "method": method, "group": group, "factor": factor}
        | _point(own, arms[baseline, group], factor, options)
        for (optimizer, task), arms in by_arm(runs).items()
        for method, group, own in _others(arms, baseline)
        for factor in (LOWEST_LOSS, *compared_factors(options))
    ]
    return pd.DataFrame(rows, columns=METHODS_COLUMNS)


def share_inside(points: pd.DataFrame) -> pd.DataFrame:
    """How many of a method's points lie in the shaded quadrants of each factor.

    The study's claim is that ``all_inside`` is true for no method and factor.

    Args:
        points: What :func:`methods_compared` gives.

    Returns:
        ``SHARES_COLUMNS``; ``points`` counts those whose place is known, and without any the share is NaN and
        ``all_inside`` NA.
    """
    rows = []
    for names, own in points.groupby(["optimizer", "method", "factor"], sort=False):
        known = own["inside"].dropna().astype(bool)
        share = float(known.mean()) if len(known) else float("nan")
        verdict = {"all_inside": bool(known.all()) if len(known) else pd.NA}
        counts = {"points": len(known), "inside": int(known.sum()), "share": share, **verdict}
        rows.append({**dict(zip(SHARES_COLUMNS, names, strict=False)), **counts})
    return pd.DataFrame(rows, columns=SHARES_COLUMNS)


def percentage_change(value: float, baseline: float) -> float:
    """The change from the baseline in percent of its size; NaN for a baseline of zero, or if either is NaN.

    100 (value - baseline) / baseline (study A, figure 4), but for a negative baseline, which an unbiased estimate of
    the gradient covariance may be: dividing by its size keeps a rise positive.
    """
    return 100 * (value - baseline) / abs(baseline) if baseline else float("nan")


def _others(arms: Arms, baseline: str) -> list[tuple[str, str, list[TaskRun]]]:
    return [
        (method, group, own)
        for (method, group), own in arms.items()
        if method is not None and method != baseline and (baseline, group) in arms
    ]


def _point(own: list[TaskRun], base: list[TaskRun], factor: str, options: dict[str, Any]) -> dict[str, Any]:
    partners = {run.seed: run for run in base}
    pairs = [(run, partners[run.seed]) for run in own if run.seed in partners]
    direction = 1 if own[0].task.higher_is_better else -1
    changes = [
        {"G": direction * _change(run, partner, G, options), "factor": _change(run, partner, factor, options)}
        for run, partner in pairs
    ]
    known = pd.DataFrame(changes, columns=["G", "factor"], dtype=float).dropna()
    means = known.mean()
    return {
        "pairs": len(known),
        **{f"{name}_mean": means[name] for name in ("G", "factor")},
        **{f"{name}_std": known[name].std(ddof=1) for name in ("G", "factor")},
        "inside": bool(means["G"] * means["factor"] < 0) if len(known) else pd.NA,
    }


def _change(run: TaskRun, partner: TaskRun, factor: str, options: dict[str, Any]) -> float:
    (own,), (base,) = sides([run], [partner], factor, COMPARED[options["aggregation"]], options)
    return percentage_change(own.value, base.value)
