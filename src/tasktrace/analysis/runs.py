"""Finished runs, read from their folders."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.config import Arm
from tasktrace.config.declarations import declaration
from tasktrace.config.study import identity
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.tasks import Task


@dataclass(frozen=True)
class FinishedRun:
    """One run's record and trajectory.

    Attributes:
        record: The content of ``run.json``.
        trajectory: Columns epoch, step, task, split, quantity, value.
    """

    record: dict[str, Any]
    trajectory: pd.DataFrame

    @property
    def spec(self) -> dict[str, Any]:
        """The run's resolved spec."""
        spec: dict[str, Any] = self.record["spec"]
        return spec

    @property
    def arm(self) -> Arm:
        """The arm that the run's folder belongs to."""
        return Arm.from_path(self.record["run"].rsplit("/", 2)[0], tuple(self.spec["tasks"]))

    @property
    def diverged(self) -> bool:
        """Whether a loss was not finite."""
        return bool(self.record["outcome"]["status"] == "diverged")

    @property
    def tasks(self) -> list[Task]:
        """The tasks trained together."""
        declared = declaration("setting", self.spec["data"]["name"]).tasks
        return [declared[name] for name in self.spec["tasks"]]

    def series(self, task: str, split: str, quantity: str) -> pd.Series:
        """One quantity by epoch."""
        rows = self.trajectory
        chosen = rows[(rows["task"] == task) & (rows["split"] == split) & (rows["quantity"] == quantity)]
        return chosen.set_index("epoch")["value"].sort_index()


def read_runs(folders: list[Path], identities: list[str] | None) -> list[FinishedRun]:
    """The finished runs in ``folders``.

    Args:
        folders: Their folders.
        identities: What each was to be trained with (:func:`tasktrace.config.study.identity`); None not to ask.

    Raises:
        DataError: A run has not finished, or was trained with other options than the study now has.
        DamagedFileError: See :func:`read_run`.
    """
    runs = [read_run(folder) for folder in folders]
    for folder, run, expected in zip(folders, runs, identities or [], strict=identities is not None):
        if identity(run.spec) != expected:
            raise DataError(
                f"{folder}: trained with other options than the study has now (its run.json says which), and Snakemake "
                "has no record of that, since it was trained by hand; delete the folder and run again"
            )
    return runs


def read_run(folder: Path) -> FinishedRun:
    """The finished run in ``folder``.

    Raises:
        DataError: The run has not finished.
        DamagedFileError: Its trajectory is not the one that ``run.json`` was written for.
    """
    record_path, trajectory_path = folder / "run.json", folder / "trajectory.parquet"
    if not record_path.exists() or not trajectory_path.exists():
        raise DataError(f"{folder}: no finished run here; run `snakemake --cores 1 {record_path}`")
    record = json.loads(record_path.read_text(encoding="utf-8"))
    found = file_digest(trajectory_path)
    if found != record["trajectory"]:
        raise DamagedFileError(
            f"{trajectory_path}: sha256 {found}, but run.json says {record['trajectory']}; "
            f"delete {record_path} and run `snakemake --cores 1 {record_path}`"
        )
    return FinishedRun(record, pd.read_parquet(trajectory_path))
