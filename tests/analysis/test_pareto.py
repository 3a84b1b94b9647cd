import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasktrace.analysis.pareto import optimal, undominated_by
from tasktrace.errors import DataError

# Few different numbers, so that ties and duplicates are common.
NUMBERS = st.sampled_from([0.0, 1.0, 2.0, -0.0, np.nan, np.inf, -np.inf])


def tables(metrics, fewest=0):
    return st.integers(fewest, 8).flatmap(lambda rows: arrays(float, (rows, metrics), elements=NUMBERS))


@st.composite
def cases(draw):
    metrics = draw(st.integers(1, 3))
    higher = draw(arrays(bool, metrics))
    return draw(tables(metrics, fewest=1)), draw(tables(metrics)), higher


def dominates(one, other, higher):
    """By the definition's words, a metric at a time."""
    if any(np.isnan(value) for value in [*one, *other]):
        return False
    is_better = False
    for mine, theirs, up in zip(one, other, higher, strict=True):
        if mine != theirs:
            if (mine > theirs) != up:
                return False
            is_better = True
    return is_better


def slow(values, others, higher):
    return [
        not any(np.isnan(value) for value in row) and not any(dominates(other, row, higher) for other in others)
        for row in values
    ]


@given(cases())
def test_the_fronts_are_those_of_brute_force(case):
    values, others, higher = case
    assert optimal(values, higher).tolist() == slow(values, values, higher)
    assert undominated_by(values, others, higher).tolist() == slow(values, others, higher)


@given(cases())
def test_a_row_is_optimal_among_all_if_it_is_among_its_own_and_no_other_dominates_it(case):
    values, others, higher = case
    among_all = optimal(np.concatenate([values, others]), higher)[: len(values)]
    np.testing.assert_array_equal(among_all, optimal(values, higher) & undominated_by(values, others, higher))


def test_directions_ties_duplicates_and_diverged_rows():
    higher = np.array([True, False])
    values = np.array([[0.9, 0.2], [0.9, 0.2], [0.9, 0.3], [0.8, 0.1], [0.7, np.inf], [np.nan, 0.0]])
    assert optimal(values, higher).tolist() == [True, True, False, True, False, False]
    # The row with a NaN, best on the second metric, takes no row off the front, alone or beside another.
    assert undominated_by(values[:5], values[5:], higher).all()
    assert undominated_by(values, values[2:3], higher).tolist() == [True, True, True, True, False, False]


def test_nothing_is_dominated_by_nothing():
    values = np.array([[1.0], [0.0], [np.nan]])
    assert undominated_by(values, np.empty((0, 1)), np.array([True])).tolist() == [True, True, False]


def test_a_front_of_zero_runs_is_an_error():
    for call in (optimal, lambda rows, higher: undominated_by(rows, np.ones((2, 2)), higher)):
        with pytest.raises(DataError, match="a Pareto front of zero runs"):
            call(np.empty((0, 2)), np.array([True, True]))
