"""Gradient conflict of target tasks with random sets of auxiliary tasks: what figures A5 and A6 share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tasktrace.analysis.correlation import INTERVAL
from tasktrace.analysis.factor_tables import SIMILARITY
from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.style import CurveStyle, curve_style, seeds_phrase

SIMILARITY_LABEL = "Mean gradient similarity with the multi-task gradient (cosine; low is conflict)"

_CORRELATION = ["sets", *(f"{name}{what}" for name in ("pearson", "spearman") for what in ("", "_low", "_high"))]


@dataclass(frozen=True)
class Sets:
    """The points of one method and optimizer.

    Attributes:
        styles: The style of every target, in the study's order.
        points: A row for each target and set: the auxiliary table.
        correlations: A row for each target and quantity.
    """

    styles: dict[str, CurveStyle]
    points: pd.DataFrame
    correlations: pd.DataFrame


def read_sets(tables: Path, options: dict[str, Any], where: str) -> Sets:
    """Read what a figure shows.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: auxiliary, method, optimizer, setting.
        where: The figure, for messages.

    Raises:
        DataError: The setting has no auxiliary sets, or a target has no finished run with any.
    """
    if not options["auxiliary"]:
        raise DataError(
            f"{where} needs random sets of auxiliary tasks, and setting {options['setting']!r} has none: add "
            f"`auxiliary` to config/settings/{options['setting']}.yaml"
        )
    points, correlations = (
        _of_arm(pd.read_csv(table(tables, name)), options) for name in ("auxiliary.csv", "correlations.csv")
    )
    for target in options["auxiliary"]:
        if target not in set(points["task"]):
            raise DataError(
                f"{where} has no rows for target {target!r}, method {options['method']!r}, optimizer "
                f"{options['optimizer']!r}: all runs with its auxiliary sets diverged, or the tables are of another "
                "study"
            )
    # Single-task training's blue is no target's.
    styles = {target: curve_style(position) for position, target in enumerate(options["auxiliary"], start=1)}
    return Sets(styles, points, correlations)


def draw_sets(axes: Axes, sets: Sets, quantity: str, factor: float = 1.0, columns: int = 1) -> None:
    """Draw a quantity over the similarity, every set a marker, with the correlations above.

    Args:
        axes: Where.
        sets: What.
        quantity: A column of the points.
        factor: From stored to shown values.
        columns: Of the correlations.
    """
    for target, style in sets.styles.items():
        own = sets.points[sets.points["task"] == target]
        axes.errorbar(
            own[SIMILARITY],
            factor * own[quantity],
            xerr=own[f"{SIMILARITY}_std"],
            yerr=factor * own[f"{quantity}_std"],
            fmt=style.marker,
            color=style.color,
            markersize=5,
            alpha=0.8,
            markeredgewidth=0,
            elinewidth=0.6,
            label=_correlation(sets, target, quantity),
        )
    # Above the axes, as the sets may lie anywhere in them.
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        ncols=columns,
        fontsize=7,
        handletextpad=0.2,
        borderpad=0.1,
        labelspacing=0.4,
    )
    if not (sets.points[SIMILARITY].notna() & sets.points[quantity].notna()).any():
        axes.text(0.5, 0.5, "no known values", transform=axes.transAxes, ha="center", fontsize=8)


def target_entries(sets: Sets) -> list[Line2D]:
    """The targets' entries in a legend."""
    return [
        Line2D([], [], linestyle="", marker=style.marker, color=style.color, markersize=5, label=target)
        for target, style in sets.styles.items()
    ]


def caption(sets: Sets, options: dict[str, Any]) -> str:
    """What the markers and the numbers above the axes are."""
    seeds = seeds_phrase(sets.points["seeds"])
    return (
        f"{options['method']}, {options['optimizer']}: a marker is a target with one set of auxiliary tasks, mean and "
        f"std over {seeds}.\nr: Pearson, ρ: Spearman, with {100 * INTERVAL:g} % bootstrap "
        "intervals over sets; – where too few sets are known."
    )


def plotted(sets: Sets, quantities: list[str]) -> pd.DataFrame:
    """What is drawn and written, long form: ``kind`` is ``set`` or ``correlation``."""
    names = ["task", "group", "seeds", SIMILARITY, f"{SIMILARITY}_std"]
    points = pd.concat(
        sets.points[names].assign(
            quantity=quantity, value=sets.points[quantity], value_std=sets.points[f"{quantity}_std"]
        )
        for quantity in quantities
    )
    correlations = sets.correlations[sets.correlations["quantity"].isin(quantities)]
    columns = ["kind", "quantity", *names, "value", "value_std", *_CORRELATION]
    parts = [points.assign(kind="set"), correlations.assign(kind="correlation")]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def _of_arm(content: pd.DataFrame, options: dict[str, Any]) -> pd.DataFrame:
    targets = content["task"].isin(list(options["auxiliary"]))
    arm = (content["method"] == options["method"]) & (content["optimizer"] == options["optimizer"])
    rows: pd.DataFrame = content[targets & arm]
    return rows


def _correlation(sets: Sets, target: str, quantity: str) -> str:
    table_ = sets.correlations
    found = table_[(table_["task"] == target) & (table_["quantity"] == quantity)]
    row = {} if found.empty else found.iloc[0].to_dict()
    return "\n".join(_coefficient(row, name, symbol) for name, symbol in (("pearson", "r"), ("spearman", "ρ")))


def _coefficient(row: dict[Any, Any], name: str, symbol: str) -> str:
    value, low, high = (row.get(f"{name}{what}") for what in ("", "_low", "_high"))
    if pd.isna(value):
        return f"{symbol} –"
    interval = "" if pd.isna(low) else f" [{low:.2f}, {high:.2f}]"
    return f"{symbol} {value:.2f}{interval}".replace("-", "−")
