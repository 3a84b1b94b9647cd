"""Study A's Table 1, and ours beside it."""

from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.factor_tables import COMPARED, G
from tasktrace.analysis.matched_loss import CURVE

COLUMNS = (G, "sharpness", "fisher", "coherence")
"""The paper's columns; coherence is the trace of the gradient covariance, lower is more coherent."""

_TRIPLES = [f"{column}{what}" for column in COLUMNS for what in ("", "_significant", "_published")]
TABLE_COLUMNS = ["optimizer", "method", "group", "task", "unit", *_TRIPLES, "unit_published", "note"]


def published_deltas() -> pd.DataFrame:
    """Table 1 of study A (Mueller, Dredze and Andrews 2024).

    Returns:
        Columns setting and task (the paper's names in snake case; CIFAR-100's superclasses, which it shortens, by their
        official ones); delta_G, delta_sharpness, delta_fisher and
        delta_coherence, NaN where the cell is missing; unit of delta_G (points: percent; fraction: of one; unknown)
        and note: what is uncertain.
    """
    table = pd.read_csv(Path(__file__).with_name("published_a.csv"))
    return table.fillna({"note": ""})


def table_a1(deltas: pd.DataFrame, setting: str, options: dict[str, Any]) -> pd.DataFrame:
    """Our Table 1, with the published numbers beside ours where setting and task are the same.

    Args:
        deltas: What :func:`tasktrace.analysis.factor_tables.deltas` gives.
        setting: The setting's name.
        options: aggregation: ``table1``, the paper's rule for this table, or ``loss_bins``, at the end of training.

    Returns:
        ``TABLE_COLUMNS``: for each of ``COLUMNS`` ours, whether it is significant, and the published one. G is in
        points (percent) for accuracies, the published one too where its unit is known; ``unit`` says ours, and
        ``unit_published`` that of ``G_published``.
    """
    chosen = deltas[deltas["rule"] == COMPARED[options["aggregation"]]]
    paper = {(row["setting"], row["task"]): row for row in published_deltas().to_dict("records")}
    rows = []
    for _, own in chosen.groupby(CURVE, sort=False):
        found = {row["factor"]: row for row in own.to_dict("records")}
        rows.append(_row(found, paper.get((setting, found[G]["task"]), {})))
    return pd.DataFrame(rows, columns=TABLE_COLUMNS)


def _row(own: dict[Any, Any], paper: dict[Any, Any]) -> dict[str, Any]:
    """One row, from ours by factor and the paper's row, which is empty where there is none."""
    metric, unit = own[G]["metric"], paper.get("unit", "")
    in_points = metric == "accuracy"
    row: dict[str, Any] = {name: own[G][name] for name in CURVE}
    for column in COLUMNS:
        ours = own.get(column, {})
        row[column] = ours.get("delta")
        row[f"{column}_significant"] = ours.get("significant", pd.NA)
        row[f"{column}_published"] = paper.get(f"delta_{column}")
    if in_points:
        row[G] *= 100
    if in_points and unit == "fraction":
        row[f"{G}_published"], unit = 100 * paper[f"delta_{G}"], "points"
    units = {"unit": "points" if in_points else metric, "unit_published": unit}
    return {**row, **units, "note": paper.get("note", "")}
