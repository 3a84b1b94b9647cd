"""Study B's figures 2 and A4: all experiments over all metrics, the Pareto-optimal ones saturated."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from tasktrace.analysis.metrics import directions, metric_columns
from tasktrace.analysis.pareto import optimal
from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import (
    STL,
    CurveStyle,
    legend_below,
    metric_label,
    new_figure,
    optimizer_styles,
    save,
    seeds_phrase,
)

CLIPPED = 0.25
"""At most this share of the experiments lies beyond the bad end of an axis, and is drawn at it."""

CLIP_GAIN = 2.0
"""An axis is clipped only if that makes the rest so many times as large."""

_DIGITS = 3


@dataclass(frozen=True)
class MetricAxis:
    """One metric's axis, from the worst value shown, at 0, to the best, at 1.

    Attributes:
        column: The metric's column, ``<task>.<metric>``.
        higher: Whether higher is better.
        best: The best value of all.
        end: The worst value shown.
        worst: The worst value of all.
        beyond: How many experiments are worse than ``end``.
    """

    column: str
    higher: bool
    best: float
    end: float
    worst: float
    beyond: int

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where values lie; those worse than the end at the end, and all in the middle if there is only one."""
        if self.best == self.end:
            return np.full(values.shape, 0.5)
        return np.clip((values - self.end) / (self.best - self.end), 0.0, 1.0)

    def is_beyond(self, value: float) -> bool:
        """Whether a value is worse than the end."""
        return value < self.end if self.higher else value > self.end


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the drawn experiments as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``setting``; ``optimizers``: whose experiments are drawn and compared, in the legend's order;
            ``labels``: of the metrics by column, where they are not to be called by task and metric; width, height
            (inches) and dpi.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: None of these optimizers has an experiment that came to its end.
    """
    experiments = _experiments(tables, options)
    finished = experiments[experiments["delta_m"].notna()]
    columns = metric_columns(experiments)
    baseline = pd.read_csv(table(tables, "baseline.csv")).set_index("metric")["test"]
    axes_of = [metric_axis(name, finished, float(baseline[name])) for name in columns]
    styles = optimizer_styles(options["optimizers"])
    figure = new_figure(options["width"], options["height"])
    axes = figure.add_subplot()
    _draw_axes(axes, axes_of, options["labels"])
    for is_optimal in (False, True):  # the optimal ones last, above the others
        for row in finished[finished["optimal"] == is_optimal].to_dict("records"):
            _draw_experiment(axes, row, axes_of, styles[row["optimizer"]])
    alone = [own.place(np.array([baseline[own.column]]))[0] for own in axes_of]
    axes.plot(range(len(columns)), alone, color=STL, linestyle="--", linewidth=1.4, zorder=4)
    entries = [_entry(name, style, experiments) for name, style in styles.items()]
    entries.append(Line2D([], [], color=STL, linestyle="--", linewidth=1.4, label="every task alone"))
    legend_below(figure, entries, _caption(finished))
    save(figure, finished, png, options["dpi"])


def metric_axis(column: str, finished: pd.DataFrame, alone: float) -> MetricAxis:
    """The axis of a metric.

    Its bad end is where ``CLIPPED`` of the experiments lie beyond, but no optimal one nor the task alone; if that
    gains less than ``CLIP_GAIN``, or there is no such experiment, it is the worst value.

    Args:
        column: The metric's column.
        finished: Experiments; columns ``column`` and ``optimal``.
        alone: The metric of the task alone.
    """
    higher = bool(directions([column])[0])
    sign = 1.0 if higher else -1.0
    values = sign * finished[column].to_numpy(dtype=float)
    own = sign * alone
    shown = np.append(values[finished["optimal"].to_numpy(dtype=bool)], own)
    best, worst = max(values.max(), own), min(values.min(), own)
    end = min(np.quantile(values, CLIPPED), shown.min())
    if best - worst < CLIP_GAIN * (best - end):
        end = worst
    return MetricAxis(column, higher, sign * best, sign * end, sign * worst, int((values < end).sum()))


def _experiments(tables: Path, options: dict[str, Any]) -> pd.DataFrame:
    """The experiments of the figure's optimizers, with those ``optimal`` that none of them dominates."""
    content = pd.read_csv(table(tables, "experiments.csv"))
    chosen: pd.DataFrame = content[content["optimizer"].isin(options["optimizers"])]
    if chosen["delta_m"].notna().sum() == 0:
        raise DataError(
            f"figure B2 has no experiment of {', '.join(options['optimizers'])} in setting {options['setting']!r} "
            "that came to its end: all of them diverged, or the tables are of another study"
        )
    columns = metric_columns(chosen)
    return chosen.assign(optimal=optimal(chosen[columns].to_numpy(dtype=float), directions(columns)))


