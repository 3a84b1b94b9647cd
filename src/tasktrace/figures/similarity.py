"""Figures 4 and A5 to A7 of study B: how alike gradients are, between tasks and between samples, while training."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import KINDS, legend_below, new_figure, panels_area, save, seeds_phrase


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the drawn numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``setting``; ``kinds``: which pairs; ``panels``: mappings of ``quantity``, ``label`` and, if it is not
            the mean, ``center``; width, height (inches) and dpi.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: The table has no such pairs.
    """
    statistics = pd.read_parquet(table(tables, "similarity.parquet"))
    figure = new_figure(options["width"], options["height"])
    panels = options["panels"]
    axes_row = panels_area(figure).subplots(1, len(panels), squeeze=False)[0]
    drawn = []
    for panel, axes in zip(panels, axes_row, strict=True):
        for kind in options["kinds"]:
            own = _of(statistics, kind, panel["quantity"])
            _draw_kind(axes, own, kind, panel.get("center"))
            drawn.append(own.reset_index().assign(kind=kind, quantity=panel["quantity"], panel=panel["label"]))
        axes.set_ylabel(panel["label"])
        axes.set_xlabel("epoch")
    legend_below(figure, _handles(options["kinds"]), _caption(statistics, options))
    save(figure, pd.concat(drawn, ignore_index=True), png, options["dpi"])


def _of(statistics: pd.DataFrame, kind: str, quantity: str) -> pd.DataFrame:
    """The statistics of one kind and quantity by epoch, mean over seeds; one column each."""
    rows = statistics[(statistics["kind"] == kind) & (statistics["quantity"] == quantity)]
    if rows.empty:
        raise DataError(f"no {quantity} of {kind} pairs in similarity.parquet: the tables are of another study")
    return rows.pivot_table(index="epoch", columns="statistic", values="value", aggfunc="mean", dropna=False)


def _draw_kind(axes: Axes, own: pd.DataFrame, kind: str, center: str | None) -> None:
    color = KINDS[kind].color
    axes.plot(own.index, own[center or "mean"], color=color, linewidth=1.4)
    if center is None:
        axes.fill_between(
            own.index, own["mean"] - own["std"], own["mean"] + own["std"], color=color, alpha=0.18, linewidth=0
        )
        for bound in ("low", "high"):
            axes.plot(own.index, own[bound], color=color, linewidth=0.9, linestyle=":")


def _handles(kinds: list[str]) -> list[Artist]:
    lines: list[Artist] = [
        Line2D([], [], color=KINDS[kind].color, linewidth=1.4, label=KINDS[kind].label) for kind in kinds
    ]
    shade = Patch(color="0.6", alpha=0.3, linewidth=0, label="± std over pairs")
    dotted = Line2D([], [], color="0.4", linewidth=0.9, linestyle=":", label="2.5 and 97.5 percentiles")
    return [*lines, shade, dotted]


def _caption(statistics: pd.DataFrame, options: dict[str, Any]) -> str:
    seeds = seeds_phrase([statistics["seed"].nunique()])
    return (
        f"{options['setting']}: all pairs of an epoch, mean over {seeds}. Batches go forward as in training, "
        "with batch statistics where the encoder has BatchNorm."
    )
