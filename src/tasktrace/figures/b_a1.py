"""Study B's figures A1 and A2: what scaling the losses does to loss, gradients and updates."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import CurveStyle, curve_style, new_figure, save

_QUANTITIES = {"loss": "loss, scale included", "gradient": "norm of gradient", "update": "norm of update"}
_PARTS = {"head1": "head 1", "head2": "head 2", "backbone": "backbone"}


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the drawn numbers as CSV.

    A column per training, a row per quantity: faint and wide without scales, dotted with them, so that where they
    change nothing the dots lie on the line.

    Args:
        tables: Folder of the invariance study's tables.
        options: ``backbone``: ``frozen`` (figure A1) or ``trainable`` (A2); ``trainings``: mappings of ``name`` and
            ``label``; width, height (inches) and dpi.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: The tables have no such training.
    """
    series = pd.read_parquet(table(tables, "series.parquet"))
    series = series[(series["backbone"] == options["backbone"]) & series["quantity"].isin(list(_QUANTITIES))]
    trainings = options["trainings"]
    figure = new_figure(options["width"], options["height"])
    grid = figure.subplots(len(_QUANTITIES), len(trainings), sharex=True, sharey="row", squeeze=False)
    drawn = []
    for training, down in zip(trainings, grid.T, strict=True):
        own = series[series["training"] == training["name"]]
        if own.empty:
            raise DataError(f"figure B-A1 has no rows for {training['name']!r}, {options['backbone']} backbone")
        for quantity, axes in zip(_QUANTITIES, down, strict=True):
            _draw_panel(axes, own[own["quantity"] == quantity])
        down[0].set_title(training["label"])
        down[-1].set_xlabel("epoch")
        drawn.append(own)
    for label, across in zip(_QUANTITIES.values(), grid, strict=True):
        across[0].set_ylabel(label)
    shown = pd.concat(drawn, ignore_index=True)
    figure.legend(handles=_handles(shown), loc="outside lower center", ncols=5, fontsize=8)
    save(figure, shown, png, options["dpi"])


def _draw_panel(axes: Axes, series: pd.DataFrame) -> None:
    for part in _PARTS:
        for scaled in (False, True):
            own = series[(series["part"] == part) & (series["scaled"] == scaled)]
            color = _style(part).color
            look = {"linestyle": ":", "linewidth": 1.6} if scaled else {"linewidth": 3.0, "alpha": 0.4}
            axes.plot(own["epoch"], own["value"], color=color, **look)
    axes.set_yscale("log")


def _handles(series: pd.DataFrame) -> list[Line2D]:
    parts = [name for name in _PARTS if name in set(series["part"])]
    colours = [Line2D([], [], color=_style(name).color, linewidth=3, label=_PARTS[name]) for name in parts]
    plain = Line2D([], [], color="0.3", linewidth=3, alpha=0.4, label="losses as they are")
    dotted = Line2D([], [], color="0.3", linewidth=1.6, linestyle=":", label="losses scaled")
    return [*colours, plain, dotted]


def _style(part: str) -> CurveStyle:
    return curve_style(list(_PARTS).index(part))
