"""Study B's figure A8: what each corruption costs tasks trained together, against tasks alone."""

import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tasktrace.analysis.corruption import MEAN
from tasktrace.analysis.tables import table
from tasktrace.config.corruptions import FAMILIES
from tasktrace.errors import DataError
from tasktrace.figures.style import (
    STL,
    TRANSFER,
    legend_below,
    metric_name,
    new_figure,
    panels_area,
    save,
    spread_phrase,
)

LINE = 100
"""Characters of the caption's lines."""


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the drawn numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``setting``; ``corruption``: the setting's block, whose first method is drawn, and whose ``leave_out``
            is named; width, height (inches) and dpi.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: The method was not refitted.
    """
    corruption = options["corruption"]
    method = corruption["methods"][0]
    transfer = pd.read_csv(table(tables, "corruption_transfer.csv"))
    drawn = transfer[transfer["method"] == method]
    if drawn.empty:
        raise DataError(
            f"figure B-A8 has nothing to show: {method!r} was not refitted in setting {options['setting']!r}, or the "
            "tables are of another study"
        )
    metrics = [name for name in dict.fromkeys(drawn["metric"]) if name != MEAN]
    names = [name for family in FAMILIES.values() for name in family if name in set(drawn["corruption"])]
    figure = new_figure(options["width"], options["height"])
    grid = panels_area(figure).subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    for axes, metric in zip(grid, metrics, strict=True):
        own = drawn[drawn["metric"] == metric].set_index("corruption")
        _draw_panel(axes, own.loc[names], float(own.loc[MEAN, "delta"]))
        _name_families(axes, names)
        axes.set_ylabel(f"{metric.partition('.')[0]}\n{metric_name(metric)} $\\delta$", fontsize=8)
    for family, place in _families(names).items():
        grid[0].annotate(
            family, (sum(place) / 2, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
            ha="center", fontsize=8,
        )  # fmt: skip
    grid[-1].set_xticks(range(len(names)), [name.replace("_", " ") for name in names], rotation=45, ha="right")
    legend_below(figure, _entries(), _caption(method, drawn, corruption["leave_out"]), 2)
    save(figure, drawn, png, options["dpi"])


def _draw_panel(axes: Axes, own: pd.DataFrame, mean: float) -> None:
    colors = [TRANSFER["negative" if delta > 0 else "positive"] for delta in own["delta"]]
    axes.bar(range(len(own)), own["delta"], yerr=own["delta_std"], color=colors, ecolor="black", capsize=2)
    axes.axhline(0, color=STL, linewidth=1.4)
    axes.axhline(mean, color="black", linewidth=1, linestyle="--")
    axes.grid(visible=False, axis="x")
    axes.set_axisbelow(True)


def _families(names: list[str]) -> dict[str, tuple[int, int]]:
    """First and last place of the corruptions of each family."""
    places = {family: [names.index(name) for name in members if name in names] for family, members in FAMILIES.items()}
    return {family: (min(own), max(own)) for family, own in places.items() if own}


def _name_families(axes: Axes, names: list[str]) -> None:
    for _, last in list(_families(names).values())[:-1]:
        axes.axvline(last + 0.5, color="#bbbbbb", linewidth=0.8)


def _entries() -> list[Line2D | Patch]:
    return [
        Patch(color=TRANSFER["positive"], label="together bears it better than alone"),
        Patch(color=TRANSFER["negative"], label="together bears it worse than alone"),
        Line2D([], [], color=STL, linewidth=1.4, label="every task alone"),
        Line2D([], [], color="black", linewidth=1, linestyle="--", label="mean over corruptions"),
    ]


def _caption(method: str, drawn: pd.DataFrame, left_out: list[str]) -> str:
    text = (
        f"{method}: change of the share of the clean metric that is left under corruption, mean over severities; "
        f"{spread_phrase(drawn['seeds'])}."
    )
    if left_out:
        text += f" Left out by configuration: {', '.join(name.replace('_', ' ') for name in left_out)}."
    return textwrap.fill(text, LINE)
