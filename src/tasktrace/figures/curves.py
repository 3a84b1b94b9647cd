"""Curves over the full training loss of a task, as study A draws them: mean, band over seeds, and every epoch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from tasktrace.errors import DataError
from tasktrace.figures.style import CurveStyle, MetricLabel, seeds_phrase


@dataclass(frozen=True)
class Curve:
    """One curve of a figure.

    Attributes:
        group: ``stl.<task>`` or ``mtl.<name>``.
        label: Its name in the legend.
        style: Its colour and marker.
        points: Columns seed, epoch (from 1), loss, metric (or whatever is drawn over the loss).
        mean: Columns loss, mean, std, seeds.
    """

    group: str
    label: str
    style: CurveStyle
    points: pd.DataFrame
    mean: pd.DataFrame


def rows_of(table: pd.DataFrame, group: str, options: dict[str, Any], where: str) -> pd.DataFrame:
    """The rows of one group, task, method and optimizer; single-task training has no method.

    Args:
        table: Columns optimizer, task, method, group.
        group: ``stl.<task>`` or ``mtl.<name>``.
        options: task, method, optimizer.
        where: What asks for them, for the message.

    Raises:
        DataError: There are none.
    """
    is_method = table["method"].isna() if group.startswith("stl.") else table["method"] == options["method"]
    names = (table["group"] == group) & (table["task"] == options["task"])
    rows: pd.DataFrame = table[names & is_method & (table["optimizer"] == options["optimizer"])]
    if rows.empty:
        raise DataError(
            f"{where} has no rows for group {group!r}, task {options['task']!r}, optimizer "
            f"{options['optimizer']!r}: all of its runs diverged, its seeds have no loss in common, or the tables are "
            "of another study"
        )
    return rows


def draw_curve(axes: Axes, curve: Curve, factor: float, band: float) -> None:
    """Draw a curve's band, points and mean.

    Args:
        axes: Where.
        curve: What.
        factor: From stored to shown values.
        band: Half-width of the band, in standard deviations.
    """
    color = curve.style.color
    loss, mean, spread = curve.mean["loss"], factor * curve.mean["mean"], factor * band * curve.mean["std"]
    axes.fill_between(loss, mean - spread, mean + spread, color=color, alpha=0.18, linewidth=0)
    axes.plot(
        curve.points["loss"],
        factor * curve.points["metric"],
        curve.style.marker,
        color=color,
        markersize=2.4,
        alpha=0.4,
        markeredgewidth=0,
    )
    axes.plot(loss, mean, color=color, linewidth=1.4)


def handle(style: CurveStyle, label: str) -> Line2D:
    """A curve's entry in a legend."""
    return Line2D([], [], color=style.color, linewidth=1.4, marker=style.marker, markersize=4, label=label)


def seeds_note(curves: Iterable[Curve], band: float) -> str:
    """What the bands and markers of a figure are."""
    seeds = seeds_phrase(curve.mean["seeds"].iloc[0] for curve in curves)
    return f"mean ± {band:g} std over {seeds}; a marker is an epoch of one seed"


def loss_axis(axes: Axes, subs: tuple[float, ...] = (1.0, 2.0, 5.0)) -> None:
    """A logarithmic loss that falls to the right, as training goes.

    Args:
        axes: Whose horizontal axis it is.
        subs: Which multiples of the powers of ten are labelled.
    """
    axes.set_xscale("log")
    axes.invert_xaxis()
    # Plain decimals at 1, 2 and 5: what is labelled by default depends on the range, and may overlap.
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=20))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelrotation=45)


_LABELLED = ((100.0, (1.0,)), (5.0, (1.0, 2.0, 5.0)), (0.0, (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)))
"""From which ratio of the largest to the smallest loss on, which multiples of the powers of ten are labelled."""


def small_loss_axis(axes: Axes, curves: Iterable[Curve]) -> None:
    """:func:`loss_axis` of a small panel: labels a decade by how many decades its curves and points have."""
    losses = pd.concat([curve.points["loss"] for curve in curves])
    ratio = losses.max() / losses.min()
    labelled = next((subs for least, subs in _LABELLED if ratio > least), (1.0,))
    loss_axis(axes, labelled)


def limit_to_learning(axes: Axes, curves: Iterable[Curve], metric: MetricLabel) -> None:
    """Leave out the climb from chance, in which all curves are one line, and would hide what comes after.

    The axis shows the best nine tenths of all plotted metrics, and below them as much again less a little.
    """
    shown = metric.factor * pd.concat([curve.points["metric"] for curve in curves])
    lower, top = shown.quantile(0.1), shown.max()
    height = top - lower
    axes.set_ylim(max(shown.min(), lower - 0.8 * height), min(top + 0.3 * height, metric.highest + 0.05 * height))


def plotted(curves: Iterable[Curve], band: float) -> pd.DataFrame:
    """Everything that is drawn of some curves, long form: ``kind`` is ``curve`` or ``point``."""
    parts = []
    for curve in curves:
        names = {"group": curve.group, "label": curve.label}
        mean = curve.mean[["loss", "mean", "std", "seeds"]].rename(columns={"mean": "metric"})
        spread = band * mean["std"]
        bounds = {"lower": mean["metric"] - spread, "upper": mean["metric"] + spread}
        parts.append(mean.assign(kind="curve", **bounds, **names))
        parts.append(curve.points[["seed", "epoch", "loss", "metric"]].assign(kind="point", **names))
    columns = ["kind", "group", "label", "seed", "epoch", "loss", "metric", "std", "lower", "upper", "seeds"]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)
