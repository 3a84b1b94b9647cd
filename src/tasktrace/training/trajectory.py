"""The trajectory's rows, and their file."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasktrace.rows import write_rows


@dataclass(frozen=True)
class Row:
    """One number of a trajectory.

    Attributes:
        epoch: Finished epochs; 0 is the initial model.
        step: Finished steps.
        task: The task's name; empty for what is about all of them.
        split: ``train``, ``validation`` or ``test``.
        quantity: ``loss`` (mean over the whole split, eval mode), ``metric`` (likewise; the task's other metrics by
            their names), ``batch_loss`` (mean over the epoch's training batches, as training saw them), or
            ``<kind>.<quantity>.<statistic>`` of :mod:`tasktrace.training.similarity`.
        value: The number.
    """

    epoch: int
    step: int
    task: str
    split: str
    quantity: str
    value: float


_SCHEMA = pa.schema(
    [
        ("epoch", pa.int32()),
        ("step", pa.int64()),
        ("task", pa.string()),
        ("split", pa.string()),
        ("quantity", pa.string()),
        ("value", pa.float64()),
    ]
)


def write_trajectory(path: Path, rows: list[Row]) -> None:
    """Write the rows as Parquet; the same rows give the same bytes."""
    write_rows(path, rows, _SCHEMA)


def summary(rows: list[Row]) -> str:
    """Each task's full training loss and validation metric."""
    values = {(row.task, row.split, row.quantity): row.value for row in rows}
    tasks = dict.fromkeys(row.task for row in rows)
    return ", ".join(
        f"{task} loss {values[task, 'train', 'loss']:.4g}, validation {values[task, 'validation', 'metric']:.4f}"
        for task in tasks
    )
