"""Gradient similarity while training: the statistics of watched runs as one table (study B, figures 4 and A5 to A7)."""

from pathlib import Path

import pandas as pd

from tasktrace.analysis.runs import FinishedRun, read_runs
from tasktrace.errors import DataError
from tasktrace.rows import write_table

COLUMNS = ["seed", "epoch", "kind", "quantity", "statistic", "value"]


def similarity_table(runs: list[FinishedRun]) -> pd.DataFrame:
    """The statistics of every epoch of every run, long form: ``COLUMNS``."""
    return pd.concat([_of_run(run) for run in runs], ignore_index=True)


def analyse_similarity(setting: str, folders: list[Path], out: Path, identities: list[str] | None = None) -> None:
    """Write ``similarity.parquet``.

    Args:
        setting: Its name, for messages.
        folders: Folders of the watched runs.
        out: Folder of the tables.
        identities: See :func:`tasktrace.analysis.runs.read_runs`.

    Raises:
        DataError: A run is missing, or none was watched.
    """
    table = similarity_table(read_runs(folders, identities))
    if table.empty:
        raise DataError(f"{setting}: no run compared gradients of single samples; see {folders[0]}/run.json")
    write_table(out / "similarity.parquet", table)


def _of_run(run: FinishedRun) -> pd.DataFrame:
    rows = run.trajectory[run.trajectory["task"] == ""]
    names = rows["quantity"].str.split(".", expand=True)
    if names.empty:
        return pd.DataFrame(columns=COLUMNS)
    named = {"kind": names[0], "quantity": names[1], "statistic": names[2]}
    return rows.assign(seed=run.spec["seed"], **named)[COLUMNS]
