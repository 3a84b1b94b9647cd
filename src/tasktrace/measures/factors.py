"""The file of a run's measured factors."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from tasktrace.rows import write_rows


@dataclass(frozen=True)
class Factor:
    """One number of ``factors.parquet``.

    Attributes:
        epoch: Finished epochs; 0 is the initial model.
        step: Finished steps.
        task: The task's name.
        other: The other task where the number is about a pair, else empty.
        measure: ``<name of the measure's block>.<quantity>``, e.g. ``fisher.trace``.
        parameters: ``model`` (the encoder's and the task's head's) or ``encoder``.
        value: The number.
        stderr: Its standard error, or NaN.
    """

    epoch: int
    step: int
    task: str
    other: str
    measure: str
    parameters: str
    value: float
    stderr: float


_SCHEMA = pa.schema(
    [
        ("epoch", pa.int32()),
        ("step", pa.int64()),
        ("task", pa.string()),
        ("other", pa.string()),
        ("measure", pa.string()),
        ("parameters", pa.string()),
        ("value", pa.float64()),
        ("stderr", pa.float64()),
    ]
)


def write_factors(path: Path, factors: list[Factor]) -> None:
    """Write the numbers as Parquet; the same numbers give the same bytes."""
    write_rows(path, factors, _SCHEMA)
