"""Study B's experiments: what an optimizer, a method and a learning rate come to on all metrics of all tasks.

An experiment is a method with an optimizer at a learning rate, trained with several seeds. Its Delta_m says what it
loses against every task trained alone; its metrics say whether another experiment is better at everything.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasktrace.analysis import published_b
from tasktrace.analysis.pareto import Flags, Values, missing, optimal, undominated_by
from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.config.experiments import GROUP, in_grid
from tasktrace.errors import DataError
from tasktrace.rows import write_table
from tasktrace.tasks import HIGHER_IS_BETTER, Task

EXPERIMENT = ["method", "optimizer", "learning_rate", "batch_size"]
"""What an experiment is."""

COUNTINGS = ("mean over seeds", "single seeds")
"""What a point of a front is: the paper does not say which of the two its table 2 counts."""

BASELINE_COLUMNS = ["task", "optimizer", "learning_rate", "batch_size", "seeds", "metric", "validation", "test"]
BASELINE_COLUMNS += ["test_std"]
COUNTS_COLUMNS = ["counting", "compared", "optimizer", "points", "optimal", "optimal_against_others"]
COUNTS_COLUMNS += ["optimal_published", "optimal_against_others_published"]
METHODS_COLUMNS = ["compared", "optimizer", "method", "points", "optimal", "optimal_published"]

_STD = "_std"
_POINT = ["learning_rate", "batch_size"]
_COMPARED = ["learning_rate", "delta_m", f"delta_m{_STD}"]
"""Of a published result, what stands beside ours."""


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
    """

    task: Task
    optimizer: str
    point: dict[str, Any]
    seeds: int
    validation: NDArray[np.float64]
    test: NDArray[np.float64]
    test_std: NDArray[np.float64]


def analyse_experiments(setting: str, folders: list[Path], out: Path, identities: list[str] | None = None) -> None:
    """Write every table of a setting's grid.

    Args:
        setting: Its name, for messages and for the published numbers.
        folders: Folders of all runs of its grid, tasks alone and together.
        out: Folder of the tables: experiments.csv, experiment_runs.csv, baseline.csv, pareto_counts.csv,
            pareto_methods.csv, results.csv.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.

    Raises:
        DataError: A run is missing, no task was trained together with others, or there is no baseline for a task.
        DamagedFileError: A file is not what was written.
    """
    runs = [run for run in read_runs(folders, identities) if in_grid(run.arm)]
    together = [run for run in runs if run.arm.group == GROUP]
    if not together:
        raise DataError(f"{setting}: no finished run with a method in its grid: there is nothing to compare")
    alone = baselines(setting, [run for run in runs if run.arm.group != GROUP], together[0].tasks)
    rows = pd.DataFrame([_run_row(run, alone) for run in together])
    experiments = experiments_table(rows)
    write_table(out / "experiment_runs.csv", rows)
    write_table(out / "experiments.csv", experiments)
    write_table(out / "baseline.csv", baseline_table(alone))
    write_table(out / "pareto_counts.csv", pareto_counts(setting, experiments, rows))
    write_table(out / "pareto_methods.csv", pareto_methods(setting, experiments))
    write_table(out / "results.csv", results_table(setting, experiments))


def metric_column(task: str, metric: str) -> str:
    """The column of a task's metric in the tables; the column of its standard deviation has ``_std`` behind."""
    return f"{task}.{metric}"


def metric_columns(table: pd.DataFrame) -> list[str]:
    """The metrics of a table."""
    return [str(name) for name in table if "." in str(name) and not str(name).endswith(_STD)]


def directions(columns: Sequence[str]) -> Flags:
    """Of every metric's column whether higher is better, shape (metrics,)."""
    return np.array([HIGHER_IS_BETTER[column.partition(".")[2]] for column in columns])


