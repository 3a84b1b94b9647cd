"""Table A1 (study A, Table 1): what training together changes in G and the factors, with the published numbers."""

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.factor_tables import G
from tasktrace.analysis.published import COLUMNS
from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.page import page
from tasktrace.figures.style import FACTORS, signed
from tasktrace.files import write_text
from tasktrace.rows import write_table

DIGITS = 3
"""Significant digits of a change on the page."""

CSV_DIGITS = 6
"""Significant digits in the CSV."""

_NAMES = ("optimizer", "method", "group", "task")
_RULES = {
    "table1": "G is the mean test metric over the checkpoints of best validation metric; a factor is the mean over the "
    "last checkpoints, or over its largest values where <code>analysis.largest</code> names it (study A, footnote 6 of "
    "Table 1).",
    "loss_bins": "G and the factors are means over the checkpoints at the end of training: those in the last bins of "
    "the training loss that the runs of a seed share (study A, appendix B.4).",
}


def draw(tables: Path, options: dict[str, Any], html: Path) -> None:
    """Write the table as a page and, beside it, as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: setting, labels of the groups, band, aggregation.
        html: The page; the CSV lies beside it.

    Raises:
        DataError: There is nothing to compare.
    """
    content = pd.read_csv(table(tables, "table_a1.csv"))
    if content.empty:
        raise DataError(
            f"table A1 has no rows: no group of setting {options['setting']!r} has a finished run; see the outcomes in "
            f"{tables / 'runs.csv'}"
        )
    published = [name for name in COLUMNS if content[f"{name}_published"].notna().any()]
    body = f'{_text(options, bool(published))}<div class="scroll">{_table(content, published, options)}</div>\n'
    write_text(html, page(f"Table A1: {options['setting']}", body + _notes(content)))
    write_table(html.with_suffix(".csv"), content, CSV_DIGITS)


def _text(options: dict[str, Any], is_published: bool) -> str:
    units = [f"{FACTORS[name].name} in {FACTORS[name].unit}" for name in COLUMNS if name != G]
    beside = (
        "The published numbers are study A's Table 1, – where a cell is missing."
        if is_published
        else "Study A has no published numbers for this setting's tasks."
    )
    return (
        "<p>Training together less training alone, mean over seeds: G in points of percent for accuracies, otherwise "
        f"in the metric's unit; {', '.join(units)} (lower is more coherent). {_RULES[options['aggregation']]}</p>\n"
        f"<p><b>Bold</b>: significant, that is, the intervals of mean ± {options['band']:g} standard deviations over "
        "seeds, together and alone, do not overlap. <i>Italic</i>: fewer than two seeds on a side, so that nothing can "
        f"be said. –: not measured, or no finished run on a side. {beside}</p>\n"
    )


def _table(content: pd.DataFrame, published: list[str], options: dict[str, Any]) -> str:
    spans = "".join(
        f'<th colspan="2">{_heading(name)}</th>' if name in published else f'<th rowspan="2">{_heading(name)}</th>'
        for name in COLUMNS
    )
    names = "".join(f'<th rowspan="2">{name}</th>' for name in _NAMES)
    below = "<th>ours</th><th>published</th>" * len(published)
    rows = "".join(_row(row, published, options["labels"]) for row in content.to_dict("records"))
    return f"<table>\n<thead><tr>{names}{spans}</tr>\n<tr>{below}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table>"


def _heading(name: str) -> str:
    return f"Δ{name}" if name == G else f"Δ {FACTORS[name].name}"


def _row(row: dict[Any, Any], published: list[str], labels: dict[str, str]) -> str:
    named = {**row, "group": labels.get(row["group"], row["group"])}
    cells = [escape(str(named[name])) for name in _NAMES]
    for name in COLUMNS:
        cells.append(_ours(row, name))
        if name in published:
            cells.append(_published(row, name))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n"


def _ours(row: dict[Any, Any], name: str) -> str:
    text = signed(row[name], DIGITS)
    if pd.isna(row[name]):
        return text
    unit = f" {escape(str(row['unit']))}" if name == G and row["unit"] != "points" else ""
    significant = row[f"{name}_significant"]
    if pd.isna(significant):
        return f"<i>{text}{unit}</i>"
    return f"<b>{text}{unit}</b>" if significant else f"{text}{unit}"


def _published(row: dict[Any, Any], name: str) -> str:
    """The published cell to all its digits; its unit where it is not ours."""
    value = row[f"{name}_published"]
    if pd.isna(value):
        return signed(value)
    is_other = name == G and row["unit_published"] != row["unit"]
    return f"{value:+g}".replace("-", "−") + (f" ({escape(str(row['unit_published']))})" if is_other else "")


def _notes(content: pd.DataFrame) -> str:
    noted = content[content["note"].notna() & (content["note"] != "")].drop_duplicates("task")
    items = [f"<li>{escape(str(row['task']))}: {escape(row['note'])}</li>" for row in noted.to_dict("records")]
    return f"<p>On the published numbers:</p>\n<ul>{''.join(items)}</ul>\n" if items else ""
