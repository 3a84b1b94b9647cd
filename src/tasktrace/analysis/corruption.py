"""Study B's corruption transfer: how well frozen features of tasks trained together bear corrupted pictures."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasktrace.analysis import published_b
from tasktrace.analysis.metrics import STD, counted, directions, metric_column
from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.config import Arm
from tasktrace.config.study import identity
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.rows import write_table

CLEAN = "clean"
ALONE = "alone"
"""Stands for the method of tasks trained alone."""

MEAN = "mean"
"""Stands for the metric in the mean over all metrics, and for the corruption in the mean over all corruptions."""

SCORES_COLUMNS = ["method", "metric", "seeds", "clean", f"clean{STD}", "corrupted", f"corrupted{STD}"]
SCORES_COLUMNS += ["corrupted_published"]
TRANSFER_COLUMNS = ["method", "metric", "corruption", "seeds", "delta", f"delta{STD}"]


@dataclass(frozen=True)
class RefittedRun:
    """A run whose heads were fitted to corrupted data.

    Attributes:
        arm: What was trained.
        spec: How the heads were fitted, and to what.
        scores: Columns task, metric, corruption (``clean`` among them), severity, value.
    """

    arm: Arm
    spec: dict[str, Any]
    scores: pd.DataFrame


def analyse_corruption(setting: str, folders: list[Path], out: Path, identities: list[str] | None = None) -> None:
    """Write the tables of a setting's corruption transfer.

    Args:
        setting: Its name, for messages and for the published numbers.
        folders: Folders of the refitted runs, tasks alone and together.
        out: Folder of the tables: corruption_scores.csv, corruption_transfer.csv.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.

    Raises:
        DataError: A run is not refitted, or not like the others, a task was not refitted alone, or a metric on clean
            data is zero.
        DamagedFileError: A file is not what was written.
    """
    finished = read_runs(folders, identities)
    runs = [read_refitted(folder, run) for folder, run in zip(folders, finished, strict=True)]
    _check_alike(folders, runs)
    values = values_table(setting, runs)
    write_table(out / "corruption_scores.csv", scores_table(setting, values))
    write_table(out / "corruption_transfer.csv", transfer_table(setting, values))


def read_refitted(folder: Path, run: FinishedRun) -> RefittedRun:
    """What the refitted heads of a finished run came to.

    Args:
        folder: The run's folder.
        run: The run that it holds.

    Raises:
        DataError: It is not refitted, or was trained anew since.
        DamagedFileError: The table is not the one that ``corrupted.json`` was written for.
    """
    record_path, table_path = folder / "corrupted.json", folder / "corrupted.parquet"
    if not record_path.exists() or not table_path.exists():
        raise DataError(f"{folder}: its heads are not refitted; run `snakemake --cores 1 {table_path}`")
    record: dict[str, Any] = json.loads(record_path.read_text(encoding="utf-8"))
    remedy = f"delete {record_path} and run `snakemake --cores 1 {table_path}`"
    if record["identity"] != identity(run.spec) or record["trajectory"] != run.record["trajectory"]:
        raise DataError(f"{table_path}: refitted on another run than the one that is there now; {remedy}")
    found = file_digest(table_path)
    if found != record["sha256"]:
        raise DamagedFileError(f"{table_path}: sha256 {found}, but corrupted.json says {record['sha256']}; {remedy}")
    scores = pd.read_parquet(table_path)
    names = [task.name for task in counted(run.tasks)]
    return RefittedRun(run.arm, record["spec"], scores[scores["task"].isin(names)])


def _check_alike(folders: list[Path], runs: list[RefittedRun]) -> None:
    """Refuse runs that cannot be compared: heads fitted in another way, or to other pictures."""
    for folder, run in zip(folders, runs, strict=True):
        if run.spec != runs[0].spec:
            raise DataError(
                f"{folder}: its heads were not refitted like those in {folders[0]} (corrupted.json says how); delete "
                f"both files corrupted.json and run `snakemake --cores 1 {folder / 'corrupted.json'} "
                f"{folders[0] / 'corrupted.json'}`"
            )


def values_table(setting: str, runs: list[RefittedRun]) -> pd.DataFrame:
    """Every metric of every run under every corruption, and as a share of the same run's on clean data.

    Returns:
        Columns method (``alone`` for a task alone), run, metric, corruption, clean, value and ratio; value and ratio
        are means over severities, and the mean ratio is that of the means, since a run has one clean value.

    Raises:
        DataError: A metric on clean data is zero.
    """
    rows = []
    for number, run in enumerate(runs):
        for (task, metric), own in run.scores.groupby(["task", "metric"], sort=False):
            clean = float(own.loc[own["corruption"] == CLEAN, "value"].iloc[0])
            if clean == 0:
                raise DataError(
                    f"{setting}: {run.arm.path}: {task!r} has a {metric} of zero on clean test data, and what "
                    "corruption leaves of it does not exist"
                )
            corrupted = own[own["corruption"] != CLEAN].groupby("corruption", sort=False)["value"].mean()
            names = {"method": run.arm.method or ALONE, "run": number, "metric": metric_column(str(task), str(metric))}
            rows += [
                {**names, "corruption": corruption, "clean": clean, "value": value, "ratio": value / clean}
                for corruption, value in corrupted.items()
            ]
    return pd.DataFrame(rows)


def scores_table(setting: str, values: pd.DataFrame) -> pd.DataFrame:
    """Metrics on clean and on corrupted test data (tables A10 and A11): ``SCORES_COLUMNS``.

    Args:
        setting: Its name, for the published numbers.
        values: What :func:`values_table` gives.

    Returns:
        One row per method and metric: mean over all corruptions and severities of each run, then mean and sample
        standard deviation over seeds.
    """
    by_run = values.groupby(["method", "metric", "run"], sort=False)[["clean", "value"]].mean().reset_index()
    table = by_run.groupby(["method", "metric"], sort=False).agg(
        seeds=("run", "size"),
        clean=("clean", "mean"),
        clean_std=("clean", "std"),
        corrupted=("value", "mean"),
        corrupted_std=("value", "std"),
    )
    paper = published_b.corrupted_scores(setting)
    table["corrupted_published"] = [paper.get(key, float("nan")) for key in table.index]
    return table.reset_index()[SCORES_COLUMNS]


def transfer_table(setting: str, values: pd.DataFrame) -> pd.DataFrame:
    """What corruption costs tasks trained together, against tasks alone (figure A8, tables A8 and A9).

    delta_t = mean_{c,s} (-1)^p (M_MTL,corr / M_MTL,clean - M_STL,corr / M_STL,clean), p = 1 where higher is better:
    negative means that the features of tasks trained together bear corruption better.

    Args:
        setting: Its name, for messages.
        values: What :func:`values_table` gives.

    Returns:
        ``TRANSFER_COLUMNS``: mean and sample standard deviation over the seeds of the method's runs, each against the
        mean over the seeds of the task alone; by corruption and for their ``mean``, by metric and for their ``mean``.

    Raises:
        DataError: A task was not refitted alone.
    """
    alone = values[values["method"] == ALONE].groupby(["metric", "corruption"])["ratio"].mean()
    together = values[values["method"] != ALONE]
    absent = sorted(set(together["metric"]) - set(alone.index.get_level_values("metric")))
    if absent:
        raise DataError(
            f"{setting}: {', '.join(absent)}: not refitted alone, and what training together changes is relative to "
            "that; add the optimizer of corruption to experiments.alone.optimizers"
        )
    keys = pd.MultiIndex.from_frame(together[["metric", "corruption"]])
    signs = np.where(directions(list(together["metric"])), -1.0, 1.0)
    deltas = together.assign(delta=signs * (together["ratio"].to_numpy() - alone.reindex(keys).to_numpy()))
    deltas = _with_mean(_with_mean(deltas, "metric"), "corruption")
    grouped = deltas.groupby(["method", "metric", "corruption"], sort=False)["delta"]
    table = grouped.agg(seeds="size", delta="mean", delta_std="std").reset_index()
    return table[TRANSFER_COLUMNS]


def _with_mean(deltas: pd.DataFrame, column: str) -> pd.DataFrame:
    """The same rows, and behind them the means of each run over all values of a column."""
    others = [name for name in ("method", "run", "metric", "corruption") if name != column]
    means = deltas.groupby(others, sort=False)["delta"].mean().reset_index().assign(**{column: MEAN})
    return pd.concat([deltas[["method", "run", "metric", "corruption", "delta"]], means], ignore_index=True)
