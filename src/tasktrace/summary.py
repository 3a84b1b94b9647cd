"""The numbers that say how a setting's study went, in files that DVC shows and compares.

DVC joins the names of nested numbers with dots, so that no name may have one; and what it reads is JSON, which has no
NaN.
"""

import math
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from tasktrace.analysis.metrics import metric_columns
from tasktrace.analysis.tables import table
from tasktrace.files import write_json
from tasktrace.rows import write_table

Numbers: TypeAlias = dict[tuple[str, ...], float]
"""Numbers by the names that lead to them, the outermost first."""

_TRANSFER = {"delta": "delta", "significant": "significant", "together": "mtl_mean", "alone": "stl_mean"}
"""What a transfer's numbers are called, and the columns that have them."""

_BARS = {"transfer": "delta", "experiments": "delta_m"}
"""Of each kind of result the number that is drawn."""


def summarise(setting: str, tables: Path, options: dict[str, Any], out: Path, plots: Path) -> None:
    """Write a setting's numbers as they are in its tables, and files of bars.

    The numbers are nested by name; one that is NaN or infinite is left out:

    - ``transfer``, by optimizer, group, method and task: ``together`` and ``alone``, the mean of G over seeds, in the
      metric's units (a fraction for accuracy); ``delta``, together less alone; ``significant``, true or false, of which
      there is none with fewer than two seeds.
    - ``experiments``, by optimizer and method, at the chosen learning rate: ``delta_m``, the loss against every task
      alone in percent, lower is better; and by task and metric the mean over seeds, in the metric's units.

    The bars have the columns ``label`` (task, method, group, optimizer; or method, optimizer) and ``delta`` or
    ``delta_m``. A file of bars that does not apply is written with its columns and no rows.

    Args:
        setting: The setting's name.
        tables: Folder of its tables: transfer.csv if it has groups, results.csv if it has experiments.
        options: ``groups``, whose transfer is summed up, and ``experiments``, whether there are any.
        out: The JSON file of the numbers.
        plots: Folder of the bars: ``transfer/<setting>.csv`` and ``experiments/<setting>.csv``.

    Raises:
        DataError: A table is not there yet.
    """
    groups = options["groups"]
    transfer = _transfer(pd.read_csv(table(tables, "transfer.csv")), groups) if groups else {}
    experiments = _experiments(pd.read_csv(table(tables, "results.csv"))) if options["experiments"] else {}
    numbers = {names: value for names, value in (transfer | experiments).items() if math.isfinite(value)}
    for kind, drawn in _BARS.items():
        write_table(plots / kind / f"{setting}.csv", _bars(numbers, kind, drawn))
    write_json(out, _nested(numbers))


def _transfer(found: pd.DataFrame, groups: list[str]) -> Numbers:
    rows = found.assign(group=found["group"].str.removeprefix("mtl."))
    return {
        ("transfer", row["optimizer"], row["group"], row["method"], row["task"], name): row[column]
        for row in rows[rows["group"].isin(groups)].to_dict("records")
        for name, column in _TRANSFER.items()
    }


def _experiments(found: pd.DataFrame) -> Numbers:
    columns = ["delta_m", *metric_columns(found)]
    return {
        ("experiments", row["optimizer"], row["method"], *column.split(".")): row[column]
        for row in found.to_dict("records")
        for column in columns
    }


def _bars(numbers: Numbers, kind: str, drawn: str) -> pd.DataFrame:
    """One row per number of that name; a label's words go from what differs most to what differs least."""
    rows = [
        (" ".join(reversed(names[1:-1])), value)
        for names, value in numbers.items()
        if names[0] == kind and names[-1] == drawn
    ]
    return pd.DataFrame(rows, columns=["label", drawn])


def _nested(numbers: Numbers) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for (*outer, name), value in numbers.items():
        inner = nested
        for key in outer:
            inner = inner.setdefault(key, {})
        inner[name] = value
    return nested
