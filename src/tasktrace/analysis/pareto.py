"""Pareto-optimal rows of a table of metrics (study B, section 3).

A row dominates another if it is at least as good on every metric and strictly better on one. Rows that are equal do
not dominate each other, so that of several best ones all are optimal. A row with a NaN stands for a run that came to
nothing: it is never optimal and dominates nothing. Infinities are numbers like others.
"""

import numpy as np
from numpy.typing import NDArray

from tasktrace.errors import DataError

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


def optimal(values: Values, higher: Flags) -> Flags:
    """Which rows no other row dominates ("PO (full)").

    Args:
        values: Metrics, of shape (rows, metrics).
        higher: Of every metric whether higher is better, of shape (metrics,).

    Returns:
        Shape (rows,).

    Raises:
        DataError: There are no rows.
    """
    return undominated_by(values, values, higher)


def undominated_by(values: Values, others: Values, higher: Flags) -> Flags:
    """Which rows no row of others dominates ("PO w.r.t. SGD": the runs of Adam against those of SGD).

    Args:
        values: Metrics, of shape (rows, metrics).
        others: Metrics of the rows that they are held against, of shape (others, metrics); without any, or if all are
            NaN, nothing is dominated.
        higher: Of every metric whether higher is better, of shape (metrics,).

    Returns:
        Shape (rows,); False where a row has a NaN. Takes memory for rows x others x metrics flags.

    Raises:
        DataError: There are no rows.
    """
    if len(values) == 0:
        raise DataError("a Pareto front of zero runs: there is nothing to compare")
    sign = np.where(higher, 1.0, -1.0)
    rows, held = (sign * values)[:, np.newaxis], (sign * others)[np.newaxis]
    # Comparisons with NaN are false, so a row of others with one is not at least as good.
    dominates = np.all(held >= rows, axis=2) & np.any(held > rows, axis=2)
    free: Flags = ~missing(values) & ~np.any(dominates, axis=1)
    return free


def missing(values: Values) -> Flags:
    """Which rows of metrics, of shape (rows, metrics), have a NaN."""
    return np.asarray(np.isnan(values).any(axis=1))
