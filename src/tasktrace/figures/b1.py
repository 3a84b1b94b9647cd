"""Study B's figure 1: descents of the toy problem, by method, optimizer and learning rate."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import new_figure, save
from tasktrace.studies.two_objectives.published import PARETO_X1, PARETO_X2

_CELL = ["optimizer", "method", "learning_rate"]
_START = ["start_x", "start_y"]
_OPTIMIZERS = {"gd": "GD", "adam": "Adam"}
_METHODS = {"ew": "EW", "pcgrad": "PCGrad", "cagrad": "CAGrad"}


@dataclass(frozen=True)
class _Map:
    """The mean loss on a grid: x (N,), y (M,), loss (M, N)."""

    x: np.ndarray
    y: np.ndarray
    loss: np.ndarray


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the drawn points as CSV.

    Args:
        tables: Folder of the toy study's tables.
        options: ``rows``: methods; ``columns``: mappings of optimizer and learning_rate; ``levels``: contours; width,
            height (inches) and dpi.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: A panel's paths were not kept.
    """
    paths = pd.read_parquet(table(tables, "trajectories.parquet"))
    hits = pd.read_csv(table(tables, "hits.csv"))
    loss = _map(pd.read_parquet(table(tables, "landscape.parquet")))
    rows, columns = options["rows"], options["columns"]
    figure = new_figure(options["width"], options["height"])
    grid = figure.subplots(len(rows), len(columns), sharex=True, sharey=True, squeeze=False)
    drawn = []
    for method, across in zip(rows, grid, strict=True):
        for column, axes in zip(columns, across, strict=True):
            own = {"optimizer": column["optimizer"], "method": method, "learning_rate": column["learning_rate"]}
            points = _of_cell(paths, own)
            _draw_panel(axes, loss, points, options["levels"])
            _annotate(axes, _of_cell(hits, own))
            title = f"{_METHODS[method]}, {_OPTIMIZERS[column['optimizer']]}, lr {column['learning_rate']:g}"
            axes.set_title(title, fontsize=9)
            drawn.append(points)
        across[0].set_ylabel("$x_2$")
    for axes in grid[-1]:
        axes.set_xlabel("$x_1$")
    figure.suptitle(
        "Mean loss (contours) and descents from three starts (●) until they first reach the minimum (★), "
        "from red to yellow; grey: Pareto set;\n"
        "below: the iteration of that, start by start from left to right and from above (– for not in time)",
        fontsize=9,
    )
    save(figure, pd.concat(drawn, ignore_index=True), png, options["dpi"])


def _map(points: pd.DataFrame) -> _Map:
    wide = points.pivot_table(index="y", columns="x", values="mean_loss")
    return _Map(wide.columns.to_numpy(), wide.index.to_numpy(), wide.to_numpy())


def _of_cell(rows: pd.DataFrame, cell: dict[str, Any]) -> pd.DataFrame:
    own = rows[(rows[_CELL] == pd.Series(cell)[_CELL]).all(axis=1)]
    if own.empty:
        named = ", ".join(f"{key} {value}" for key, value in cell.items())
        raise DataError(f"figure B1 has no paths for {named}; add it to the toy study's path options")
    return own


def _draw_panel(axes: Axes, loss: _Map, points: pd.DataFrame, levels: int) -> None:
    axes.contour(loss.x, loss.y, loss.loss, levels=levels, cmap="viridis", linewidths=0.6, alpha=0.7, zorder=1)
    axes.plot(PARETO_X1, (PARETO_X2, PARETO_X2), color="0.6", linewidth=3, solid_capstyle="butt", zorder=2)
    for _, path in points.groupby(_START, sort=False):
        share = path["iteration"] / max(path["iteration"].max(), 1)
        # As an image also in the PDF: a path is thousands of points.
        axes.scatter(path["x"], path["y"], c=share, cmap="autumn", s=2, linewidths=0, rasterized=True, zorder=3)
    starts = points[_START].drop_duplicates()
    axes.plot(starts["start_x"], starts["start_y"], "ko", markersize=4, zorder=4)
    axes.plot(sum(PARETO_X1) / 2, PARETO_X2, "k*", markersize=7, zorder=4)
    axes.set_aspect("equal")
    axes.set_xlim(loss.x.min(), loss.x.max())
    axes.set_ylim(loss.y.min(), loss.y.max())
    axes.grid(visible=False)


def _annotate(axes: Axes, hits: pd.DataFrame) -> None:
    """After how many iterations each start arrived, from left to right and from above."""
    shown = hits.sort_values([*_START], ascending=[True, False])["first_hit"]
    text = " / ".join("–" if pd.isna(hit) else f"{int(hit):,}" for hit in shown)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    axes.text(0.03, 0.03, text, transform=axes.transAxes, fontsize=7, bbox=box, zorder=5)
