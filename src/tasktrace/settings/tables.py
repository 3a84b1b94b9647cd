"""Tab-separated tables as GLUE publishes them: a line is a row, and a quotation mark is text."""

from collections.abc import Sequence
from pathlib import Path

from tasktrace.errors import DataError

_MOST_DAMAGED = 1e-3
"""Share of rows that may have too few or too many fields. QQP has some, whose questions hold line breaks; others
leave them out as well (Hugging Face's ``datasets``). A file with more of them is not the one that was published."""


def read_columns(path: Path, columns: Sequence[str], header: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """The fields of some columns, row by row; rows with too few or too many fields are left out.

    Only a line feed ends a row: texts hold other characters that Python takes for line breaks.

    Args:
        path: The file.
        columns: Names of the columns.
        header: Names of all columns of a file whose first line is a row already.

    Raises:
        DataError: The file is no such table, or has no such column.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").rstrip("\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}); fetch it anew") from error
    rows = [line.removesuffix("\r").split("\t") for line in lines]
    names = list(header) if header else rows.pop(0)
    absent = [name for name in columns if name not in names]
    if absent:
        raise DataError(f"{path}: no column {absent[0]!r} among {', '.join(names)}; fetch it anew")
    whole = [row for row in rows if len(row) == len(names)]
    damaged = len(rows) - len(whole)
    if not whole or damaged > _MOST_DAMAGED * len(rows):
        raise DataError(f"{path}: {damaged} of {len(rows)} rows have not {len(names)} fields; fetch it anew")
    places = [names.index(name) for name in columns]
    return [tuple(row[place] for place in places) for row in whole]
