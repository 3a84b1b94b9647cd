"""The tables of one setting, from its finished runs."""

from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.matched_loss import CURVE, curves, separation
from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.analysis.transfer import transfer
from tasktrace.errors import DataError
from tasktrace.files import atomic_path


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
    whole = [run for run in runs if not run.diverged]
    if not whole:
        raise DataError(f"{setting}: every run at a selected point diverged; see {folders[0]}/run.json and its like")
    points = pd.concat([_points(run, task.name) for run in whole for task in run.tasks], ignore_index=True)
    curves_table = curves(points, options["grid_points"])
    _write(out / "points.parquet", points)
    _write(out / "curves.parquet", curves_table)
    _write(out / "separation.csv", separation(curves_table, options["band"]))
    _write(out / "transfer.csv", transfer(runs, options["best_checkpoints"], options["band"]))
    _write(out / "runs.csv", pd.DataFrame([_run_row(run) for run in runs]))


def table(folder: Path, name: str) -> Path:
    """The path of a setting's table.

    Raises:
        DataError: It is not there yet.
    """
    path = folder / name
    if not path.exists():
        raise DataError(f"{path}: no such table yet; run `snakemake --cores 1 {path}`")
    return path


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


def _write(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False)
        else:
            table.to_parquet(temporary, index=False)
