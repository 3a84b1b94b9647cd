"""What the solvers share, against scipy and definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from tasktrace.methods.solvers import SolverError, cagrad_dual, nash, nonnegative
from tasktrace.methods.solvers.cagrad_dual import cagrad_weights
from tasktrace.methods.solvers.cosines import cosines, vanishes
from tasktrace.methods.solvers.min_norm import min_norm_weights, surrounds_origin
from tasktrace.methods.solvers.nash import nash_weights
from tasktrace.methods.solvers.nonnegative import nonnegative_least_squares


@settings(max_examples=200)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6), st.booleans())
def test_non_negative_least_squares_reaches_the_residual_of_scipy(rows, columns, seed, dependent):
    random = np.random.default_rng(seed)
    matrix = random.integers(-2, 3, (rows, columns)) if dependent else random.standard_normal((rows, columns))
    matrix = matrix / np.maximum(np.linalg.norm(matrix, axis=0), 1e-300)
    matrix[:, ~matrix.any(axis=0)] = 1 / np.sqrt(rows)
    target = random.standard_normal(rows)
    x = nonnegative_least_squares(matrix.T @ matrix, matrix.T @ target, "test")
    assert x.min() >= 0
    # the residual is unique even where x is not
    residual = matrix @ x - target
    assert np.allclose(residual, matrix @ optimize.nnls(matrix, target)[0] - target, atol=1e-10, rtol=0)


def test_cosines_keep_the_digits_of_short_rows():
    jacobian = np.array([[1.0, 2.0], [3e-9, -1e-9], [1e80, 1e80]])
    gramian = jacobian @ jacobian.T
    units = np.array([[1, 2], [3, -1], [1, 1]]) / np.sqrt([[5], [10], [2]])
    assert np.allclose(cosines(gramian, np.sqrt(gramian.diagonal())), units @ units.T, rtol=1e-14, atol=1e-15)


def test_cosines_of_equal_rows_do_not_exceed_one():
    row = np.full((1, 3), 0.1)
    gramian = (row.T @ row) * (1 + 1e-15 * np.array([[0, 3, 3], [3, 0, 3], [3, 3, 0]]))
    assert cosines(gramian, np.sqrt(gramian.diagonal())).max() == 1.0


def test_a_sum_vanishes_only_to_rounding():
    amounts = np.array([2.0, 3.0])
    assert vanishes(1e-15, amounts)
    assert not vanishes(1e-13, amounts)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1, 0], [-2, 0]], True),
        ([[1, 0], [-1, 1e-5]], False),
        ([[1, 0], [-1, 1], [-1, -1]], True),
        ([[1, 0], [0, 1], [1, -1]], False),
    ],
)
def test_whether_the_origin_is_surrounded(rows, expected):
    gramian = np.array(rows, dtype=float) @ np.array(rows, dtype=float).T
    assert surrounds_origin(cosines(gramian, np.sqrt(gramian.diagonal()))) is expected


GRAMIAN = np.array([[4.0, -1.5, 0.2], [-1.5, 1.0, -0.3], [0.2, -0.3, 2.0]])


def test_an_unfinished_minimum_norm_point_is_an_error(monkeypatch):
    monkeypatch.setattr(nonnegative, "_first_support", lambda hessian, linear: np.zeros_like(linear))
    monkeypatch.setattr(nonnegative, "_admit", lambda *_: None)
    with pytest.raises(SolverError, match=r"minimum-norm point: optimality conditions violated by 1\.0e\+00") as caught:
        min_norm_weights(GRAMIAN)
    assert caught.value.gap == 1.0


def test_an_unfinished_bargain_is_an_error(monkeypatch):
    monkeypatch.setattr(nash, "_ITERATIONS", 2)
    with pytest.raises(SolverError, match="Nash bargaining"):
        nash_weights(GRAMIAN)


def test_an_unfinished_dual_is_an_error(monkeypatch):
    monkeypatch.setattr(cagrad_dual, "_PIVOTS", 0)
    monkeypatch.setattr(cagrad_dual, "_BRACKETINGS", 1)
    monkeypatch.setattr(cagrad_dual, "_crossing", lambda *_: float("nan"))
    with pytest.raises(SolverError, match="CAGrad's dual"):
        cagrad_weights(GRAMIAN, 0.5)
