"""How many of study B's experiments are Pareto-optimal, with the published counts beside ours."""

import itertools
from collections.abc import Iterator
from typing import Any

import pandas as pd

from tasktrace.analysis import published_b
from tasktrace.analysis.metrics import directions, metric_columns
from tasktrace.analysis.pareto import Flags, Values, missing, optimal, undominated_by

COUNTINGS = ("mean over seeds", "single seeds")
"""What a point of a front is: the paper does not say which of the two its table 2 counts."""

COUNTS_COLUMNS = ["counting", "compared", "optimizer", "points", "optimal", "optimal_against_others"]
COUNTS_COLUMNS += ["optimal_published", "optimal_against_others_published"]
METHODS_COLUMNS = ["compared", "optimizer", "method", "points", "optimal", "optimal_published"]


def pareto_counts(setting: str, experiments: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """How many points are optimal (Table 2), counting experiments and counting single runs.

    Args:
        setting: Its name, for the published numbers.
        experiments: What :func:`tasktrace.analysis.experiments.experiments_table` gives.
        rows: What it was given.

    Returns:
        ``COUNTS_COLUMNS``: a row per optimizer among those ``compared`` (names with a blank between): all optimizers,
        and each pair if there are more than two, since the paper's fronts are those of two. ``points`` are those that
        did not diverge, ``optimal`` those that no point of the compared optimizers dominates,
        ``optimal_against_others`` those that none of the others' does (all of them if there is no other).
    """
    found = []
    for counting, points in zip(COUNTINGS, (experiments, rows), strict=True):
        for compared, own in _comparisons(points):
            values, higher = _metrics(own)
            full = optimal(values, higher)
            for optimizer in compared:
                ours = (own["optimizer"] == optimizer).to_numpy()
                against = undominated_by(values[ours], values[~ours], higher)
                theirs = _published_counts(setting, compared).get((setting, optimizer), (None, None))
                found.append(
                    {"counting": counting, "compared": " ".join(compared), "optimizer": optimizer}
                    | {"points": int((~missing(values[ours])).sum()), "optimal": int(full[ours].sum())}
                    | {"optimal_against_others": int(against.sum()), "optimal_published": theirs[0]}
                    | {"optimal_against_others_published": theirs[1]}
                )
    return _with_counts(found, COUNTS_COLUMNS)


def pareto_methods(setting: str, experiments: pd.DataFrame) -> pd.DataFrame:
    """How many experiments of each method and optimizer are optimal (Table A2).

    Args:
        setting: Its name, for the published numbers.
        experiments: What :func:`tasktrace.analysis.experiments.experiments_table` gives.

    Returns:
        ``METHODS_COLUMNS``, as for :func:`pareto_counts`.
    """
    paper = published_b.by_method(setting)
    found = []
    for compared, own in _comparisons(experiments):
        values, higher = _metrics(own)
        flags = own.assign(known=~missing(values), optimal=optimal(values, higher))
        is_published = bool(_published_counts(setting, compared))
        for optimizer in compared:
            for method, rows in flags[flags["optimizer"] == optimizer].groupby("method", sort=False):
                theirs = paper.get((method, optimizer), {}).get("pareto_full") if is_published else None
                found.append(
                    {"compared": " ".join(compared), "optimizer": optimizer, "method": method}
                    | {"points": int(rows["known"].sum()), "optimal": int(rows["optimal"].sum())}
                    | {"optimal_published": theirs}
                )
    return _with_counts(found, METHODS_COLUMNS)


def _comparisons(points: pd.DataFrame) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """The optimizers compared with each other, and their points: all, and every pair if there are more than two."""
    optimizers = tuple(dict.fromkeys(points["optimizer"]))
    pairs = itertools.combinations(optimizers, 2) if len(optimizers) > 2 else ()
    for compared in (optimizers, *pairs):
        yield compared, points[points["optimizer"].isin(compared)]


def _metrics(points: pd.DataFrame) -> tuple[Values, Flags]:
    columns = metric_columns(points)
    return points[columns].to_numpy(dtype=float), directions(columns)


def _published_counts(setting: str, compared: tuple[str, ...]) -> dict[tuple[str, str], tuple[int, int]]:
    """Table 2's counts if they are about these optimizers."""
    if set(compared) != set(published_b.OPTIMIZERS):
        return {}
    return {key: counts for key, counts in published_b.TABLE_2.items() if key[0] == setting}


def _with_counts(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    """A table whose published counts are whole numbers or NA."""
    table = pd.DataFrame(rows, columns=columns)
    published = [name for name in columns if name.endswith("_published")]
    return table.astype(dict.fromkeys(published, float)).astype(dict.fromkeys(published, "Int64"))