def _draw_axes(axes: Axes, axes_of: list[MetricAxis], labels: dict[str, str]) -> None:
    for position, own in enumerate(axes_of):
        axes.axvline(position, color="black", linewidth=0.8, zorder=1)
        # A distance in points: one in the axis' units would change with the axis while the layout is made.
        best = _number(own, own.best)
        axes.annotate(best, (position, 1), (0, 5), textcoords="offset points", ha="center", va="bottom", fontsize=8)
    names = [f"{_worst(own)}\n{labels.get(own.column, _name(own.column))}" for own in axes_of]
    axes.set_xticks(range(len(axes_of)), names, fontsize=8)
    axes.tick_params(axis="x", length=0, pad=5)
    axes.set_yticks([])
    axes.set_ylabel("better →")
    axes.set_xlim(-0.35, len(axes_of) - 0.65)
    axes.set_ylim(-0.02, 1.02)
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_experiment(axes: Axes, row: dict[Any, Any], axes_of: list[MetricAxis], style: CurveStyle) -> None:
    values = [row[own.column] for own in axes_of]
    places = [float(own.place(np.array(value))) for own, value in zip(axes_of, values, strict=True)]
    if row["optimal"]:
        axes.plot(places, color=style.color, marker=style.marker, markersize=3.5, linewidth=1.5, alpha=0.95, zorder=3)
        return
    beyond = [own.is_beyond(value) for own, value in zip(axes_of, values, strict=True)]
    # Along the ends of the axes everything lies on one line, which would look as if it were saturated.
    shown = [
        [(left, places[left]), (right, places[right])]
        for left, right in itertools.pairwise(range(len(places)))
        if not (beyond[left] and beyond[right])
    ]
    axes.add_collection(LineCollection(shown, colors=style.color, linewidths=0.7, alpha=0.22))


def _name(column: str) -> str:
    return f"{column.partition('.')[0]}\n{metric_label(column).label}"


def _number(own: MetricAxis, value: float) -> str:
    return f"{metric_label(own.column).factor * value:.{_DIGITS}g}"


def _worst(own: MetricAxis) -> str:
    end = _number(own, own.end)
    return f"{end}\n" + (f"▼ {own.beyond} more, to {_number(own, own.worst)}" if own.beyond else " ")


def _entry(optimizer: str, style: CurveStyle, experiments: pd.DataFrame) -> Line2D:
    own = experiments[experiments["optimizer"] == optimizer]
    known = int(own["delta_m"].notna().sum())
    gone = f", {len(own) - known} more diverged" if known < len(own) else ""
    label = f"{optimizer}: {int(own['optimal'].sum())} of {known} Pareto-optimal{gone}"
    return Line2D([], [], color=style.color, marker=style.marker, markersize=4, linewidth=1.5, label=label)


def _caption(finished: pd.DataFrame) -> str:
    seeds = seeds_phrase(finished["seeds"])
    return (
        f"A line is a method at a learning rate: test metrics, mean over {seeds}. Saturated: Pareto-optimal of "
        "all lines.\nAt the ends of an axis the best and the worst value shown; ▼: how many are worse, and by how much."
    )
