"""Choose an arm's learning rate and batch size by validation, on the runs of its sweep."""

from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.errors import DataError
from tasktrace.files import write_json


def select(arm: str, folders: list[Path], out: Path, identities: list[str] | None = None) -> dict[str, Any]:
    """Write the selected point of an arm with the scores that it was chosen by.

    Args:
        arm: The arm's path, for messages.
        folders: Folders of the sweep's runs.
        out: The selection file.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.

    Returns:
        The file's content: ``point``, ``score``, ``criterion`` and ``candidates``.

    Raises:
        DataError: Every run of the sweep diverged.
    """
    candidates = [_candidate(run) for run in read_runs(folders, identities)]
    usable = [candidate for candidate in candidates if candidate["score"] is not None]
    if not usable:
        raise DataError(f"{arm}: every run of the sweep diverged; add smaller learning rates to sweep.learning_rates")
    best = max(usable, key=lambda candidate: candidate["score"])
    content = {
        "arm": arm,
        "point": best["point"],
        "score": best["score"],
        "criterion": "best epoch's validation metric, mean over the tasks (negated where lower is better)",
        "candidates": candidates,
    }
    write_json(out, content)
    return content


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
