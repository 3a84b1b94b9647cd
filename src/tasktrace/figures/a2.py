"""Figure A2 (study A, figure 2): generalisation against full training loss, for tasks with significant transfer."""

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.curves import (
    Curve,
    draw_curve,
    handle,
    limit_to_learning,
    plotted,
    rows_of,
    seeds_note,
    small_loss_axis,
)
from tasktrace.figures.style import (
    METRICS,
    TRANSFER,
    CurveStyle,
    curve_style,
    legend_below,
    new_figure,
    panels_area,
    save,
    signed,
)

PANELS = 12
"""Tasks at most, those with the largest differences."""

LARGEST = 4
"""Tasks at most if there is no significant transfer."""

_COLUMNS = 4
_LETTERS_PER_INCH = 14
"""Of the panels' titles."""

_NAMES = {"positive": "positive transfer", "negative": "negative transfer", "none": "not significant"}


@dataclass(frozen=True)
class Panel:
    """One task.

    Attributes:
        task: The task.
        transfers: Its rows of the transfer table that are shown.
        curves: The task alone, then one for each of ``transfers``.
    """

    task: str
    transfers: pd.DataFrame
    curves: list[Curve]


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the plotted numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: method, optimizer, labels (of the groups that may be shown), metrics, band, and the
            drawing's size.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: No task has finished runs alone and together.
    """
    chosen, note = _chosen(tables, options)
    panels = _panels(tables, chosen, options)
    figure = new_figure(options["width"], options["height"])
    area = panels_area(figure)
    columns = min(_COLUMNS, math.ceil(math.sqrt(len(panels))))
    grid = area.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).flatten()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_panel(axes, panel, options)
        axes.set_title(_title(panel, options, int(_LETTERS_PER_INCH * options["width"] / columns)), fontsize=8)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    area.suptitle(note, fontsize=9)
    area.supxlabel("Full training loss of the task (nats, log scale; training goes to the right)", fontsize=9)
    metrics = dict.fromkeys(METRICS[options["metrics"][panel.task]].label for panel in panels)
    area.supylabel(f"Test {' or '.join(metrics)}", fontsize=9)
    every = [curve for panel in panels for curve in panel.curves]
    entries = {curve.label: handle(curve.style, curve.label) for curve in every}
    title = f"{options['method']}, {options['optimizer']}: {seeds_note(every, options['band'])}"
    legend_below(figure, list(entries.values()), title, columns=min(3, len(entries)))
    save(figure, _numbers(panels, options["band"]), png, options["dpi"])


def _chosen(tables: Path, options: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """The transfers that are shown, in the table's order, and what to say of them."""
    transfers = pd.read_csv(table(tables, "transfer.csv"))
    arm = (transfers["method"] == options["method"]) & (transfers["optimizer"] == options["optimizer"])
    own = transfers[arm & transfers["group"].isin(list(options["labels"]))].dropna(subset="delta")
    if own.empty:
        raise DataError(
            f"figure A2 has no task with finished runs both alone and together, for method {options['method']!r} and "
            f"optimizer {options['optimizer']!r}: see the outcomes in {tables / 'runs.csv'}, and let the setting train "
            "tasks alone"
        )
    significant = own[own["significant"].eq(True)]
    if significant.empty:
        largest = own.loc[_largest(own).head(LARGEST).index].sort_index()
        return largest, "No significant transfer; largest differences shown"
    tasks = _largest(significant)["task"]
    shown = significant[significant["task"].isin(tasks.head(PANELS))]
    if len(tasks) > PANELS:
        return shown, f"Significant transfer: the {PANELS} largest of {len(tasks)} tasks"
    return shown, f"Significant transfer: {len(tasks)} of {own['task'].nunique()} tasks"


def _largest(transfers: pd.DataFrame) -> pd.DataFrame:
    """Every task's largest difference, the largest first."""
    order = transfers["delta"].abs().sort_values(ascending=False, kind="stable").index
    return transfers.loc[order].drop_duplicates("task")


def _panels(tables: Path, chosen: pd.DataFrame, options: dict[str, Any]) -> list[Panel]:
    points = pd.read_parquet(table(tables, "points.parquet")).query("epoch > 0")
    means = pd.read_parquet(table(tables, "curves.parquet"))
    markers = {group: curve_style(position).marker for position, group in enumerate(options["labels"], start=1)}

    def curve(task: str, group: str, label: str, style: CurveStyle) -> Curve:
        asked = {**options, "task": task}
        rows = [rows_of(content, group, asked, "figure A2") for content in (points, means)]
        return Curve(group, label, style, *rows)

    panels = []
    for task, own in chosen.groupby("task", sort=False):
        curves = [curve(str(task), f"stl.{task}", "STL", curve_style(0))]
        for row in own.to_dict("records"):
            transfer = "none" if pd.isna(row["transfer"]) else row["transfer"]
            style = CurveStyle(TRANSFER[transfer], markers[row["group"]])
            label = f"{options['labels'][row['group']]}: {_NAMES[transfer]}"
            curves.append(curve(str(task), row["group"], label, style))
        panels.append(Panel(str(task), own, curves))
    return panels


def _draw_panel(axes: Axes, panel: Panel, options: dict[str, Any]) -> None:
    metric = METRICS[options["metrics"][panel.task]]
    for curve in panel.curves:
        draw_curve(axes, curve, metric.factor, options["band"])
    small_loss_axis(axes, panel.curves)
    limit_to_learning(axes, panel.curves, metric)
    axes.tick_params(labelsize=7)


def _title(panel: Panel, options: dict[str, Any], letters: int) -> str:
    """The task, broken after underscores where it is too long for a line, and its differences."""
    metric = METRICS[options["metrics"][panel.task]]
    deltas = []
    for row in panel.transfers.to_dict("records"):
        group = f" ({options['labels'][row['group']]})" if len(panel.transfers) > 1 else ""
        deltas.append(f"{signed(metric.factor * row['delta'])}{group}")
    differences = textwrap.fill(f"ΔG {', '.join(deltas)} {metric.difference}", letters)
    task = textwrap.fill(panel.task.replace("_", "_ "), letters).replace("_ ", "_")
    return f"{task}\n{differences}"


def _numbers(panels: list[Panel], band: float) -> pd.DataFrame:
    """What is drawn of every panel, with the task and each group's delta and significance."""
    parts = []
    for panel in panels:
        transfers = panel.transfers[["group", "delta", "significant"]]
        parts.append(plotted(panel.curves, band).merge(transfers, on="group", how="left").assign(task=panel.task))
    whole = pd.concat(parts, ignore_index=True)
    return whole[["task", *whole.columns.drop("task")]]
