"""Study B's figure A3: every method's Delta_m at its chosen learning rate, a panel per optimizer."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import STL, legend_below, new_figure, optimizer_styles, panels_area, save, spread_phrase

WIDE = 20.0
"""If the largest |Delta_m| is so many times the median, the axis is logarithmic away from zero."""


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the drawn numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``setting``; ``optimizers``: the panels, from left to right; width, height (inches) and dpi.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: None of these optimizers has a method that came to its end.
    """
    results = pd.read_csv(table(tables, "results.csv"))
    results = results[results["optimizer"].isin(options["optimizers"])]
    if results["delta_m"].notna().sum() == 0:
        raise DataError(
            f"figure B-A3 has no result of {', '.join(options['optimizers'])} in setting {options['setting']!r}: all "
            "experiments diverged, or the tables are of another study"
        )
    present = [name for name in options["optimizers"] if name in set(results["optimizer"])]
    figure = new_figure(options["width"], options["height"])
    area = panels_area(figure)
    widths = [int((results["optimizer"] == name).sum()) for name in present]
    grid = area.subplots(1, len(present), sharey=True, squeeze=False, width_ratios=widths)[0]
    colors = {name: style.color for name, style in optimizer_styles(options["optimizers"]).items()}
    for axes, optimizer in zip(grid, present, strict=True):
        _draw_panel(axes, results[results["optimizer"] == optimizer], colors[optimizer])
        axes.set_title(optimizer)
    _scale(grid[0], results["delta_m"].abs())
    grid[0].set_ylabel("$\\Delta_m$ on test data (%)\n↓ better")
    legend_below(figure, _entries(results), _caption(results), 2)
    save(figure, results, png, options["dpi"])


def _draw_panel(axes: Axes, own: pd.DataFrame, color: str) -> None:
    places = range(len(own))
    axes.bar(places, own["delta_m"], yerr=own["delta_m_std"], color=color, alpha=0.75, ecolor="black", capsize=2)
    axes.plot(places, own["published_delta_m"], "D", color="black", markerfacecolor="white", markersize=4)
    for place, value in zip(places, own["delta_m"], strict=True):
        if pd.isna(value):
            axes.annotate(
                "diverged", (place, 0), (0, 4), textcoords="offset points", rotation=90, ha="center", fontsize=7
            )
    axes.axhline(0, color=STL, linewidth=1.4)
    names = [
        f"{row['method']}, {row['learning_rate']:g}" if pd.notna(row["learning_rate"]) else row["method"]
        for row in own.to_dict("records")
    ]
    axes.set_xticks(places, names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
    axes.grid(visible=False, axis="x")


def _scale(axes: Axes, sizes: pd.Series) -> None:
    """Logarithms where one method would leave nothing to see of the others."""
    middle = sizes.median()
    if middle > 0 and sizes.max() > WIDE * middle:
        axes.set_yscale("symlog", linthresh=middle)
        axes.yaxis.set_minor_formatter(NullFormatter())


def _entries(results: pd.DataFrame) -> list[Line2D]:
    entries = [Line2D([], [], color=STL, linewidth=1.4, label="every task alone")]
    if results["published_delta_m"].notna().any():
        entries.append(
            Line2D([], [], linestyle="", marker="D", color="black", markerfacecolor="white", label="published")
        )
    return entries


def _caption(results: pd.DataFrame) -> str:
    seeds = spread_phrase(results["seeds"])
    return f"Of each method {seeds}; beside it the learning rate that validation chose."
