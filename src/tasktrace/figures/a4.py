"""Figure A4 (study A, figure 4): multi-task methods against a baseline; does what lowers a factor raise G?"""

import math
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter

from tasktrace.analysis.factor_tables import LOWEST_LOSS, compared_factors
from tasktrace.analysis.methods_compared import share_inside
from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import (
    FACTORS,
    NEUTRAL,
    MethodStyle,
    legend_below,
    method_styles,
    new_figure,
    panels_area,
    save,
    task_marker,
)

LINEAR = 200.0
"""Up to this change, in percent, the horizontal axis is linear."""

_TASK_COLUMNS = 2
_LETTERS_PER_INCH = 15
"""Of the panels' small print."""

Markers = dict[tuple[str, str], str]
"""By task and group."""


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the plotted numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: optimizer, baseline, methods (that are compared with it), factors, labels of the
            groups, and the drawing's size.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: There is no method beside the baseline, or none with finished runs.
    """
    points = _points(tables, options)
    shares = share_inside(points)
    finished = set(points["method"])
    styles = {name: style for name, style in method_styles(options["methods"]).items() if name in finished}
    arms = list(dict.fromkeys(zip(points["task"], points["group"], strict=True)))
    markers = {arm: task_marker(position) for position, arm in enumerate(arms)}
    factors = [LOWEST_LOSS, *compared_factors(options)]
    figure = new_figure(options["width"], options["height"])
    area = panels_area(figure)
    grid = area.subplots(1, len(factors), squeeze=False, sharey=True)[0]
    for axes, factor in zip(grid, factors, strict=True):
        own = points[points["factor"] == factor]
        _draw_points(axes, own, styles, markers)
        _frame(axes, own, points)
        letters = int(_LETTERS_PER_INCH * options["width"] / len(factors))
        note = textwrap.fill(_inside(shares[shares["factor"] == factor]), letters)
        axes.set_title(f"{FACTORS[factor].name}\n{note}", fontsize=7)
        axes.tick_params(labelsize=7)
    baseline = options["baseline"]
    area.supxlabel(f"Change of the factor from {baseline} (%)", fontsize=9)
    area.supylabel(f"Change of the test metric\nfrom {baseline} (%, up is better)", fontsize=9)
    entries, columns = _entries(styles, markers, options["labels"])
    legend_below(figure, entries, _caption(points, options), columns)
    save(figure, points.merge(shares.drop(columns="inside"), how="left"), png, options["dpi"])


def _points(tables: Path, options: dict[str, Any]) -> pd.DataFrame:
    """The rows of the figure's methods and optimizer."""
    if not options["methods"]:
        raise DataError(
            f"figure A4 compares methods with {options['baseline']!r}, and the setting has no other: add one to "
            "`methods` in its file in config/settings/"
        )
    content = pd.read_csv(table(tables, "methods.csv"))
    chosen = content["method"].isin(options["methods"]) & (content["optimizer"] == options["optimizer"])
    points: pd.DataFrame = content[chosen]
    if points[["G_mean", "factor_mean"]].dropna().empty:
        raise DataError(
            f"figure A4 has no pair of runs of {options['baseline']!r} and of {', '.join(options['methods'])} with the "
            f"same seed, optimizer {options['optimizer']!r}: all of them diverged, or the tables are of another study"
        )
    return points


def _draw_points(axes: Axes, own: pd.DataFrame, styles: dict[str, MethodStyle], markers: Markers) -> None:
    for row in own.to_dict("records"):
        style = styles[row["method"]]
        axes.errorbar(
            row["factor_mean"],
            row["G_mean"],
            xerr=row["factor_std"],
            yerr=row["G_std"],
            linestyle="",
            marker=(marker := markers[row["task"], row["group"]]),
            color=style.color,
            markerfacecolor=style.face,
            markersize=_size(marker),
            elinewidth=0.7,
            alpha=0.9,
        )


def _size(marker: str) -> float:
    """Of a marker, in points; figures are small within theirs."""
    return 7.0 if marker.startswith("$") else 5.0


def _frame(axes: Axes, own: pd.DataFrame, points: pd.DataFrame) -> None:
    """Zero in the middle, and the quadrants shaded in which the factor falls and G rises, or the other way round."""
    across, up = _reach(own, "factor"), _reach(points, "G")
    if own["factor_mean"].abs().max() > LINEAR:
        axes.set_xscale("symlog", linthresh=LINEAR / 2)
        axes.xaxis.set_minor_formatter(NullFormatter())
        across *= 1.5
        axes.tick_params(axis="x", labelrotation=45)
    axes.set_xlim(-across, across)
    axes.set_ylim(-up, up)
    for x, y in ((-across, 0.0), (0.0, -up)):
        axes.add_patch(Rectangle((x, y), across, up, color=NEUTRAL, alpha=0.12, linewidth=0, zorder=0))
    axes.axhline(0, color="black", linewidth=0.8, zorder=1)
    axes.axvline(0, color="black", linewidth=0.8, zorder=1)


def _reach(rows: pd.DataFrame, name: str) -> float:
    """How far from zero the points and their error bars go, and a little further."""
    far = (rows[f"{name}_mean"].abs() + rows[f"{name}_std"].fillna(0)).max()
    return 1.1 * float(far) if far > 0 else 1.0


def _inside(shares: pd.DataFrame) -> str:
    counts = [
        f"{row['method']}\N{NO-BREAK SPACE}" + (f"{row['inside']}/{row['points']}" if row["points"] else "–")
        for row in shares.to_dict("records")
    ]
    return f"shaded: {', '.join(counts)}"


def _entries(styles: dict[str, MethodStyle], markers: Markers, labels: dict[str, str]) -> tuple[list[Line2D], int]:
    """The legend's entries and its columns: the methods' colours in the first, the tasks' markers in the others."""

    def entry(marker: str, color: str, face: str, label: str) -> Line2D:
        return Line2D(
            [],
            [],
            linestyle="",
            marker=marker,
            color=color,
            markerfacecolor=face,
            markersize=_size(marker),
            label=label,
        )

    methods = [entry("o", style.color, style.face, method) for method, style in styles.items()]
    several = len({group for _, group in markers}) > 1
    tasks = [
        entry(marker, NEUTRAL, NEUTRAL, f"{task} ({labels[group]})" if several else task)
        for (task, group), marker in markers.items()
    ]
    rows = max(len(methods), math.ceil(len(tasks) / _TASK_COLUMNS))
    columns = [methods, *(tasks[start : start + rows] for start in range(0, len(tasks), rows))]
    nothing = entry("", NEUTRAL, NEUTRAL, " ")
    return [line for column in columns for line in column + [nothing] * (rows - len(column))], len(columns)


def _caption(points: pd.DataFrame, options: dict[str, Any]) -> str:
    pairs = sorted(set(points["pairs"][points["pairs"] > 0]))
    text = (
        f"{options['optimizer']}: mean ± std over {' or '.join(map(str, pairs))} pairs of runs with the same seed. "
        "Shaded: the factor falls and the metric\nimproves, or the other way round; above each panel how many of a "
        "method's markers lie there."
    )
    gone = [method for method in options["methods"] if method not in set(points["method"])]
    return text + (f" No finished run: {', '.join(gone)}." if gone else "")
