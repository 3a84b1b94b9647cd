import math

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis import aggregates
from tasktrace.analysis.aggregates import Aggregate, LossRange


def by_epoch(*values: float) -> pd.Series:
    return pd.Series(values, index=range(len(values)), dtype=float)


# The initial model's loss, then two epochs in the first of four bins, one each in the next two, and two in the last.
LOSS = by_epoch(1.0, 1.0, 0.5, 0.05, 0.005, 0.0005, 0.0001)
VALUES = by_epoch(100.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def test_the_last_checkpoints_count_and_never_the_initial_model():
    assert aggregates.last(VALUES, 2) == Aggregate(24.0, 2)
    assert aggregates.last(VALUES, 20) == Aggregate(63 / 6, 6)
    assert aggregates.last(VALUES.iloc[::-1], 2) == Aggregate(24.0, 2)


def test_the_largest_values_count_wherever_they_are():
    assert aggregates.largest(by_epoch(99.0, 1.0, 7.0, 2.0, 9.0, 3.0), 2) == Aggregate(8.0, 2)
    assert aggregates.largest(by_epoch(99.0, 1.0, 3.0), 20) == Aggregate(2.0, 2)


def test_what_is_not_known_is_no_checkpoint():
    values = by_epoch(0.0, 1.0, math.nan, 5.0, math.nan)
    assert aggregates.largest(values, 3) == Aggregate(3.0, 2)
    assert aggregates.last(values, 2) == Aggregate(5.0, 1)
    assert aggregates.last(values, 1).checkpoints == 0
    assert math.isnan(aggregates.last(values, 1).value)


@pytest.mark.parametrize(
    ("which", "expected"), [((1, 1), (1.5, 2)), ((2, 3), (6.0, 2)), ((4, 4), (24.0, 2)), ((1, 4), (10.5, 6))]
)
def test_the_early_value_is_the_mean_over_the_checkpoints_in_the_bins(which, expected):
    assert aggregates.early(LOSS, VALUES, 4, which) == pytest.approx(expected)


def test_the_edges_are_those_of_the_whole_trajectory_where_fewer_epochs_have_checkpoints():
    assert aggregates.early(LOSS, VALUES.loc[[0, 3, 6]], 4, (2, 3)) == Aggregate(4.0, 1)


def test_an_empty_bin_has_no_value_and_says_so():
    found = aggregates.early(by_epoch(1.0, 1.0, 0.0001), by_epoch(0.0, 1.0, 2.0), 4, (2, 3))
    assert found.checkpoints == 0
    assert math.isnan(found.value)


def test_the_bins_begin_at_the_initial_loss_which_is_itself_no_checkpoint():
    loss, values = by_epoch(1.0, 0.05, 0.005, 0.0001), by_epoch(100.0, 1.0, 2.0, 4.0)
    assert aggregates.early(loss, values, 4, (1, 1)).checkpoints == 0
    assert aggregates.early(loss, values, 4, (2, 3)) == Aggregate(1.5, 2)


def test_a_loss_that_never_changes_is_in_the_first_bin():
    loss = by_epoch(0.3, 0.3, 0.3)
    assert aggregates.early(loss, by_epoch(0.0, 1.0, 3.0), 20, (1, 1)) == Aggregate(2.0, 2)
    assert aggregates.early(loss, by_epoch(0.0, 1.0, 3.0), 20, (2, 20)).checkpoints == 0


def test_every_finished_epoch_is_in_one_bin_and_the_one_that_the_logarithm_says():
    generator = np.random.default_rng(0)
    for _ in range(3):
        loss = by_epoch(1.0, *np.exp(generator.normal(-3, 2, 30)))
        members = [
            [e for e in range(1, 31) if aggregates.early(loss, loss.loc[[e]], 20, (number, number)).checkpoints]
            for number in range(1, 21)
        ]
        # An independent way: how far down from the highest to the lowest loss, in twentieths of the logarithm.
        top, bottom = math.log(max(loss)), math.log(min(loss))
        depth = {e: 20 * (top - math.log(loss[e])) / (top - bottom) for e in range(1, 31)}
        expected = [[e for e in depth if number - 1 < max(depth[e], 1e-9) <= number + 1e-9] for number in range(1, 21)]
        assert members == expected
        assert sum(map(len, members)) == 30


def test_the_end_is_that_of_the_trajectory_whose_lowest_loss_is_highest():
    deep = by_epoch(1.0, 1.0, 0.02, 0.015, 0.00001)
    assert aggregates.end_range([LOSS, deep], 4, (3, 4)) == aggregates.loss_range(LOSS, 4, (3, 4))
    assert aggregates.end_range([deep, LOSS], 4, (3, 4)) == aggregates.loss_range(LOSS, 4, (3, 4))
    losses = aggregates.end_range([LOSS, by_epoch(1.0, 1.0, 0.01)], 2, (2, 2))
    assert losses == pytest.approx((0.01, 0.1))


def test_both_trajectories_count_where_they_are_at_the_same_loss():
    losses = LossRange(0.001, 0.1)
    assert aggregates.within(LOSS, VALUES, losses) == Aggregate(6.0, 2)
    deep = by_epoch(0.05, 1.0, 0.1, 0.02, 0.001, 0.00001)  # its initial model is there too, and does not count
    assert aggregates.within(deep, by_epoch(50.0, 1.0, 2.0, 3.0, 5.0, 7.0), losses) == Aggregate(4.0, 2)
