"""Figure A6 (study A, figure 6): does conflict between gradients go with generalisation?"""

from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.factor_tables import G
from tasktrace.analysis.tables import table
from tasktrace.errors import DataError
from tasktrace.figures.conflict import SIMILARITY_LABEL, caption, draw_sets, plotted, read_sets, target_entries
from tasktrace.figures.style import METRICS, legend_below, new_figure, save


def draw(tables: Path, options: dict[str, Any], png: Path) -> None:
    """Draw the figure as PNG and PDF, and write the plotted numbers as CSV.

    Args:
        tables: Folder of the setting's tables.
        options: ``Study.figure``: auxiliary, method, optimizer, metrics, setting, and the drawing's size.
        png: The PNG; the others lie beside it.

    Raises:
        DataError: The setting has no auxiliary sets, a target has no finished run with any, or the targets have
            different metrics.
    """
    sets = read_sets(tables, options, "figure A6")
    metric = METRICS[_metric(list(sets.styles), options)]
    alone = _alone(tables, list(sets.styles), options)
    figure = new_figure(options["width"], options["height"])
    axes = figure.add_subplot()
    draw_sets(axes, sets, G, metric.factor, columns=len(sets.styles))
    for target, mean in alone["value"].items():
        axes.axhline(metric.factor * mean, color=sets.styles[str(target)].color, linestyle="--", linewidth=1)
    axes.set_xlabel(SIMILARITY_LABEL, fontsize=8)
    axes.set_ylabel(f"Test {metric.label} of the target")
    title = caption(sets, options) + ("\nDashed: the target alone." if len(alone) else "")
    legend_below(figure, target_entries(sets), title, columns=min(4, len(sets.styles)))
    lines = alone.reset_index().assign(kind="alone", quantity=G)
    save(figure, pd.concat([plotted(sets, [G]), lines], ignore_index=True), png, options["dpi"])


def _metric(targets: list[str], options: dict[str, Any]) -> str:
    metrics = list(dict.fromkeys(options["metrics"][target] for target in targets))
    if len(metrics) > 1:
        raise DataError(
            f"figure A6 has one axis, but the auxiliary targets of setting {options['setting']!r} have different "
            f"metrics: {', '.join(metrics)}"
        )
    return str(metrics[0])


def _alone(tables: Path, targets: list[str], options: dict[str, Any]) -> pd.DataFrame:
    """By task, the mean and standard deviation (``value``, ``std``) of G alone, where tasks were trained alone."""
    transfers = pd.read_csv(table(tables, "transfer.csv"))
    own = transfers[transfers["task"].isin(targets) & (transfers["optimizer"] == options["optimizer"])]
    known = own.dropna(subset="stl_mean").drop_duplicates("task").set_index("task")
    columns = {"stl_mean": "value", "stl_std": "std", "stl_seeds": "seeds"}
    alone: pd.DataFrame = known[list(columns)].rename(columns=columns)
    return alone
