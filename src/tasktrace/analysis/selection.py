"""Choose an arm's learning rate and batch size by validation, on the runs of its sweep."""

from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.baseline import Baseline, baselines, candidate
from tasktrace.analysis.experiments import run_row
from tasktrace.analysis.metrics import counted
from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.config import Arm
from tasktrace.config.experiments import in_grid
from tasktrace.errors import DataError
from tasktrace.files import canonical_json, write_json

_OF_SWEEP = "best epoch's validation metric, mean over the tasks (negated where lower is better)"
_OF_GRID = (
    "mean over seeds; together: minus the best epoch's validation Delta_m; alone: validation metric (negated where "
    "lower is better) at the epoch of lowest validation loss"
)


def select(arm: str, folders: list[Path], out: Path, identities: list[str] | None = None) -> dict[str, Any]:
    """Write the selected point of an arm with the scores that it was chosen by.

    Args:
        arm: The arm's path, for messages.
        folders: Folders of the sweep's runs; in study B's grid also those of the baseline.
        out: The selection file.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.

    Returns:
        The file's content: ``point``, ``score``, ``criterion`` and ``candidates``; of study B's grid also
        ``epochs``, by seed the best epoch.

    Raises:
        DataError: Every run of the sweep diverged.
    """
    runs = read_runs(folders, identities)
    of_grid = in_grid(runs[0].arm)
    candidates = _of_grid(arm, runs) if of_grid else [_candidate(run) for run in runs]
    usable = [candidate for candidate in candidates if candidate["score"] is not None]
    if not usable:
        raise DataError(f"{arm}: every run of the sweep diverged; add smaller learning rates to {_rates(arm, of_grid)}")
    best = max(usable, key=lambda candidate: candidate["score"])
    content = {
        "arm": arm,
        "point": best["point"],
        "score": best["score"],
        "criterion": _OF_GRID if of_grid else _OF_SWEEP,
        **({"epochs": best["epoch"]} if of_grid else {}),
        "candidates": candidates,
    }
    write_json(out, content)
    return content


def _rates(arm: str, of_grid: bool) -> str:
    """Where a setting has the learning rates of an arm's runs."""
    if not of_grid:
        return "sweep.learning_rates"
    return f"experiments{'.alone' if Arm.from_path(arm, ()).method is None else ''}.learning_rates"


def score(run: FinishedRun) -> pd.Series:
    """Validation metric by epoch, higher is better, mean over the run's tasks."""
    signed = [
        run.series(task.name, "validation", "metric") * (1 if task.higher_is_better else -1) for task in run.tasks
    ]
    return sum(signed[1:], start=signed[0]) / len(signed)


def _candidate(run: FinishedRun) -> dict[str, Any]:
    """A point with its score; a diverged run has none and is never selected."""
    place = {"point": run.spec["point"], "seed": run.spec["seed"], "outcome": run.record["outcome"]}
    if run.diverged:
        return {**place, "score": None, "epoch": None}
    by_epoch = score(run)
    return {**place, "score": float(by_epoch.max()), "epoch": int(by_epoch.index[int(by_epoch.argmax())])}


def _of_grid(arm: str, runs: list[FinishedRun]) -> list[dict[str, Any]]:
    """The points of an arm of study B's grid; its seeds count together, and one that diverged rules the point out."""
    setting = arm.partition("/")[0]
    alone = [run for run in runs if run.arm.method is None]
    own = [run for run in runs if run.arm.path == arm]
    points: dict[str, list[FinishedRun]] = {}
    for run in own:
        points.setdefault(canonical_json(run.spec["point"]), []).append(run)
    if own[0].arm.method is None:
        return [_alone_at(seeds) for seeds in points.values()]
    baseline = baselines(setting, alone, counted(own[0].tasks))
    return [_together_at(seeds, baseline) for seeds in points.values()]


def _alone_at(seeds: list[FinishedRun]) -> dict[str, Any]:
    (task,) = seeds[0].tasks
    found = candidate(task, seeds)
    sign = 1 if task.higher_is_better else -1
    place = {"point": seeds[0].spec["point"], "seeds": len(seeds)}
    if found is None:
        return {**place, "score": None, "epoch": None}
    return {**place, "score": sign * float(found.validation[0]), "epoch": _by_seed(found.epochs)}


def _together_at(seeds: list[FinishedRun], baseline: list[Baseline]) -> dict[str, Any]:
    rows = [run_row(run, baseline) for run in seeds]
    place = {"point": seeds[0].spec["point"], "seeds": len(seeds)}
    if any(row["diverged"] for row in rows):
        return {**place, "score": None, "epoch": None}
    mean = sum(row["validation_delta_m"] for row in rows) / len(rows)
    return {**place, "score": -mean, "epoch": _by_seed({row["seed"]: row["epoch"] for row in rows})}


def _by_seed(epochs: dict[int, int]) -> dict[str, int]:
    return {str(seed): epoch for seed, epoch in epochs.items()}
