"""Figure A3 (study A, figure 3): the measured factors against full training loss, alone and together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from tasktrace.analysis.factor_tables import compared_factors, factor_rows
from tasktrace.analysis.tables import table
from tasktrace.figures.curves import Curve, draw_curve, handle, plotted, rows_of, seeds_note, small_loss_axis
from tasktrace.figures.scales import value_scale
from tasktrace.figures.style import FACTORS, curve_style, legend_below, new_figure, panels_area, save


@dataclass(frozen=True)
class Panel:
    """One factor, and a curve of it for each of the figure's groups; what is drawn is the curves' ``metric``."""

    factor: str
    curves: list[Curve]


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the plotted numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: task, method, optimizer, curves (single-task training first), factors, band, and
            the drawing's size.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: A curve has no measured checkpoint of a finished run.
    """
    panels = _panels(tables, options)
    figure = new_figure(options["width"], options["height"])
    area = panels_area(figure)
    grid = area.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(grid, panels, strict=True):
        _draw_panel(axes, panel, options["band"])
    what = f"Full training loss of {options['task']} (nats, log scale; training goes to the right)"
    area.supxlabel(what, fontsize=9)
    curves = panels[0].curves
    title = f"{options['method']}, {options['optimizer']}: {seeds_note(curves, options['band'])}"
    legend_below(figure, [handle(curve.style, curve.label) for curve in curves], title, columns=min(3, len(curves)))
    save(figure, _numbers(panels, options["band"]), png, options["dpi"])


def _panels(tables: Path, options: dict[str, Any]) -> list[Panel]:
    measured = pd.read_parquet(table(tables, "factors.parquet")).query("epoch > 0")
    means = pd.read_parquet(table(tables, "factor_curves.parquet"))
    panels = []
    for factor in compared_factors(options):
        points = factor_rows(measured, factor, options).rename(columns={"value": "metric"}).dropna(subset="metric")
        own = means[means["factor"] == factor]
        where = f"{factor} in figure A3"
        curves = [
            Curve(
                group=asked["group"],
                label=asked["label"],
                style=curve_style(position),
                points=rows_of(points, asked["group"], options, where),
                mean=rows_of(own, asked["group"], options, where),
            )
            for position, asked in enumerate(options["curves"])
        ]
        panels.append(Panel(factor, curves))
    return panels


def _draw_panel(axes: Axes, panel: Panel, band: float) -> None:
    for curve in panel.curves:
        draw_curve(axes, curve, 1.0, band)
    small_loss_axis(axes, panel.curves)
    upper = [curve.mean["mean"] + band * curve.mean["std"] for curve in panel.curves]
    drawn = [values for curve in panel.curves for values in (curve.points["metric"], curve.mean["mean"])]
    value_scale(axes, pd.concat([*drawn, *upper]))
    axes.tick_params(labelsize=8)
    label = FACTORS[panel.factor]
    axes.set_title(f"{label.name}\n({label.unit})", fontsize=8)


def _numbers(panels: list[Panel], band: float) -> pd.DataFrame:
    parts = [
        plotted(panel.curves, band).rename(columns={"metric": "value"}).assign(factor=panel.factor) for panel in panels
    ]
    whole = pd.concat(parts, ignore_index=True)
    return whole[["factor", *whole.columns.drop("factor")]]