def delta_m(values: Values, baseline: Values, higher: Flags) -> Values:
    """Study B's Delta_m in percent, lower is better: one flat mean over all metrics of all tasks.

    Delta_m = mean_m (-1)^{l_m} (M_m - M_b,m) / M_b,m with l_m = 1 where higher is better. A mean per task first, as
    LibMTL's, does not give the paper's tables.

    Args:
        values: M, of shape (..., metrics).
        baseline: M_b, of shape (metrics,), not zero.
        higher: l, of shape (metrics,).

    Returns:
        Shape (...).
    """
    loss: Values = 100 * np.where(higher, -1.0, 1.0) * (values - baseline) / baseline
    mean: Values = loss.mean(axis=-1)
    return mean


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
    """One row per task and metric: ``BASELINE_COLUMNS``, where ``metric`` is a column of the other tables."""
    rows = [
        {"task": own.task.name, "optimizer": own.optimizer, **own.point, "seeds": own.seeds}
        | {"metric": column, "validation": validation, "test": test, "test_std": test_std}
        for own in alone
        for column, validation, test, test_std in zip(
            _columns([own.task]), own.validation, own.test, own.test_std, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=BASELINE_COLUMNS)


def experiments_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per experiment.

    An experiment of which a seed diverged counts as diverged: its numbers are NaN, it is never optimal or chosen, and
    dominates nothing. The mean of those seeds that came through would say that the others do not matter.

    Args:
        rows: One row per run: ``EXPERIMENT``, seed, diverged, epoch, validation_delta_m, the metrics, delta_m.

    Returns:
        ``EXPERIMENT``; number of seeds, and of those that diverged; every metric's mean and sample standard deviation
        over seeds, on test data at each run's best epoch; the mean validation_delta_m; mean and standard deviation of
        delta_m; ``pareto_full`` (no experiment dominates it); for every optimizer ``optimal_against_<optimizer>``
        (none of that optimizer's does; NA for its own), only if there are several; ``chosen``: the learning rate with
        the best mean validation_delta_m of its method and optimizer.
    """
    columns = metric_columns(rows)
    table = pd.DataFrame([_experiment(own, columns) for _, own in rows.groupby(EXPERIMENT, sort=False)])
    values, higher = table[columns].to_numpy(dtype=float), directions(columns)
    table["pareto_full"] = optimal(values, higher)
    optimizers = list(dict.fromkeys(table["optimizer"]))
    for other in optimizers if len(optimizers) > 1 else []:
        theirs = (table["optimizer"] == other).to_numpy()
        against = pd.Series(undominated_by(values, values[theirs], higher), dtype="boolean")
        table[f"optimal_against_{other}"] = against.mask(theirs)
    best = table.groupby(["method", "optimizer"])["validation_delta_m"].transform("min")
    winners = table[table["validation_delta_m"] == best].drop_duplicates(["method", "optimizer"])
    table["chosen"] = table.index.isin(winners.index)
    return table


def pareto_counts(setting: str, experiments: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """How many points are optimal (Table 2), counting experiments and counting single runs.

    Args:
        setting: Its name, for the published numbers.
        experiments: What :func:`experiments_table` gives.
        rows: What it was given.

    Returns:
        ``COUNTS_COLUMNS``: a row per optimizer among those ``compared`` (names with a blank between): all optimizers,
        and each pair if there are more than two, since the paper's fronts are those of two. ``points`` are those that
        did not diverge, ``optimal`` those that no point of the compared optimizers dominates,
        ``optimal_against_others`` those that none of the others' does (all of them if there is no other).
    """
    found = []
    for counting, points in zip(COUNTINGS, (experiments, rows), strict=True):
        for compared, own in _comparisons(points):
            values, higher = _metrics(own)
            full = optimal(values, higher)
            for optimizer in compared:
                ours = (own["optimizer"] == optimizer).to_numpy()
                against = undominated_by(values[ours], values[~ours], higher)
                theirs = _published_counts(setting, compared).get((setting, optimizer), (None, None))
                found.append(
                    {"counting": counting, "compared": " ".join(compared), "optimizer": optimizer}
                    | {"points": int((~missing(values[ours])).sum()), "optimal": int(full[ours].sum())}
                    | {"optimal_against_others": int(against.sum()), "optimal_published": theirs[0]}
                    | {"optimal_against_others_published": theirs[1]}
                )
    return _with_counts(found, COUNTS_COLUMNS)


def pareto_methods(setting: str, experiments: pd.DataFrame) -> pd.DataFrame:
    """How many experiments of each method and optimizer are optimal (Table A2).

    Args:
        setting: Its name, for the published numbers.
        experiments: What :func:`experiments_table` gives.

    Returns:
        ``METHODS_COLUMNS``, as for :func:`pareto_counts`.
    """
    paper = _paper(setting)
    found = []
    for compared, own in _comparisons(experiments):
        values, higher = _metrics(own)
        flags = own.assign(known=~missing(values), optimal=optimal(values, higher))
        is_published = bool(_published_counts(setting, compared))
        for optimizer in compared:
            for method, rows in flags[flags["optimizer"] == optimizer].groupby("method", sort=False):
                theirs = paper.get((method, optimizer), {}).get("pareto_full") if is_published else None
                found.append(
                    {"compared": " ".join(compared), "optimizer": optimizer, "method": method}
                    | {"points": int(rows["known"].sum()), "optimal": int(rows["optimal"].sum())}
                    | {"optimal_published": theirs}
                )
    return _with_counts(found, METHODS_COLUMNS)


def results_table(setting: str, experiments: pd.DataFrame) -> pd.DataFrame:
    """Every method and optimizer at its chosen learning rate (Tables A4 to A7), with the published Delta_m beside.

    Args:
        setting: Its name, for the published numbers.
        experiments: What :func:`experiments_table` gives.

    Returns:
        method, optimizer, learning_rate, batch_size, seeds, the metrics, validation_delta_m, delta_m and its standard
        deviation, pareto_full, and published_learning_rate, published_delta_m and published_delta_m_std, NaN where
        there are none. Where every learning rate diverged, there is a row without numbers.
    """
    metrics = _with_std(metric_columns(experiments))
    kept = [*EXPERIMENT, "seeds", *metrics, "validation_delta_m", *_with_std(["delta_m"]), "pareto_full"]
    paper = _paper(setting)
    rows = []
    for (method, optimizer), own in experiments.groupby(["method", "optimizer"], sort=False):
        winner = own[own["chosen"]]
        names: dict[Any, Any] = {"method": method, "optimizer": optimizer, "pareto_full": False}
        row = names if winner.empty else winner[kept].iloc[0].to_dict()
        theirs = paper.get((method, optimizer), {})
        rows.append({**row, **{f"published_{name}": theirs.get(name) for name in _COMPARED}})
    published = [f"published_{name}" for name in _COMPARED]
    return pd.DataFrame(rows, columns=[*kept, *published]).astype(dict.fromkeys(published, float))


def _baseline(setting: str, runs: list[FinishedRun], task: Task) -> Baseline:
    if not runs:
        raise DataError(
            f"{setting}: Delta_m needs {task.name!r} trained alone, and no such run is in the grid: add an optimizer "
            "to experiments.alone.optimizers"
        )
    points: dict[tuple[Any, ...], list[FinishedRun]] = {}
    for run in runs:
        key = (run.arm.optimizer, *(run.spec["point"][name] for name in _POINT))
        points.setdefault(key, []).append(run)
    candidates = [own for key, seeds in points.items() if (own := _candidate(task, key, seeds)) is not None]
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


def _candidate(task: Task, key: tuple[Any, ...], seeds: list[FinishedRun]) -> Baseline | None:
    """What a task alone comes to at a point; None if a seed diverged or has no finite number."""
    validation, test = [], []
    for run in seeds:
        losses = run.series(task.name, "validation", "loss").drop(0, errors="ignore")
        finite = losses[np.isfinite(losses)]
        if run.diverged or finite.empty:
            return None
        epoch = finite.idxmin()
        validation.append(_values(run, "validation").loc[epoch])
        test.append(_values(run, "test").loc[epoch])
    numbers = np.array(validation), np.array(test)
    if not all(np.isfinite(own).all() for own in numbers):
        return None
    point = dict(zip(_POINT, key[1:], strict=True))
    means = [own.mean(axis=0) for own in numbers]
    return Baseline(task, key[0], point, len(seeds), means[0], means[1], _std(numbers[1]))


def _std(values: Values) -> Values:
    """Sample standard deviation over rows; NaN for one row."""
    return np.std(values, axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)


def _columns(tasks: list[Task]) -> list[str]:
    return [metric_column(task.name, metric) for task in tasks for metric in task.metrics]


def _values(run: FinishedRun, split: str) -> pd.DataFrame:
    """All metrics of all tasks by epoch, from 1 on; a trajectory calls every task's first metric ``metric``."""
    series = {
        metric_column(task.name, metric): run.series(task.name, split, "metric" if metric == task.metric else metric)
        for task in run.tasks
        for metric in task.metrics
    }
    return pd.DataFrame(series).drop(0, errors="ignore")


def _run_row(run: FinishedRun, alone: list[Baseline]) -> dict[str, Any]:
    """A run at its best epoch: that of lowest validation Delta_m, where the tasks alone have their validation metrics.

    A run of which a loss, or at every epoch some metric, was not finite counts as diverged, and has no numbers.
    """
    columns = _columns(run.tasks)
    higher = directions(columns)
    point = {name: run.spec["point"][name] for name in _POINT}
    row = {"method": run.arm.method, "optimizer": run.arm.optimizer, **point, "seed": run.spec["seed"]}
    nothing = dict.fromkeys(["validation_delta_m", *columns, "delta_m"], np.nan)
    validation, test = _values(run, "validation"), _values(run, "test")
    scores = delta_m(validation.to_numpy(), np.concatenate([own.validation for own in alone]), higher)
    usable = np.isfinite(scores) & np.isfinite(test.to_numpy()).all(axis=1)
    if run.diverged or not usable.any():
        return {**row, "diverged": True, "epoch": None, **nothing}
    place = int(np.where(usable, scores, np.inf).argmin())
    values = test.iloc[place].to_numpy()
    own_delta = float(delta_m(values, np.concatenate([own.test for own in alone]), higher))
    return {
        **row,
        "diverged": False,
        "epoch": int(validation.index[place]),
        "validation_delta_m": float(scores[place]),
        **dict(zip(columns, values, strict=True)),
        "delta_m": own_delta,
    }


def _experiment(rows: pd.DataFrame, columns: list[str]) -> dict[str, Any]:
    names = {name: rows[name].iloc[0] for name in EXPERIMENT}
    numbers = rows[[*columns, "validation_delta_m", "delta_m"]]
    mean = numbers.mean(skipna=False)
    std = numbers.std(ddof=1, skipna=False)
    spread = {name: own[name.removesuffix(_STD)] for name, own in zip(_with_std(columns), itertools.cycle((mean, std)))}
    return {
        **names,
        "seeds": len(rows),
        "diverged": int(rows["diverged"].sum()),
        **spread,
        "validation_delta_m": mean["validation_delta_m"],
        "delta_m": mean["delta_m"],
        f"delta_m{_STD}": std["delta_m"],
    }


def _with_std(columns: list[str]) -> list[str]:
    """Every column, and behind it that of its standard deviation."""
    return [name for column in columns for name in (column, f"{column}{_STD}")]


def _comparisons(points: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The optimizers compared with each other, and their points: all, and every pair if there are more than two."""
    optimizers = tuple(dict.fromkeys(points["optimizer"]))
    pairs = itertools.combinations(optimizers, 2) if len(optimizers) > 2 else ()
    for compared in (optimizers, *pairs):
        yield compared, points[points["optimizer"].isin(compared)]


def _metrics(points: pd.DataFrame) -> tuple[Values, Flags]:
    columns = metric_columns(points)
    return points[columns].to_numpy(dtype=float), directions(columns)


def _published_counts(setting: str, compared: tuple[str, ...]) -> dict[tuple[str, str], tuple[int, int]]:
    """Table 2's counts if they are about these optimizers."""
    if set(compared) != set(published_b.OPTIMIZERS):
        return {}
    return {key: counts for key, counts in published_b.TABLE_2.items() if key[0] == setting}


def _paper(setting: str) -> dict[tuple[Any, Any], dict[Any, Any]]:
    """The published results of a setting, by method and optimizer."""
    table = published_b.published_results()
    rows = table[(table["setting"] == setting) & table["method"].notna()].to_dict("records")
    return {(row["method"], row["optimizer"]): row for row in rows}


def _with_counts(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """A table whose published counts are whole numbers or NA."""
    table = pd.DataFrame(rows, columns=columns)
    published = [name for name in columns if name.endswith("_published")]
    return table.astype(dict.fromkeys(published, float)).astype(dict.fromkeys(published, "Int64"))
