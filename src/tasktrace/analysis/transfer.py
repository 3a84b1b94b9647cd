"""Transfer to every task: Delta G = G(MTL) - G(STL), by the rule of study A's Table 1 (footnote 6)."""

from typing import Any

import numpy as np
import pandas as pd

from tasktrace.analysis.matched_loss import bands_apart
from tasktrace.analysis.runs import FinishedRun
from tasktrace.tasks import Task


def generalisation(run: FinishedRun, task: Task, best_checkpoints: int) -> float:
    """G of one task: its mean test metric over the epochs of best validation metric.

    Args:
        run: A run that did not diverge.
        task: One of its tasks.
        best_checkpoints: How many finished epochs count (study A: 10); all of a shorter run; ties go to the earlier.
    """
    validation = run.series(task.name, "validation", "metric").drop(0, errors="ignore")
    test = run.series(task.name, "test", "metric")
    ranked = validation.sort_values(ascending=not task.higher_is_better, kind="stable")
    return float(test.loc[ranked.index[:best_checkpoints]].mean())


def transfer(runs: list[FinishedRun], best_checkpoints: int, band: float) -> pd.DataFrame:
    """One row per multi-task arm and task.

    Args:
        runs: Runs at their selected points, all seeds.
        best_checkpoints: See :func:`generalisation`.
        band: Half-width of an interval, in sample standard deviations over seeds.

    Returns:
        Columns optimizer, task, method, group, metric; ``delta``; ``significant`` (the intervals mean +- band * std
        do not overlap; NA with fewer than two seeds on a side) and ``transfer`` (positive, negative or none); then
        mean, std, number and diverged seeds of G and the mean lowest full training loss, for ``stl`` and ``mtl``.
    """
    tasks = {task.name: task for run in runs for task in run.tasks}
    rows = pd.DataFrame([_row(run, task, best_checkpoints) for run in runs for task in run.tasks])
    found = []
    for (optimizer, name), shared in rows.groupby(["optimizer", "task"], sort=False):
        alone = _summary(shared[shared["method"].isna()], "stl")
        together = shared[shared["method"].notna()]
        for (method, group), own in together.groupby(["method", "group"], sort=False):
            task = tasks[str(name)]
            row = {"optimizer": optimizer, "task": name, "method": method, "group": group, "metric": task.metric}
            sides = {**alone, **_summary(own, "mtl")}
            found.append({**row, **_compared(sides, task, band), **sides})
    return pd.DataFrame(found)


def over_seeds(values: pd.Series, side: str) -> dict[str, Any]:
    """``mean``, ``std`` (sample standard deviation) and number of ``seeds`` of one side of a comparison.

    Args:
        values: One a seed; NaN for a seed without a value, which counts nowhere.
        side: ``stl`` or ``mtl``, which the names of the three begin with.
    """
    return {
        f"{side}_mean": values.mean(),
        f"{side}_std": values.std(ddof=1),
        f"{side}_seeds": int(values.notna().sum()),
    }


def compared(sides: dict[str, Any], band: float) -> tuple[float, Any]:
    """What training together changes, and whether that is significant.

    Args:
        sides: What :func:`over_seeds` gives for ``stl`` and ``mtl``.
        band: Half-width of an interval, in sample standard deviations over seeds.

    Returns:
        The mean of ``mtl`` less that of ``stl``, and whether the intervals mean +- band * std do not overlap: NA with
        fewer than two seeds on a side.
    """
    delta = sides["mtl_mean"] - sides["stl_mean"]
    if min(sides["stl_seeds"], sides["mtl_seeds"]) < 2:
        return delta, pd.NA
    return delta, bool(bands_apart(np.array(delta), np.array(sides["mtl_std"]), np.array(sides["stl_std"]), band))


def _row(run: FinishedRun, task: Task, best_checkpoints: int) -> dict[str, Any]:
    arm = {name: getattr(run.arm, name) for name in ("optimizer", "method", "group")}
    row = {**arm, "task": task.name, "diverged": run.diverged}
    if run.diverged:
        return {**row, "G": np.nan, "loss": np.nan}
    lowest = run.series(task.name, "train", "loss").min()
    return {**row, "G": generalisation(run, task, best_checkpoints), "loss": lowest}


def _summary(rows: pd.DataFrame, side: str) -> dict[str, Any]:
    return {
        **over_seeds(rows["G"], side),
        f"{side}_diverged": int(rows["diverged"].sum()),
        f"{side}_lowest_loss": rows["loss"].mean(),
    }


def _compared(sides: dict[str, Any], task: Task, band: float) -> dict[str, Any]:
    delta, significant = compared(sides, band)
    if significant is pd.NA:
        return {"delta": delta, "significant": pd.NA, "transfer": pd.NA}
    better = (delta > 0) == task.higher_is_better
    sign = ("positive" if better else "negative") if significant else "none"
    return {"delta": delta, "significant": significant, "transfer": sign}
