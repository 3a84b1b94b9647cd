"""Tables as files: whole or not at all, the same bytes for the same rows."""

import math
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasktrace.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd  # training writes rows, and should not wait for it
    from _typeshed import DataclassInstance


def write_rows(path: Path, rows: Sequence["DataclassInstance"], schema: pa.Schema) -> None:
    """Write the rows, whole or not at all; the same rows give the same bytes.

    Args:
        path: The file.
        rows: Instances of one dataclass, whose fields are the schema's columns in the same order.
        schema: Names and types of the columns.
    """
    values = zip(*map(astuple, rows), strict=True) if rows else [()] * len(schema)
    columns = {name: list(map(_unsigned, own)) for name, own in zip(schema.names, values, strict=True)}
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary)


def _unsigned(value: Any) -> Any:
    """The value; a NaN without its sign, which 0/0 gives it and the JSON of a resume state takes."""
    return math.nan if isinstance(value, float) and math.isnan(value) else value


def write_table(path: Path, table: "pd.DataFrame", digits: int | None = None) -> None:
    """Write a table as CSV or Parquet, whichever ``path`` ends in.

    Args:
        path: The file.
        table: Its index is left out.
        digits: Significant digits of numbers in a CSV; all of them if left out.
    """
    with atomic_path(path) as temporary:
        if path.suffix == ".csv":
            table.to_csv(temporary, index=False, float_format=None if digits is None else f"%.{digits}g")
        else:
            table.to_parquet(temporary, index=False)
