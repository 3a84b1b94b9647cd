"""Figure A1 (study A, figure 1): generalisation against full training loss, alone and together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import METRICS, CurveStyle, MetricLabel, curve_style, new_figure, save
from tasktrace.files import atomic_path


@dataclass(frozen=True)
class Curve:
    """One curve of the figure.

    Attributes:
        group: ``stl.<task>`` or ``mtl.<name>``.
        label: Its name in the legend.
        style: Its colour and marker.
        points: Columns seed, epoch (from 1), loss, metric.
        mean: Columns loss, mean, std, seeds.
        separation: Its row of the separation table; None for single-task training.
    """

    group: str
    label: str
    style: CurveStyle
    points: pd.DataFrame
    mean: pd.DataFrame
    separation: pd.Series | None


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the plotted numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure_a1``: task, method, optimizer, curves, and the drawing's size.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: A curve has no finished run.
    """
    chosen = _curves(tables, options)
    metric = METRICS[options["metric"]]
    figure = new_figure(options["width"], options["height"])
    axes = figure.add_subplot()
    for curve in chosen:
        _draw_curve(axes, curve, metric.factor, options["band"])
    axes.set_xscale("log")
    axes.invert_xaxis()
    # Plain decimals at 1, 2 and 5: what is labelled by default depends on the range, and may overlap.
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=20))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", labelrotation=45)
    axes.set_xlabel(f"Full training loss of {options['task']} (nats, log scale; training goes to the right)")
    axes.set_ylabel(f"Test {metric.label} of {options['task']}")
    title = f"{options['method']}, {options['optimizer']}: {_legend_title(chosen, options['band'])}"
    handles = [_handle(curve) for curve in chosen]
    # Below the axes: inside, it would hide a part of some curve in one setting or another.
    figure.legend(
        handles=handles, loc="outside lower center", title=title, title_fontsize=8, fontsize=8, alignment="left"
    )
    _limit_to_learning(axes, chosen, metric)
    save(figure, png, options["dpi"])
    with atomic_path(png.with_suffix(".csv")) as temporary:
        _plotted(chosen, options["band"]).to_csv(temporary, index=False)


def _curves(tables: Path, options: dict[str, Any]) -> list[Curve]:
    points = pd.read_parquet(table(tables, "points.parquet")).query("epoch > 0")
    means = pd.read_parquet(table(tables, "curves.parquet"))
    separations = pd.read_csv(table(tables, "separation.csv"))
    return [
        Curve(
            group=asked["group"],
            label=asked["label"],
            style=curve_style(position),
            points=_of_curve(points, asked["group"], options),
            mean=_of_curve(means, asked["group"], options),
            separation=None if position == 0 else _of_curve(separations, asked["group"], options).iloc[0],
        )
        for position, asked in enumerate(options["curves"])
    ]


def _of_curve(table: pd.DataFrame, group: str, options: dict[str, Any]) -> pd.DataFrame:
    """The rows of one group and the figure's task, method and optimizer; single-task training has no method."""
    is_method = table["method"].isna() if group.startswith("stl.") else table["method"] == options["method"]
    names = (table["group"] == group) & (table["task"] == options["task"])
    rows: pd.DataFrame = table[names & is_method & (table["optimizer"] == options["optimizer"])]
    if rows.empty:
        raise DataError(
            f"figure A1 has no rows for group {group!r}, task {options['task']!r}, optimizer "
            f"{options['optimizer']!r}: all of its runs diverged, or the tables are of another study"
        )
    return rows


def _draw_curve(axes: Axes, curve: Curve, factor: float, band: float) -> None:
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
    if curve.separation is not None:
        axes.axvline(curve.separation["first_loss"], color=color, linestyle=":", linewidth=1)
        axes.axvline(curve.separation["lasting_loss"], color=color, linestyle="--", linewidth=1)


def _handle(curve: Curve) -> Line2D:
    style = curve.style
    return Line2D([], [], color=style.color, linewidth=1.4, marker=style.marker, markersize=4, label=_label(curve))


def _label(curve: Curve) -> str:
    if curve.separation is None:
        return curve.label
    first, lasting = curve.separation["first_loss"], curve.separation["lasting_loss"]
    if pd.isna(first):
        return f"{curve.label} (bands never apart)"
    lasts = "not at the end" if pd.isna(lasting) else f"for good from {lasting:.2g}"
    return f"{curve.label} (bands first apart at {first:.2g}, {lasts})"


def _legend_title(curves: list[Curve], band: float) -> str:
    seeds = sorted({int(curve.mean["seeds"].iloc[0]) for curve in curves})
    return f"mean ± {band:g} std over {' or '.join(map(str, seeds))} seeds; a marker is an epoch of one seed"


def _limit_to_learning(axes: Axes, curves: list[Curve], metric: MetricLabel) -> None:
    """Leave out the climb from chance, in which all curves are one line, and would hide what comes after.

    The axis shows the best nine tenths of all plotted metrics, and below them as much again less a little.
    """
    shown = metric.factor * pd.concat([curve.points["metric"] for curve in curves])
    lower, top = shown.quantile(0.1), shown.max()
    height = top - lower
    axes.set_ylim(max(shown.min(), lower - 0.8 * height), min(top + 0.3 * height, metric.highest + 0.05 * height))


def _plotted(curves: list[Curve], band: float) -> pd.DataFrame:
    """Everything in the figure, long form: ``kind`` is ``curve`` or ``point``."""
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
