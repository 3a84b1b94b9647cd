"""What was measured at the checkpoints: joined with the runs, as curves over the loss, and against training alone.

A factor is a name of the study's choice for one measured quantity (``analysis.factors``), e.g. ``sharpness`` for
``sharpness.rho0.002``. Beside the configured ones, G (the test metric) and the lowest full training loss are compared.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis import aggregates
from tasktrace.analysis.aggregates import Aggregate
from tasktrace.analysis.matched_loss import CURVE, curves
from tasktrace.analysis.runs import FinishedRun
from tasktrace.analysis.transfer import compared, generalisation, over_seeds
from tasktrace.config.study import identity
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.tasks import Task

G, LOWEST_LOSS, SIMILARITY = "G", "lowest_loss", "similarity"
RULES = ("table1", "early", "end")
"""Study A's Table 1, and its loss bins early and at the end of training; see :mod:`tasktrace.analysis.aggregates`."""

COMPARED = {"table1": "table1", "loss_bins": "end"}
"""The rule of ``analysis.aggregation`` by which whole runs are compared."""

FACTORS_COLUMNS = [*CURVE, "seed", "epoch", "loss", "other", "measure", "parameters", "value", "stderr"]
CURVES_COLUMNS = ["factor", *CURVE, "loss", "mean", "std", "seeds"]
_SIDES = [f"{side}_{what}" for side in ("stl", "mtl") for what in ("mean", "std", "seeds", "checkpoints")]
DELTAS_COLUMNS = [*CURVE, "metric", "factor", "rule", "delta", "significant", *_SIDES]


@dataclass(frozen=True)
class TaskRun:
    """One task of one finished run: what is compared between runs.

    Attributes:
        optimizer: The arm's optimizer.
        method: The arm's method; None for a task alone.
        group: ``stl.<task>`` or ``mtl.<name>``.
        seed: The run's seed.
        task: The task.
        loss: Full training loss by epoch.
        metric: Test metric by epoch.
        best: G by the rule of Table 1: the mean test metric over the epochs of best validation, and their number.
        factors: The configured factors by epoch, only checkpoints; empty where the run was not measured so.
    """

    optimizer: str
    method: str | None
    group: str
    seed: int
    task: Task
    loss: pd.Series
    metric: pd.Series
    best: Aggregate
    factors: dict[str, pd.Series]


Arms = dict[tuple[str | None, str], list[TaskRun]]
"""Runs of one task and optimizer, one a seed, by method and group."""


def read_factors(folder: Path, run: FinishedRun) -> pd.DataFrame:
    """What was measured at the checkpoints of a finished run.

    Args:
        folder: The run's folder.
        run: The run that it holds.

    Returns:
        Columns epoch (0 is the initial model), step, task, other, measure, parameters, value, stderr.

    Raises:
        DataError: The run has not been measured, or was trained anew since.
        DamagedFileError: The table is not the one that ``factors.json`` was written for.
    """
    record_path, table_path = folder / "factors.json", folder / "factors.parquet"
    if not record_path.exists() or not table_path.exists():
        raise DataError(f"{folder}: its checkpoints are not measured; run `snakemake --cores 1 {table_path}`")
    record = json.loads(record_path.read_text(encoding="utf-8"))
    if record["identity"] != identity(run.spec) or record["trajectory"] != run.record["trajectory"]:
        raise DataError(
            f"{table_path}: measured on another run than the one that is there now; delete {record_path} "
            f"and run `snakemake --cores 1 {table_path}`"
        )
    found = file_digest(table_path)
    if found != record["sha256"]:
        raise DamagedFileError(
            f"{table_path}: sha256 {found}, but factors.json says {record['sha256']}; "
            f"delete {record_path} and run `snakemake --cores 1 {table_path}`"
        )
    return pd.read_parquet(table_path)


