"""The tables of one setting, from its finished runs."""

from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.correlation import auxiliary_table, correlations
from tasktrace.analysis.factor_tables import (
    check_measured,
    deltas,
    factor_curves,
    factors_table,
    read_factors,
    task_runs,
)
from tasktrace.analysis.matched_loss import CURVE, curves, separation
from tasktrace.analysis.methods_compared import methods_compared, share_inside
from tasktrace.analysis.published import table_a1
from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.analysis.transfer import transfer
from tasktrace.errors import DataError
from tasktrace.rows import write_table


def analyse(
    setting: str, folders: list[Path], options: dict[str, Any], out: Path, identities: list[str] | None = None
) -> None:
    """Write every table of a setting.

    Args:
        setting: Its name, for messages.
        folders: Folders of its runs at their selected points.
        options: ``analysis`` in ``config/config.yaml``: band, best_checkpoints, grid_points.
        out: Folder of the tables.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.

    Raises:
        DataError: A run is missing, or none came to its end.
    """
    runs = read_runs(folders, identities)
    whole = list(_whole(setting, folders, runs).values())
    points = pd.concat([_points(run, task.name) for run in whole for task in run.tasks], ignore_index=True)
    curves_table = curves(points, options["grid_points"])
    write_table(out / "points.parquet", points)
    write_table(out / "curves.parquet", curves_table)
    write_table(out / "separation.csv", separation(curves_table, options["band"]))
    write_table(out / "transfer.csv", transfer(runs, options["best_checkpoints"], options["band"]))
    write_table(out / "runs.csv", pd.DataFrame([_run_row(run) for run in runs]))


def analyse_factors(
    setting: str,
    folders: list[Path],
    options: dict[str, Any],
    out: Path,
    identities: list[str] | None = None,
    *,
    auxiliary: dict[str, list[str]] | None = None,
    baseline: str = "umtg",
) -> None:
    """Write every table of what was measured at a setting's checkpoints (study A, Table 1, figures 3 to 6).

    A table that does not apply is written with its columns and no rows.

    Args:
        setting: Its name, for messages and for the published numbers.
        folders: Folders of its runs at their selected points, measured.
        options: ``analysis`` in ``config/config.yaml``.
        out: Folder of the tables.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.
        auxiliary: Target task to the groups (``mtl.<name>``) of its sets of auxiliary tasks, which are compared among
            themselves only: they are in no other table than ``factors.parquet`` and their own.
        baseline: The method that the others are compared with.

    Raises:
        DataError: A run is missing or not measured, none came to its end, or a factor was not measured.
        DamagedFileError: A file is not what was written.
    """
    auxiliary = auxiliary or {}
    whole = _whole(setting, folders, read_runs(folders, identities))
    runs = list(whole.values())
    measured = [read_factors(folder, run) for folder, run in whole.items()]
    factors = factors_table(runs, measured)
    check_measured(factors, options)
    every = task_runs(runs, measured, options)
    sets = [group for groups in auxiliary.values() for group in groups]
    compared = [run for run in every if run.group not in sets]
    deltas_table = deltas(compared, options)
    methods = methods_compared(compared, baseline, options)
    points = auxiliary_table(every, auxiliary, options)
    write_table(out / "factors.parquet", factors)
    write_table(out / "factor_curves.parquet", factor_curves(factors[~factors["group"].isin(sets)], options))
    write_table(out / "deltas.csv", deltas_table)
    write_table(out / "table_a1.csv", table_a1(deltas_table, setting, options))
    write_table(out / "methods.csv", methods)
    write_table(out / "shares.csv", share_inside(methods))
    write_table(out / "auxiliary.csv", points)
    write_table(out / "correlations.csv", correlations(points, options))


def table(folder: Path, name: str) -> Path:
    """The path of a setting's table.

    Raises:
        DataError: It is not there yet.
    """
    path = folder / name
    if not path.exists():
        raise DataError(f"{path}: no such table yet; run `snakemake --cores 1 {path}`")
    return path


def _whole(setting: str, folders: list[Path], runs: list[FinishedRun]) -> dict[Path, FinishedRun]:
    """The runs that came to their end, by folder."""
    whole = {folder: run for folder, run in zip(folders, runs, strict=True) if not run.diverged}
    if not whole:
        raise DataError(f"{setting}: every run at a selected point diverged; see {folders[0]}/run.json and its like")
    return whole


def _points(run: FinishedRun, task: str) -> pd.DataFrame:
    """Full training loss and test metric of one task by epoch, with the run's identity."""
    columns = {
        "loss": run.series(task, "train", "loss"),
        "metric": run.series(task, "test", "metric"),
    }
    identity = {"optimizer": run.arm.optimizer, "task": task, "method": run.arm.method, "group": run.arm.group}
    table = pd.DataFrame(columns).reset_index().assign(**identity, seed=run.spec["seed"])
    return table[[*CURVE, "seed", "epoch", "loss", "metric"]]


def _run_row(run: FinishedRun) -> dict[str, Any]:
    record, outcome = run.record, run.record["outcome"]
    return {
        "run": record["run"],
        "outcome": outcome["status"],
        "diverged_at": "" if not run.diverged else "epoch {epoch}, step {step}, {task}".format(**outcome),
        **run.spec["point"],
        "epochs": int(run.trajectory["epoch"].max()),
        "steps_per_epoch": record["steps_per_epoch"],
        **{f"{activity}_seconds": seconds for activity, seconds in record["seconds"].items()},
        "attempts": record["attempts"],
        "device": record["device"],
        "processor": record["processor"],
        "torch": record["versions"]["torch"],
        "commit": record["commit"],
        "modified": record["modified"],
    }
