"""Study B's tables 1 and A3: iterations until the toy problem's minimum, ours beside the published ones."""

import html
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.page import page
from tasktrace.files import write_text
from tasktrace.rows import write_table

_NAMES = {"gd": "GD", "adam": "Adam", "ew": "EW", "pcgrad": "PCGrad", "cagrad": "CAGrad"}


def draw(tables: Path, options: dict[str, Any], out: Path) -> None:
    """Write the table as a page and, beside it, as CSV.

    A cell is our number with the published one in brackets where the two differ; cells further apart than their
    tolerance are coloured.

    Args:
        tables: Folder of the toy study's tables.
        options: ``learning_rates``: the columns (table 1: 10, 1, 0.1, 0.01, 0.001; table A3, and if left out: all);
            ``title``.
        out: The page.

    Raises:
        DataError: The study has no such learning rate.
    """
    cells = pd.read_csv(table(tables, "table.csv"), dtype={"ours": str, "published": str})
    rates = options.get("learning_rates", list(dict.fromkeys(cells["learning_rate"])))
    absent = [rate for rate in rates if rate not in set(cells["learning_rate"])]
    if absent:
        raise DataError(f"table B1: the toy study has no learning rate {', '.join(map(str, absent))}")
    chosen = cells[cells["learning_rate"].isin(rates)]
    write_table(out.with_suffix(".csv"), chosen)
    write_text(out, page(options["title"], f"{_summary(chosen)}\n{_grid(chosen, rates)}"))


def _summary(cells: pd.DataFrame) -> str:
    compared = cells[cells["within"].notna()]
    within = int(compared["within"].astype(bool).sum())
    return (
        "<p>First iteration with a mean loss below the threshold, the largest over the starts; – where not all starts "
        f"arrived. In brackets the published number where it differs. {within} of {len(compared)} cells are within "
        "their tolerance.</p>"
    )


def _grid(cells: pd.DataFrame, rates: list[float]) -> str:
    head = "".join(f"<th>{rate:g}</th>" for rate in rates)
    lines = [f"<tr><th>optimizer</th><th>method</th>{head}</tr>"]
    for (optimizer, method), own in cells.groupby(["optimizer", "method"], sort=False):
        line = "".join(_cell(own[own["learning_rate"] == rate].iloc[0]) for rate in rates)
        lines.append(f"<tr><td>{_name(optimizer)}</td><td>{_name(method)}</td>{line}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>\n"


def _cell(cell: pd.Series) -> str:
    known = not pd.isna(cell["published"])
    differs = known and cell["ours"] != cell["published"]
    theirs = f' <span class="theirs">({_number(cell["published"])})</span>' if differs else ""
    apart = ' class="apart"' if known and not bool(cell["within"]) else ""
    return f"<td{apart}>{_number(cell['ours'])}{theirs}</td>"


def _number(text: str) -> str:
    return "–" if text == "-" else f"{int(text):,}"


def _name(key: Any) -> str:
    return html.escape(_NAMES.get(str(key), str(key)))
