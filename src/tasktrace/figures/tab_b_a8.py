"""Study B's tables A8 to A11: corruption transfer of every method, and the metrics behind it."""

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.corruption import ALONE, MEAN
from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.page import html_table, page, scrolled
from tasktrace.figures.style import metric_label, metric_name, signed_spread, spread
from tasktrace.files import write_text
from tasktrace.rows import write_table

CSV_DIGITS = 6
"""Significant digits in the CSVs."""


def draw(tables: Path, options: dict[str, Any], html: Path) -> None:
    """Write the tables as a page and, beside it, as CSVs.

    Args:
        tables: Folder of the setting's tables.
        options: ``setting``; ``corruption``: the setting's block, whose ``leave_out`` is named and whose methods give
            the order.
        html: The page; beside it lie delta_t as CSV of the same name, and with ``_scores`` in the name the metrics.

    Raises:
        DataError: No method was refitted.
    """
    transfer = pd.read_csv(table(tables, "corruption_transfer.csv"))
    scores = pd.read_csv(table(tables, "corruption_scores.csv"))
    corruption = options["corruption"]
    if transfer.empty:
        raise DataError(f"table B-A8 has no rows: no method was refitted in setting {options['setting']!r}")
    deltas = transfer[transfer["corruption"] == MEAN]
    body = "".join(
        [
            "<h2>Tables A8 and A9: what training together changes</h2>\n",
            _text(corruption["leave_out"]),
            scrolled(_deltas_table(deltas, corruption["methods"])),
            "<h2>Tables A10 and A11: metrics on clean and on corrupted test data</h2>\n",
            _scores_text(bool(scores["corrupted_published"].notna().any())),
            scrolled(_scores_table(scores, [ALONE, *corruption["methods"]])),
        ]
    )
    write_text(html, page(f"Tables B-A8 to A11: {options['setting']}", body))
    write_table(html.with_suffix(".csv"), deltas, CSV_DIGITS)
    write_table(html.with_name(f"{html.stem}_scores.csv"), scores, CSV_DIGITS)


def _text(left_out: list[str]) -> str:
    names = ", ".join(name.replace("_", " ") for name in left_out)
    without = f" Left out by configuration: {escape(names)}." if left_out else ""
    return (
        "<p>δ<sub>t</sub> is the share of its clean metric that a task keeps under corruption when trained together, "
        "minus the share that it keeps alone, signed so that negative means that training together bears corruption "
        "better; mean over corruptions and severities, ± standard deviation over seeds. The backbones are frozen, the "
        f"heads fitted to corrupted training data.{without}</p>\n"
    )


def _deltas_table(deltas: pd.DataFrame, methods: list[str]) -> str:
    cells = {(row["method"], row["metric"]): row for row in deltas.to_dict("records")}
    metrics = [name for name in dict.fromkeys(deltas["metric"]) if name != MEAN]
    rows = [
        [escape(method), *(_delta(cells[method, metric]) for metric in [*metrics, MEAN])]
        for method in methods
        if (method, MEAN) in cells
    ]
    names = [f"{metric.partition('.')[0]} {metric_name(metric)}" for metric in metrics]
    return html_table(["method", *names, "mean"], rows)


def _delta(row: dict[Any, Any]) -> str:
    return signed_spread(row["delta"], row["delta_std"])


def _scores_text(is_published: bool) -> str:
    beside = (
        "Published: the paper's metric on corrupted data; its tables A8 and A9 do not follow from it."
        if is_published
        else "The paper has no numbers for this setting."
    )
    return f"<p>Test data, mean ± standard deviation over seeds: clean → corrupted. {beside}</p>\n"


def _scores_table(scores: pd.DataFrame, methods: list[str]) -> str:
    cells = {(row["method"], row["metric"]): row for row in scores.to_dict("records")}
    metrics = list(dict.fromkeys(scores["metric"]))
    rows = [
        [escape(method), *(_score(cells[method, metric], metric) for metric in metrics)]
        for method in methods
        if all((method, metric) in cells for metric in metrics)
    ]
    names = [f"{metric.partition('.')[0]} {metric_label(metric).label}" for metric in metrics]
    return html_table(["method", *names], rows)


def _score(row: dict[Any, Any], metric: str) -> str:
    factor = metric_label(metric).factor
    clean, corrupted = (spread(row[name], row[f"{name}_std"], factor) for name in ("clean", "corrupted"))
    theirs = row["corrupted_published"]
    beside = "" if pd.isna(theirs) else f' <span class="theirs">(published {theirs:g})</span>'
    return f"{clean} → {corrupted}{beside}"
