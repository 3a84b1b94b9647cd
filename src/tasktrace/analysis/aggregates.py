"""One number for a trajectory's checkpoints: study A's two rules.

``table1`` (footnote 6 of Table 1) takes the last checkpoints, or those of the largest values; the loss bins of
appendix B.4 take the checkpoints at which the full training loss lies in some geometrically spaced bins. The initial
model (epoch 0) is no finished epoch and counts in neither; its loss is where the bins begin.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd


class Aggregate(NamedTuple):
    """A mean over checkpoints.

    Attributes:
        value: The mean, in the units of the values; NaN without checkpoints.
        checkpoints: How many it is over. A checkpoint whose value is NaN is none.
    """

    value: float
    checkpoints: int


class LossRange(NamedTuple):
    """The losses from ``low`` to below ``high``, in nats for cross-entropy."""

    low: float
    high: float


def finished(series: pd.Series) -> pd.Series:
    """The values by epoch, in the order of the epochs, without the initial model's."""
    return series[series.index > 0].sort_index()


def mean_of(values: pd.Series) -> Aggregate:
    """The mean over what is known of ``values``."""
    known = values.dropna()
    return Aggregate(float(known.mean()) if len(known) else float("nan"), len(known))


def last(values: pd.Series, count: int) -> Aggregate:
    """The mean over the last ``count`` checkpoints, or over all of a shorter trajectory.

    Args:
        values: By epoch, one for each checkpoint.
        count: Study A: 20.
    """
    return mean_of(finished(values).iloc[-count:])


def largest(values: pd.Series, count: int) -> Aggregate:
    """The mean over the ``count`` largest values: the trace of the Fisher information explodes, and falls again.

    Args:
        values: By epoch, one for each checkpoint.
        count: Study A: 20.
    """
    return mean_of(finished(values).nlargest(count))


def loss_range(loss: pd.Series, bins: int, which: Sequence[int]) -> LossRange:
    """The losses of some neighbouring bins between a trajectory's highest loss, the initial model's, and its lowest.

    The bins are equally wide in the logarithm. A loss on an edge belongs to the bin above it, but for the highest,
    which is in the first bin.

    Args:
        loss: Full training loss by epoch from the initial model on, positive.
        bins: Number of bins (study A: 20).
        which: The first and the last bin, counted from 1 at the highest loss.
    """
    first_bin, last_bin = which
    edges = np.geomspace(loss.max(), loss.min(), bins + 1)
    high = np.nextafter(edges[0], np.inf) if first_bin == 1 else edges[first_bin - 1]
    return LossRange(float(edges[last_bin]), float(high))


def end_range(losses: Sequence[pd.Series], bins: int, which: Sequence[int]) -> LossRange:
    """The losses at which trajectories are compared at the end of training: :func:`loss_range` of one of them.

    It is the one whose lowest loss is highest (normally multi-task training): the others came by there too.

    Args:
        losses: Full training loss by epoch of each trajectory.
        bins: See :func:`loss_range`.
        which: See :func:`loss_range`.
    """
    return loss_range(max(losses, key=lambda loss: float(loss.min())), bins, which)


def within(loss: pd.Series, values: pd.Series, losses: LossRange) -> Aggregate:
    """The mean over the checkpoints at which the loss lies in a range.

    Args:
        loss: Full training loss by epoch.
        values: By epoch, one for each checkpoint.
        losses: The range.
    """
    at = finished(loss).reindex(values.index)
    return mean_of(values[(at >= losses.low) & (at < losses.high)])


def early(loss: pd.Series, values: pd.Series, bins: int, which: Sequence[int]) -> Aggregate:
    """The mean over the checkpoints in the early bins of the trajectory itself; see :func:`loss_range`."""
    return within(loss, values, loss_range(loss, bins, which))
