"""Study B's baseline: every task trained alone, at its best point."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasktrace.analysis.metrics import columns_of, metric_values, std_over_seeds
from tasktrace.analysis.runs import FinishedRun
from tasktrace.errors import DataError
from tasktrace.files import canonical_json
from tasktrace.tasks import Task

COLUMNS = ["task", "optimizer", "learning_rate", "batch_size", "seeds", "metric", "validation", "test", "test_std"]


@dataclass(frozen=True)
class Baseline:
    """A task trained alone, at the optimizer and learning rate of its best mean validation metric.

    Attributes:
        task: The task.
        optimizer: The optimizer's name.
        point: learning_rate and batch_size.
        seeds: Number of seeds.
        validation: Mean over seeds of every metric on validation data, at the epoch of lowest validation loss.
        test: Mean over seeds of every metric on test data, there: M_b of Delta_m.
        test_std: Sample standard deviation of it.
        epochs: By seed, that epoch.
    """

    task: Task
    optimizer: str
    point: dict[str, Any]
    seeds: int
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    test_std: NDArray[np.float64]
    epochs: dict[int, int]


def baselines(setting: str, runs: list[FinishedRun], tasks: list[Task]) -> list[Baseline]:
    """Every task trained alone, at its best point.

    The optimizer and the learning rate are those with the best validation ``metric``, mean over seeds, each seed at
    the epoch (from 1 on) of its lowest validation loss (paper: tasks alone are stopped by the validation loss); the
    first of several best ones. A point of which a seed diverged does not count.

    Args:
        setting: Its name, for messages.
        runs: Runs of single tasks, all points and seeds.
        tasks: The tasks that are needed.

    Raises:
        DataError: A task was not trained alone, diverged at every point, or has a metric of zero, against which
            nothing can be relative.
    """
    return [_baseline(setting, [run for run in runs if run.tasks == [task]], task) for task in tasks]


def baseline_table(alone: list[Baseline]) -> pd.DataFrame:
    """One row per task and metric: ``COLUMNS``, where ``metric`` is a column of the other tables."""
    rows = [
        {"task": own.task.name, "optimizer": own.optimizer, **own.point, "seeds": own.seeds}
        | {"metric": column, "validation": validation, "test": test, "test_std": test_std}
        for own in alone
        for column, validation, test, test_std in zip(
            columns_of([own.task]), own.validation, own.test, own.test_std, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _baseline(setting: str, runs: list[FinishedRun], task: Task) -> Baseline:
    if not runs:
        raise DataError(
            f"{setting}: Delta_m needs {task.name!r} trained alone, and no such run is in the grid: add an optimizer "
            "to experiments.alone.optimizers"
        )
    points: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        points.setdefault((run.arm.optimizer, canonical_json(run.spec["point"])), []).append(run)
    candidates = [own for seeds in points.values() if (own := candidate(task, seeds)) is not None]
    if not candidates:
        raise DataError(
            f"{setting}: Delta_m needs {task.name!r} trained alone, and it diverged at every learning rate: add "
            "smaller ones to experiments.alone.learning_rates"
        )
    sign = 1 if task.higher_is_better else -1
    best = max(candidates, key=lambda own: sign * own.validation[0])
    for split, values in (("validation", best.validation), ("test", best.test)):
        for metric, value in zip(task.metrics, values, strict=True):
            if value == 0:
                raise DataError(
                    f"{setting}: {task.name!r} trained alone ({best.optimizer}, learning rate "
                    f"{best.point['learning_rate']:g}) has a {split} {metric} of zero, and Delta_m, which is relative "
                    "to it, does not exist"
                )
    return best


def candidate(task: Task, seeds: list[FinishedRun]) -> Baseline | None:
    """What a task alone comes to at a point.

    Args:
        task: The task.
        seeds: Its runs with one optimizer at one point.

    Returns:
        None if a seed diverged or has no finite number.
    """
    validation, test, epochs = [], [], {}
    for run in seeds:
        losses = run.series(task.name, "validation", "loss").drop(0, errors="ignore")
        finite = losses[np.isfinite(losses)]
        if run.diverged or finite.empty:
            return None
        epoch = finite.idxmin()
        epochs[run.spec["seed"]] = int(epoch)
        validation.append(metric_values(run, "validation").loc[epoch])
        test.append(metric_values(run, "test").loc[epoch])
    numbers = np.array(validation), np.array(test)
    if not all(np.isfinite(own).all() for own in numbers):
        return None
    optimizer, point = seeds[0].arm.optimizer, dict(seeds[0].spec["point"])
    means = [own.mean(axis=0) for own in numbers]
    return Baseline(task, optimizer, point, len(seeds), means[0], means[1], std_over_seeds(numbers[1]), epochs)
