"""CAGrad, against the primal problem on the matrix itself and against a general solver."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from tasktrace.errors import ConfigError
from tasktrace.methods import build
from tasktrace.methods.solvers import cagrad_dual
from tasktrace.methods.solvers.cagrad_dual import cagrad_weights

RADII = [0.01, 0.5, 0.99, 2.0]


def direction(rows, c):
    return cagrad_weights(rows @ rows.T, c) @ rows


def size(rows):
    return np.linalg.norm(rows, axis=1).mean()


def best_worst_case(rows, c):
    """max t subject to u_k.(g0 + rho v) >= t / |g_k| and |v| <= 1, for gradients none of which is zero."""
    norms = np.linalg.norm(rows, axis=1)
    mean = rows.mean(axis=0)
    radius = c * np.linalg.norm(mean)
    low = norms.min()
    basis = np.linalg.qr(rows.T)[0]
    units = rows / norms[:, None]
    inner, moved = units @ mean / radius, units @ basis
    found = optimize.minimize(
        lambda z: -z[-1],
        np.append(np.zeros(basis.shape[1]), (inner * norms / low).min()),
        jac=lambda z: np.append(np.zeros(len(z) - 1), -1.0),
        constraints=[
            {
                "type": "ineq",
                "fun": lambda z: moved @ z[:-1] + inner - z[-1] * low / norms,
                "jac": lambda z: np.column_stack((moved, -low / norms)),
            },
            {"type": "ineq", "fun": lambda z: 1 - z[:-1] @ z[:-1], "jac": lambda z: np.append(-2 * z[:-1], 0.0)},
        ],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    v = basis @ found.x[:-1]
    return (rows @ (mean + radius * v / max(1, np.linalg.norm(v)))).min()


@pytest.mark.parametrize("c", RADII)
def test_it_stays_in_the_ball_and_its_worst_case_is_not_below_the_means(jacobian, c):
    rows = jacobian.numpy()
    mean = rows.mean(axis=0)
    combined = direction(rows, c)
    assert np.linalg.norm(combined - mean) <= c * np.linalg.norm(mean) * (1 + 1e-9) + 1e-13 * size(rows)
    norms = np.linalg.norm(rows, axis=1)
    assert (rows @ combined).min() >= (rows @ mean).min() - 1e-11 * norms.max() * np.linalg.norm(mean)


@pytest.mark.parametrize("c", RADII)
def test_no_direction_in_the_ball_has_a_better_worst_case(jacobian, c):
    """Weak duality, g_w.g0 + c |g0| |g_w| >= min_k g_k.d, is tight at the weights that d gives away."""
    rows = jacobian.numpy()
    mean = rows.mean(axis=0)
    weights = cagrad_weights(rows @ rows.T, c)
    combined = weights @ rows
    if np.linalg.norm(combined - mean) <= c * np.linalg.norm(mean) * (1 - 1e-9) + 1e-13 * size(rows):
        # inside the ball, or with a point for a ball, the worst case is 0 and nothing makes it better
        norms = np.linalg.norm(rows, axis=1)
        assert (rows @ combined >= -1e-11 * norms * size(rows)).all()
        return
    pull = np.maximum(weights - 1 / len(rows), 0)
    share = pull / pull.sum()
    bound = share @ rows @ mean + c * np.linalg.norm(mean) * np.linalg.norm(share @ rows)
    scale = (share @ np.linalg.norm(rows, axis=1)) * np.linalg.norm(mean)
    assert (rows @ combined).min() >= bound - 1e-9 * scale


@pytest.mark.parametrize("c", RADII)
def test_a_general_solver_finds_nothing_better(jacobian, c):
    rows = jacobian[:8].numpy()
    rows = rows / (np.abs(rows).max() or 1)
    rows = rows[rows.any(axis=1)]
    if not len(rows) or np.linalg.norm(rows.mean(axis=0)) < 1e-12 * size(rows):
        return
    reference = best_worst_case(rows, c)
    scale = np.linalg.norm(rows, axis=1).min() * np.linalg.norm(rows.mean(axis=0))
    ours = (rows @ direction(rows, c)).min()
    assert ours >= reference - 1e-9 * scale
    assert ours <= reference + 1e-6 * scale  # and the reference is near enough to say something


@pytest.mark.parametrize("c", RADII)
def test_both_ways_to_the_solution_end_at_the_same(jacobian, c, monkeypatch):
    rows = jacobian.numpy()
    quick = direction(rows, c)
    monkeypatch.setattr(cagrad_dual, "_PIVOTS", 0)
    assert np.allclose(direction(rows, c), quick, rtol=0, atol=1e-9 * np.linalg.norm(rows.mean(axis=0)) + 1e-300)


@pytest.mark.parametrize(
    "rows",
    [
        [[1.0, 0.2], [-0.4, 1.0], [0.0, 0.0]],
        [[1.0, 0.0, 0.0], [-2.0, 0.0, 0.0], [0.0, 1.0, 1.0]],
        [[1.0, 0.0], [-0.5, 0.75], [-0.5, -0.5]],
        [[1.0, 0.0], [-3.0, 0.0]],
    ],
    ids=["zero-row", "opposing-pair", "triangle", "opposing"],
)
def test_of_many_best_directions_the_nearest_to_the_mean_is_taken(rows):
    rows = np.array(rows)
    mean = rows.mean(axis=0)
    # the projection of the mean onto the directions that conflict with no task
    nearest = mean + optimize.nnls(rows.T, -mean)[0] @ rows
    assert np.allclose(direction(rows, 2.0), nearest, rtol=0, atol=1e-12)


def test_an_inner_product_that_is_only_rounding_is_taken_as_zero():
    # the mean gradient is orthogonal to the vertical ones, but not in floating point
    rows = 1e-12 * np.array([[0, -3], [-2, 0], [0, 3], [1, -1], [2, 0], [2, 3], [3, -1], [0, -1]], dtype=float)
    mean = rows.mean(axis=0)
    assert np.allclose(direction(rows, 0.99), 0.01 * mean, rtol=0, atol=1e-10 * np.linalg.norm(mean))


def test_one_task_goes_further_along_its_gradient():
    gradient = torch.tensor([[3.0, -4.0]], dtype=torch.float64)
    for rescale, divisor in [("none", 1.0), ("square", 1.25), ("linear", 1.5)]:
        combined = build("cagrad", 1, rescale=rescale).combine(gradient, torch.ones(1))
        assert torch.allclose(combined, gradient[0] * 1.5 / divisor, rtol=1e-12)


def test_rescaling_divides_as_libmtl_does_by_default(jacobian):
    losses = torch.ones(len(jacobian))
    plain = build("cagrad", len(jacobian), c=0.8, rescale="none").combine(jacobian, losses)
    assert torch.allclose(build("cagrad", len(jacobian), c=0.8).combine(jacobian, losses), plain / 1.64, rtol=1e-12)
    linear = build("cagrad", len(jacobian), c=0.8, rescale="linear").combine(jacobian, losses)
    assert torch.allclose(linear, plain / 1.8, rtol=1e-12)


def test_no_radius_gives_the_mean(jacobian):
    combined = build("cagrad", len(jacobian), c=0.0).combine(jacobian, torch.ones(len(jacobian)))
    assert torch.allclose(combined, jacobian.mean(dim=0), rtol=1e-12, atol=1e-12 * float(jacobian.abs().max()))


def test_a_negative_radius_is_refused():
    with pytest.raises(ConfigError, match=r"method cagrad: c must be at least 0, found -0\.1"):
        build("cagrad", 2, c=-0.1)


@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 10**6), st.sampled_from(RADII))
def test_random_gradients_of_any_length(tasks, width, seed, c):
    random = np.random.default_rng(seed)
    rows = random.standard_normal((tasks, width)) * 10.0 ** random.integers(-3, 4, (tasks, 1))
    mean = rows.mean(axis=0)
    combined = direction(rows, c)
    assert np.linalg.norm(combined - mean) <= c * np.linalg.norm(mean) * (1 + 1e-9)
    norms = np.linalg.norm(rows, axis=1)
    assert ((rows @ combined - (rows @ mean).min()) / norms).min() >= -1e-10 * np.linalg.norm(mean) * (1 + c)