def factors_table(runs: list[FinishedRun], tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Everything measured, with the run's identity and the task's full training loss at that epoch.

    Args:
        runs: Runs that did not diverge.
        tables: What :func:`read_factors` gives for each.

    Returns:
        ``FACTORS_COLUMNS``; method is NA for a task alone.
    """
    joined = [_joined(run, table) for run, table in zip(runs, tables, strict=True)]
    whole: pd.DataFrame = pd.concat(joined, ignore_index=True)
    return whole


def check_measured(table: pd.DataFrame, options: dict[str, Any]) -> None:
    """Refuse a factor that a measure does not give. One of a measure that the setting does not ask for is empty.

    Raises:
        DataError: Names the factor, what it asks for and what there is.
    """
    known = set(table["measure"])
    for name, measure in options["factors"].items():
        block = measure.partition(".")[0] + "."
        beside = sorted(other for other in known if other.startswith(block))
        if beside and measure not in known:
            raise DataError(f"analysis.factors.{name}: no run has {measure!r}; found: {', '.join(beside)}")


def factor_rows(table: pd.DataFrame, factor: str, options: dict[str, Any]) -> pd.DataFrame:
    """The rows of a table in long form that are about a factor, and not about a pair of tasks."""
    rows: pd.DataFrame = table[(table["measure"] == options["factors"][factor]) & (table["other"] == "")]
    return rows


def factor_curves(table: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    """Every factor's curve over the logarithm of the loss, as :func:`tasktrace.analysis.matched_loss.curves` of G.

    Args:
        table: What :func:`factors_table` gives.
        options: factors, grid_points.

    Returns:
        ``CURVES_COLUMNS``; std is the sample standard deviation over seeds.
    """
    found = []
    for factor in options["factors"]:
        points = factor_rows(table, factor, options).rename(columns={"value": "metric"})
        if (points["epoch"] > 0).any():
            found.append(curves(points, options["grid_points"]).assign(factor=factor))
    return pd.concat(found, ignore_index=True)[CURVES_COLUMNS] if found else pd.DataFrame(columns=CURVES_COLUMNS)


def task_runs(runs: list[FinishedRun], tables: list[pd.DataFrame], options: dict[str, Any]) -> list[TaskRun]:
    """What is compared, of every task of every run; arguments as for :func:`factors_table` and :func:`deltas`."""
    return [
        _task_run(run, task, table[table["task"] == task.name], options)
        for run, table in zip(runs, tables, strict=True)
        for task in run.tasks
    ]


def by_arm(runs: list[TaskRun]) -> dict[tuple[str, str], Arms]:
    """The runs by optimizer and task, and there by method and group, all in the order in which they come."""
    found: dict[tuple[str, str], Arms] = {}
    for run in runs:
        found.setdefault((run.optimizer, run.task.name), {}).setdefault((run.method, run.group), []).append(run)
    return found


def sides(
    own: list[TaskRun], other: list[TaskRun], factor: str, rule: str, options: dict[str, Any]
) -> tuple[list[Aggregate], list[Aggregate]]:
    """The values of two arms that are compared, one a seed.

    At the end of training a range of losses is shared by the two runs of a seed; seeds without a partner are left
    out, and a pair of which one run has no checkpoint there has no value on either side. The lowest loss is a run's
    own, whatever the rule.
    """
    if rule != "end" or factor == LOWEST_LOSS:
        return [_of_run(run, factor, rule, options) for run in own], [
            _of_run(run, factor, rule, options) for run in other
        ]
    partners = {run.seed: run for run in other}
    pairs = [_at_the_end(run, partners[run.seed], factor, options) for run in own if run.seed in partners]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def deltas(runs: list[TaskRun], options: dict[str, Any]) -> pd.DataFrame:
    """Every factor of every multi-task arm and task, compared with the task alone.

    Args:
        runs: What :func:`task_runs` gives.
        options: band, best_checkpoints, factors, last_checkpoints, largest (names of the factors of which the largest
            values count, study A: fisher), largest_checkpoints, bins, early_bins, end_bins.

    Returns:
        ``DELTAS_COLUMNS``: a row for each of ``RULES`` (the lowest loss has only the first); ``delta`` is the mean
        over seeds of the arm less that of the task alone, in the factor's units; ``significant`` (the intervals mean
        +- band * std do not overlap) is NA with fewer than two seeds on a side; ``checkpoints`` is the smallest number
        over seeds that a side's value is the mean of, 0 where a seed has none in the bins. G early and at the end is
        the mean test metric in those bins.
    """
    rows = [
        {**names, **_delta(own, alone, factor, rule, options)}
        for names, own, alone in _together_and_alone(runs)
        for factor in (G, LOWEST_LOSS, *compared_factors(options))
        for rule in (RULES[:1] if factor == LOWEST_LOSS else RULES)
    ]
    return pd.DataFrame(rows, columns=DELTAS_COLUMNS)


def compared_factors(options: dict[str, Any]) -> list[str]:
    """The configured factors that tasks alone have too."""
    return [factor for factor in options["factors"] if factor != SIMILARITY]


def _joined(run: FinishedRun, table: pd.DataFrame) -> pd.DataFrame:
    rows = run.trajectory
    losses = rows[(rows["split"] == "train") & (rows["quantity"] == "loss")]
    losses = losses[["task", "epoch", "value"]].rename(columns={"value": "loss"})
    arm = {name: getattr(run.arm, name) for name in ("optimizer", "method", "group")}
    joined = table.merge(losses, on=["task", "epoch"], how="left", validate="many_to_one")
    return joined.assign(**arm, seed=run.spec["seed"])[FACTORS_COLUMNS]


def _task_run(run: FinishedRun, task: Task, table: pd.DataFrame, options: dict[str, Any]) -> TaskRun:
    best = options["best_checkpoints"]
    metric = run.series(task.name, "test", "metric")
    return TaskRun(
        optimizer=run.arm.optimizer,
        method=run.arm.method,
        group=run.arm.group,
        seed=run.spec["seed"],
        task=task,
        loss=run.series(task.name, "train", "loss"),
        metric=metric,
        best=Aggregate(generalisation(run, task, best), min(best, len(aggregates.finished(metric)))),
        factors={
            factor: factor_rows(table, factor, options).set_index("epoch")["value"].sort_index()
            for factor in options["factors"]
        },
    )


def _together_and_alone(runs: list[TaskRun]) -> Iterator[tuple[dict[str, Any], list[TaskRun], list[TaskRun]]]:
    for (optimizer, task), arms in by_arm(runs).items():
        alone = [run for (method, _), own in arms.items() if method is None for run in own]
        for (method, group), own in arms.items():
            if method is not None:
                metric = own[0].task.metric
                names = {"optimizer": optimizer, "task": task, "method": method, "group": group, "metric": metric}
                yield names, own, alone


def _delta(own: list[TaskRun], alone: list[TaskRun], factor: str, rule: str, options: dict[str, Any]) -> dict[str, Any]:
    together, single = sides(own, alone, factor, rule, options)
    both = {**_side(single, "stl"), **_side(together, "mtl")}
    delta, significant = compared(both, options["band"])
    return {"factor": factor, "rule": rule, "delta": delta, "significant": significant, **both}


def _side(seeds: list[Aggregate], side: str) -> dict[str, Any]:
    values = pd.Series([seed.value for seed in seeds], dtype=float)
    checkpoints = min((seed.checkpoints for seed in seeds), default=0)
    return {**over_seeds(values, side), f"{side}_checkpoints": checkpoints}


def _of_run(run: TaskRun, factor: str, rule: str, options: dict[str, Any]) -> Aggregate:
    """A run's own value: by the rule of Table 1 or early in training."""
    if factor == LOWEST_LOSS:
        return Aggregate(float(run.loss.min()), 1)
    if rule == "early":
        return aggregates.early(run.loss, _series(run, factor), options["bins"], options["early_bins"])
    if factor == G:
        return run.best
    if factor in options["largest"]:
        return aggregates.largest(run.factors[factor], options["largest_checkpoints"])
    return aggregates.last(run.factors[factor], options["last_checkpoints"])


def _at_the_end(run: TaskRun, other: TaskRun, factor: str, options: dict[str, Any]) -> tuple[Aggregate, Aggregate]:
    losses = aggregates.end_range([run.loss, other.loss], options["bins"], options["end_bins"])
    one, two = (aggregates.within(side.loss, _series(side, factor), losses) for side in (run, other))
    if one.checkpoints and two.checkpoints:
        return one, two
    nothing = float("nan")
    return Aggregate(nothing, one.checkpoints), Aggregate(nothing, two.checkpoints)


def _series(run: TaskRun, factor: str) -> pd.Series:
    return run.metric if factor == G else run.factors[factor]
