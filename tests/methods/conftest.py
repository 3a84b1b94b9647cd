"""Jacobians on which every method has to hold, and how they are given to tests.

A test that takes an argument ``jacobian`` runs on all of :data:`JACOBIANS`; one that takes ``scaled`` gets the function
of that name.
"""

import pytest
import torch


def _normal(tasks, width, seed):
    return torch.randn(tasks, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _rows(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def _with_norms(tasks, width, seed, low, high):
    return _normal(tasks, width, seed) * torch.logspace(low, high, tasks, dtype=torch.float64)[:, None]


def _with_row(jacobian, row, values):
    jacobian = jacobian.clone()
    jacobian[row] = values
    return jacobian


def _low_rank(tasks, width, rank, seed):
    return _normal(tasks, rank, seed) @ _normal(rank, width, seed + 1)


def _fan(tasks, width, seed):
    """Low rank, yet with a direction that improves all tasks."""
    jacobian = _low_rank(tasks, width, 3, seed)
    return jacobian + 3 * _normal(1, width, seed + 7) * torch.ones(tasks, 1, dtype=torch.float64)


def _cases():
    for tasks, width in [(2, 2), (2, 3), (2, 100), (3, 4), (3, 50), (4, 4), (5, 30), (7, 3), (8, 40), (10, 30)]:
        yield f"normal-{tasks}x{width}", _normal(tasks, width, tasks)
    for tasks, width in [(15, 20), (20, 1000), (20, 25), (40, 120), (40, 1000)]:
        yield f"normal-{tasks}x{width}", _normal(tasks, width, tasks)
    for tasks, width in [(2, 5), (3, 20), (6, 30), (20, 100)]:
        yield f"rows-1e-3-to-1e3-{tasks}x{width}", _with_norms(tasks, width, tasks, -3, 3)
    yield "rows-1-to-1e6-2x5", _with_norms(2, 5, 30, 0, 6)
    yield "tiny-3x6", 1e-12 * _normal(3, 6, 31)
    yield "tiny-20x50", 1e-12 * _normal(20, 50, 32)
    yield "huge-3x6", 1e12 * _normal(3, 6, 33)
    yield "huge-rows-apart-4x9", 1e20 * _with_norms(4, 9, 34, -2, 2)
    yield "one-task", _normal(1, 5, 35)
    yield "one-task-zero", torch.zeros(1, 5, dtype=torch.float64)
    yield "parallel-2", _rows([1.0, 2.0, -1.0], [3.0, 6.0, -3.0])
    yield "parallel-4", _rows([1.0], [2.0], [5.0], [0.1]) * _normal(1, 6, 36)
    yield "nearly-parallel-3", _normal(1, 20, 37) + 1e-2 * _normal(3, 20, 38)
    yield "opposing-2", _rows([1.0, 2.0, -1.0], [-3.0, -6.0, 3.0])
    yield "opposing-2-equal", _rows([1.0, 2.0], [-1.0, -2.0])
    yield "opposing-among-3", _rows([1.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 1.0, 1.0])
    yield "conflicting-2", _rows([1.0, 0.1], [-1.0, 0.1])
    yield "conflicting-strongly-2", _rows([1.0, 0.01], [-30.0, 0.02])
    yield "conflicting-3", _rows([1.0, 0.0, 0.2], [-0.5, 0.8, 0.2], [-0.5, -0.8, 0.2])
    yield "orthogonal-4", torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    yield "zero-row-of-3", _with_row(_normal(3, 8, 39), 1, 0.0)
    yield "zero-row-of-10", _with_row(_normal(10, 40, 40), 0, 0.0)
    yield "two-zero-rows-of-4", _with_row(_with_row(_normal(4, 8, 41), 1, 0.0), 3, 0.0)
    yield "only-one-row-not-zero", _with_row(torch.zeros(3, 5, dtype=torch.float64), 2, 1.5)
    yield "all-zero", torch.zeros(3, 7, dtype=torch.float64)
    yield "duplicates-all", _normal(1, 9, 42).repeat(4, 1)
    yield "duplicates-of-two", _normal(2, 9, 43).repeat(3, 1)
    yield "duplicate-of-one", _normal(5, 30, 44)[[0, 1, 2, 3, 4, 2]]
    yield "rank-2-of-5", _low_rank(5, 12, 2, 45)
    yield "rank-3-of-10", _low_rank(10, 50, 3, 47)
    yield "rank-3-of-6-in-a-half-space", _fan(6, 20, 49)
    yield "sum-zero-3", _rows([1.0, 0.0], [-0.5, 1.0], [-0.5, -1.0])
    yield "triangle-around-zero", _rows([1.0, 0.0], [-0.5, 0.75], [-0.5, -0.5])


JACOBIANS = [pytest.param(jacobian, id=name) for name, jacobian in _cases()]


def _scaled(jacobian, factor, order=None):
    """The Jacobian times a factor, its rows in another order if one is given."""
    rows = jacobian if order is None else jacobian[order]
    return factor * rows


def pytest_generate_tests(metafunc):
    if "jacobian" in metafunc.fixturenames:
        metafunc.parametrize("jacobian", JACOBIANS)


@pytest.fixture
def scaled():
    return _scaled
