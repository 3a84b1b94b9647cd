"""Nash-MTL, against its equation, a general root finder and its options."""

import numpy as np
import pytest
import torch
from scipy import optimize

from tasktrace.errors import ConfigError
from tasktrace.methods import build
from tasktrace.methods.base import NonFiniteError
from tasktrace.methods.solvers.nash import nash_weights

EPS = np.finfo(float).eps
STATIONARY = {"opposing-2", "opposing-2-equal", "opposing-among-3", "sum-zero-3", "triangle-around-zero"}
STATIONARY |= {"rank-3-of-10", "normal-7x3", "all-zero", "one-task-zero"}


def normal(tasks, width, seed=0):
    return torch.randn(tasks, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def losses(tasks):
    return torch.ones(tasks, dtype=torch.float64)


def test_every_task_gains_the_same_share(jacobian, request):
    """alpha_k (g_k.d) = 1, alpha > 0 and |d| = sqrt(T), counting tasks that have a gradient; 0 where none can agree."""
    rows = jacobian.numpy()
    weights = nash_weights(rows @ rows.T)
    if request.node.callspec.id in STATIONARY:
        assert not weights.any()
        return
    live = rows.any(axis=1)
    assert (weights[live] > 0).all()
    assert not weights[~live].any()
    combined = weights @ rows
    norms = np.linalg.norm(rows, axis=1)
    rounding = 16 * len(rows) * EPS * weights * norms * (weights @ norms)
    assert (np.abs(weights * (rows @ combined) - live) <= 1e-9 + rounding).all()
    assert np.linalg.norm(combined) == pytest.approx(np.sqrt(live.sum()), rel=1e-9)


@pytest.mark.parametrize(("tasks", "width"), [(2, 3), (3, 4), (5, 30), (10, 40), (20, 1000)])
def test_a_general_root_finder_agrees(tasks, width):
    rows = normal(tasks, width, tasks).numpy()
    gramian = rows @ rows.T
    found = optimize.root(
        lambda log: gramian @ np.exp(log) - np.exp(-log), -0.5 * np.log(gramian.diagonal()), method="hybr", tol=1e-13
    )
    assert np.abs(gramian @ np.exp(found.x) - np.exp(-found.x)).max() < 1e-8  # the reference holds itself
    assert np.allclose(nash_weights(gramian), np.exp(found.x), rtol=1e-7, atol=0)


def test_the_scale_of_a_single_row_changes_nothing():
    rows = normal(4, 12)
    combined = build("nash_mtl", 4).combine(rows, losses(4))
    rows[2] *= 1e9
    assert torch.allclose(build("nash_mtl", 4).combine(rows, losses(4)), combined, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("max_norm", "length"), [(1.0, 1.0), (0.25, 0.25), (100.0, 2.0), (None, 2.0)])
def test_the_combined_gradient_is_cut_to_its_longest_norm(max_norm, length):
    method = build("nash_mtl", 4, max_norm=max_norm)
    assert float(method.combine(normal(4, 12), losses(4)).norm()) == pytest.approx(length, rel=1e-9)


def test_weights_stay_between_bargains():
    gramians = [rows @ rows.T for rows in (normal(3, 9, seed) for seed in range(5))]
    method = build("nash_mtl", 3, update_every=2, max_norm=None)
    given = [method.weights(gramian, losses(3)) for gramian in gramians]
    for step, bargain in enumerate((0, 0, 2, 2, 4)):
        assert np.allclose(given[step], nash_weights(gramians[bargain].numpy()), rtol=1e-14, atol=0)


def test_kept_weights_are_cut_for_the_gradients_of_the_step():
    method = build("nash_mtl", 3, update_every=5)
    first = normal(3, 9)
    method.combine(first, losses(3))
    assert float(method.combine(50 * first, losses(3)).norm()) == pytest.approx(1, rel=1e-9)
    assert float(method.combine(first / 50, losses(3)).norm()) == pytest.approx(np.sqrt(3) / 50, rel=1e-9)


def test_a_restored_method_continues_the_interrupted_one():
    gramians = [rows @ rows.T for rows in (normal(3, 9, seed) for seed in range(8))]
    whole, first, second = (build("nash_mtl", 3, update_every=3) for _ in range(3))
    expected = [whole.weights(gramian, losses(3)) for gramian in gramians]
    for gramian in gramians[:4]:
        first.weights(gramian, losses(3))
    state = first.state_dict()
    second.load_state_dict(state)
    for gramian in gramians[4:]:
        first.weights(gramian, losses(3))  # does not reach into the saved state
    for gramian, weights in zip(gramians[4:], expected[4:], strict=True):
        assert torch.equal(second.weights(gramian, losses(3)), weights)


def test_a_state_of_other_tasks_is_refused():
    method = build("nash_mtl", 3)
    with pytest.raises(ValueError, match=r"nash_mtl keeps steps \(\) and weights \(3,\), found .*\(2,\)"):
        method.load_state_dict(build("nash_mtl", 2).state_dict())
    with pytest.raises(ValueError, match=r"found \{\}"):
        method.load_state_dict({})


def test_non_finite_gradients_are_refused_between_bargains_too():
    method = build("nash_mtl", 3, update_every=4)
    rows = normal(3, 9)
    method.combine(rows, losses(3))
    rows[1, 4] = torch.nan
    with pytest.raises(NonFiniteError, match="task 1: its gradient is not finite"):
        method.combine(rows, losses(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update_every": 0}, "update_every must be at least 1, found 0"),
        ({"max_norm": 0.0}, r"max_norm must be above 0 or null, found 0\.0"),
        ({"max_norm": -2.0}, r"max_norm must be above 0 or null, found -2\.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build("nash_mtl", 2, **options)
