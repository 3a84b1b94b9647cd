"""Study B's tables 2, A2 and A4 to A7: what is Pareto-optimal, and every method at its chosen learning rate."""

from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.metrics import metric_columns
from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.page import html_table, page, scrolled
from tasktrace.figures.style import metric_label, signed_spread, spread
from tasktrace.files import write_text
from tasktrace.rows import write_table

CSV_DIGITS = 6
"""Significant digits in the CSVs."""

_NONE = "–"


def draw(tables: Path, options: dict[str, Any], html: Path) -> None:
    """Write the tables as a page and, beside it, as CSVs.

    Args:
        tables: Folder of the setting's tables.
        options: ``setting``; ``optimizers``: their order; ``labels``: of the metrics by column, where they are not to
            be called by task and metric.
        html: The page; beside it lie the results as CSV of the same name, and with ``_counts`` and ``_methods`` in the
            name table 2 and table A2.

    Raises:
        DataError: There is no result of these optimizers.
    """
    optimizers = options["optimizers"]
    results = _of(pd.read_csv(table(tables, "results.csv")), optimizers)
    if results.empty:
        raise DataError(
            f"table B2 has no rows: setting {options['setting']!r} has no experiment of {', '.join(optimizers)}"
        )
    counts = _of(pd.read_csv(table(tables, "pareto_counts.csv")), optimizers)
    methods = _of(pd.read_csv(table(tables, "pareto_methods.csv")), optimizers)
    baseline = pd.read_csv(table(tables, "baseline.csv"))
    is_published = bool(results["published_delta_m"].notna().any())
    body = "".join(
        [
            "<h2>Table 2: Pareto-optimal experiments</h2>\n",
            _counts_text(),
            scrolled(_counts_table(counts)),
            "<h2>Table A2: Pareto-optimal experiments of each method</h2>\n",
            scrolled(_methods_table(methods)),
            "<h2>Tables A4 to A7: every method at its chosen learning rate</h2>\n",
            _results_text(is_published),
            scrolled(_results_table(results, baseline, options["labels"], is_published)),
        ]
    )
    write_text(html, page(f"Tables B2, A2, A4–A7: {options['setting']}", body))
    for ending, content in (("", results), ("_counts", counts), ("_methods", methods)):
        write_table(html.with_name(f"{html.stem}{ending}.csv"), content, CSV_DIGITS)


def _of(content: pd.DataFrame, optimizers: list[str]) -> pd.DataFrame:
    """The rows of some optimizers, in their order."""
    chosen = content[content["optimizer"].isin(optimizers)]
    leading = [name for name in ("counting", "compared") if name in chosen]
    ranks = {
        name: chosen[name].map({value: place for place, value in enumerate(chosen[name].unique())}) for name in leading
    }
    ranks["optimizer"] = chosen["optimizer"].map(optimizers.index)
    order = pd.DataFrame(ranks, index=chosen.index).sort_values([*leading, "optimizer"], kind="stable").index
    return chosen.loc[order]


def _counts_text() -> str:
    return (
        "<p>An experiment is a method with an optimizer at a learning rate; its metrics are those on test data, at "
        "each seed's epoch of lowest validation Δ<sub>m</sub>. It is optimal if no other experiment of the compared "
        "optimizers is at least as good on every metric and better on one; against the others, if none of another "
        "optimizer is. The paper does not say whether it counts means over seeds or single seeds. A run that diverged "
        "is never optimal, and neither is a mean over seeds one of which did.</p>\n"
    )


def _counts_table(counts: pd.DataFrame) -> str:
    rows = [
        [
            row["counting"],
            _compared(row["compared"]),
            escape(row["optimizer"]),
            str(row["points"]),
            _with_published(row["optimal"], row["optimal_published"]),
            _with_published(row["optimal_against_others"], row["optimal_against_others_published"]),
        ]
        for row in counts.to_dict("records")
    ]
    return html_table(["counting", "compared", "optimizer", "finished", "optimal", "optimal against the others"], rows)


def _methods_table(methods: pd.DataFrame) -> str:
    names = list(dict.fromkeys(methods["method"]))
    rows = []
    for (compared, optimizer), own in methods.groupby(["compared", "optimizer"], sort=False):
        cells = {row["method"]: row for row in own.to_dict("records")}
        counts = [
            _with_published(cells[name]["optimal"], cells[name]["optimal_published"]) if name in cells else _NONE
            for name in names
        ]
        rows.append([_compared(compared), escape(str(optimizer)), *counts])
    return html_table(["compared", "optimizer", *names], rows)


def _results_text(is_published: bool) -> str:
    beside = (
        "Published: the paper's learning rate and Δ<sub>m</sub>."
        if is_published
        else "The paper has no numbers for this setting."
    )
    return (
        "<p>Mean ± standard deviation over seeds on test data. Δ<sub>m</sub> is the mean over all metrics of the "
        "relative loss against every task trained alone (lower is better); the learning rate is the one with the "
        "lowest on validation data. –: at every learning rate a seed diverged; without ±: one seed. <b>Bold</b>: "
        f"Pareto-optimal among all experiments. {beside}</p>\n"
    )


def _results_table(results: pd.DataFrame, baseline: pd.DataFrame, labels: dict[str, str], is_published: bool) -> str:
    columns = metric_columns(results)
    metrics = [labels.get(name, f"{name.partition('.')[0]} {metric_label(name).label}") for name in columns]
    heads = ["method", "optimizer", "learning rate", *metrics, "Δm (%)"] + ["published"] * is_published
    rows = [_alone(baseline, columns) + [_NONE] * is_published]
    for row in results.to_dict("records"):
        metrics = [spread(row[name], row[f"{name}_std"], metric_label(name).factor) for name in columns]
        names = [escape(row["method"]), escape(row["optimizer"])]
        own = [*names, _rate(row["learning_rate"]), *metrics, _delta(row, "")]
        if row["pareto_full"]:
            own = [f"<b>{cell}</b>" for cell in own]
        rows.append([*own, _published(row)] if is_published else own)
    return html_table(heads, rows)


def _alone(baseline: pd.DataFrame, columns: list[str]) -> list[str]:
    """The row of the tasks alone, each with its own optimizer and learning rate."""
    of_metric = baseline.set_index("metric")
    cells = [
        spread(of_metric["test"][name], of_metric["test_std"][name], metric_label(name).factor) for name in columns
    ]
    tasks = baseline.drop_duplicates("task")
    rates = ", ".join(f"{row['task']} {_rate(row['learning_rate'])}" for row in tasks.to_dict("records"))
    return ["each task alone", escape(", ".join(dict.fromkeys(tasks["optimizer"]))), escape(rates), *cells, "0"]


def _delta(row: dict[Any, Any], prefix: str) -> str:
    return signed_spread(row[f"{prefix}delta_m"], row[f"{prefix}delta_m_std"])


def _published(row: dict[Any, Any]) -> str:
    """The published Delta_m with its learning rate."""
    if pd.isna(row["published_delta_m"]):
        return _NONE
    rate = row["published_learning_rate"]
    return _delta(row, "published_") + ("" if pd.isna(rate) else f" ({_rate(rate)})")


def _rate(value: float) -> str:
    return _NONE if pd.isna(value) else f"{value:g}"


def _with_published(ours: int, published: float) -> str:
    return str(ours) if pd.isna(published) else f"{ours} (published {published:g})"


def _compared(names: Any) -> str:
    """The names of compared optimizers, as HTML."""
    return escape(", ".join(str(names).split()))
