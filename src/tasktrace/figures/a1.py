"""Figure A1 (study A, figure 1): generalisation against full training loss, alone and together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from tasktrace.analysis.tables import table
from tasktrace.figures.curves import (
    Curve,
    draw_curve,
    handle,
    limit_to_learning,
    loss_axis,
    plotted,
    rows_of,
    seeds_note,
)
from tasktrace.figures.style import METRICS, curve_style, legend_below, new_figure, save


@dataclass(frozen=True)
class Separated(Curve):
    """A curve, and where it leaves that of single-task training.

    Attributes:
        separation: Its row of the separation table; None for single-task training.
    """

    separation: pd.Series | None


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the plotted numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: task, method, optimizer, curves, metric, band, and the drawing's size.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: A curve has no finished run.
    """
    chosen = _curves(tables, options)
    metric = METRICS[options["metric"]]
    figure = new_figure(options["width"], options["height"])
    axes = figure.add_subplot()
    for curve in chosen:
        draw_curve(axes, curve, metric.factor, options["band"])
        _draw_separation(axes, curve)
    loss_axis(axes)
    axes.set_xlabel(f"Full training loss of {options['task']} (nats, log scale; training goes to the right)")
    axes.set_ylabel(f"Test {metric.label} of {options['task']}")
    title = f"{options['method']}, {options['optimizer']}: {seeds_note(chosen, options['band'])}"
    legend_below(figure, [handle(curve.style, _label(curve)) for curve in chosen], title)
    limit_to_learning(axes, chosen, metric)
    save(figure, plotted(chosen, options["band"]), png, options["dpi"])


def _curves(tables: Path, options: dict[str, Any]) -> list[Separated]:
    points = pd.read_parquet(table(tables, "points.parquet")).query("epoch > 0")
    means = pd.read_parquet(table(tables, "curves.parquet"))
    separations = pd.read_csv(table(tables, "separation.csv"))

    def rows(content: pd.DataFrame, group: str) -> pd.DataFrame:
        return rows_of(content, group, options, "figure A1")

    return [
        Separated(
            group=asked["group"],
            label=asked["label"],
            style=curve_style(position),
            points=rows(points, asked["group"]),
            mean=rows(means, asked["group"]),
            separation=None if position == 0 else rows(separations, asked["group"]).iloc[0],
        )
        for position, asked in enumerate(options["curves"])
    ]


def _draw_separation(axes: Axes, curve: Separated) -> None:
    if curve.separation is not None:
        axes.axvline(curve.separation["first_loss"], color=curve.style.color, linestyle=":", linewidth=1)
        axes.axvline(curve.separation["lasting_loss"], color=curve.style.color, linestyle="--", linewidth=1)


def _label(curve: Separated) -> str:
    if curve.separation is None:
        return curve.label
    first, lasting = curve.separation["first_loss"], curve.separation["lasting_loss"]
    if pd.isna(first):
        return f"{curve.label} (bands never apart)"
    lasts = "not at the end" if pd.isna(lasting) else f"for good from {lasting:.2g}"
    return f"{curve.label} (bands first apart at {first:.2g}, {lasts})"
