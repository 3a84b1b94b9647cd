"""Dataclass instances as the rows of a Parquet file."""

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tasktrace.files import atomic_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def write_rows(path: Path, rows: Sequence["DataclassInstance"], schema: pa.Schema) -> None:
    """Write the rows, whole or not at all; the same rows give the same bytes.

    Args:
        path: The file.
        rows: Instances of one dataclass, whose fields are the schema's columns in the same order.
        schema: Names and types of the columns.
    """
    values = zip(*map(astuple, rows), strict=True) if rows else [()] * len(schema)
    columns = dict(zip(schema.names, values, strict=True))
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary)
