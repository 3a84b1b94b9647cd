import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from tasktrace.methods import NonFiniteError, build
from tasktrace.methods.moco import on_simplex


def projected(point):
    """The nearest point of the simplex, by a general solver."""
    start = np.full(len(point), 1 / len(point))
    sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
    found = minimize(
        lambda w: ((w - point) ** 2).sum(), start, bounds=[(0, None)] * len(point), constraints=sums_to_one, tol=1e-14
    )
    return found.x


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=6))
def test_the_projection_is_the_nearest_point_of_the_simplex(point):
    found = on_simplex(torch.tensor(point, dtype=torch.float64)).numpy()
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1.0)
    expected = projected(np.array(point))
    assert ((found - point) ** 2).sum() <= ((expected - point) ** 2).sum() + 1e-6


@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_it_is_the_algorithm(rho):
    rng = np.random.default_rng(0)
    jacobians = rng.normal(size=(6, 3, 7))
    method = build("moco", 3, rho=rho)
    tracked, weights = np.zeros((3, 7)), np.full(3, 1 / 3)
    for step, rows in enumerate(jacobians, start=1):
        update = method.combine(torch.from_numpy(rows), torch.ones(3, dtype=torch.float64))
        tracked = tracked - 0.5 / step**0.5 * (tracked - rows)
        weights = projected(weights - 0.1 / step**0.5 * (tracked @ tracked.T + rho * np.eye(3)) @ weights)
    np.testing.assert_allclose(update, weights @ tracked, atol=1e-6)


def test_on_constant_gradients_it_finds_mgdas_direction():
    rows = torch.tensor([[1.0, 0.2], [-0.5, 0.4]], dtype=torch.float64)
    losses = torch.ones(2, dtype=torch.float64)
    method = build("moco", 2, beta=1.0, beta_decay=0.0, gamma=0.2, gamma_decay=0.0)
    for _ in range(500):
        update = method.combine(rows, losses)
    torch.testing.assert_close(update, build("mgda", 2).combine(rows, losses), rtol=1e-6, atol=1e-9)


def test_a_non_finite_gradient_names_its_task():
    rows = torch.ones(3, 4)
    rows[2, 1] = torch.nan
    with pytest.raises(NonFiniteError) as caught:
        build("moco", 3).combine(rows, torch.ones(3))
    assert caught.value.task == 2
