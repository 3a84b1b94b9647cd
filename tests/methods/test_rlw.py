"""RLW: random weights on the simplex, fresh at every step."""

import numpy as np
import pytest
import torch

from tasktrace.methods import build
from tasktrace.methods.drawing import method_generator

LOSSES = torch.tensor([0.1, 7.0, 2.0], dtype=torch.float64)
DISTRIBUTIONS = ["normal", "dirichlet"]


def draws(method, count):
    return torch.stack([method.weights(LOSSES) for _ in range(count)])


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_weights_are_positive_sum_to_one_and_are_even_on_average(distribution):
    weights = draws(build("rlw", 3, distribution=distribution), 4000)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4000, dtype=torch.float64), rtol=1e-12, atol=0)
    assert (weights > 0).all()
    assert len(weights.unique(dim=0)) == 4000
    errors = weights.std(dim=0) / 4000**0.5
    assert ((weights.mean(dim=0) - 1 / 3).abs() < 5 * errors).all()


def test_normal_weights_are_a_softmax_of_normal_numbers():
    numbers = torch.empty(3, dtype=torch.float64).normal_(generator=method_generator(5, "rlw")).numpy()
    expected = np.exp(numbers) / np.exp(numbers).sum()
    np.testing.assert_allclose(build("rlw", 3, 5).weights(LOSSES).numpy(), expected, rtol=1e-12)
    logs = draws(build("rlw", 3), 4000).log()
    differences = logs[:, 0] - logs[:, 1]  # of two standard normals
    assert float(differences.var()) == pytest.approx(2, rel=0.15)


def test_dirichlet_weights_are_uniform_on_the_simplex():
    first = draws(build("rlw", 3, distribution="dirichlet"), 4000)[:, 0].sort().values
    # P(w_1 <= x) = 1 - (1 - x)^2 for three tasks; 0.0302 is the Kolmogorov-Smirnov bound at 1e-3 for 4000 draws.
    expected = 1 - (1 - first) ** 2
    assert float((torch.arange(1, 4001) / 4000 - expected).abs().max()) < 0.0309


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_draws_follow_the_seed_and_continue_from_a_state(distribution):
    run, again, other = (build("rlw", 3, seed, distribution=distribution) for seed in (0, 0, 1))
    first = draws(run, 3)
    assert torch.equal(draws(again, 3), first)
    assert not torch.equal(draws(other, 3), first)
    other.load_state_dict(run.state_dict())
    assert torch.equal(draws(other, 3), draws(run, 3))


def test_the_type_of_the_losses_does_not_change_the_draw():
    narrow, wide = build("rlw", 3).weights(LOSSES.float()), build("rlw", 3).weights(LOSSES)
    assert narrow.dtype == torch.float32
    assert torch.equal(narrow, wide.float())


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_update_is_of_degree_one(scale):
    jacobian = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = scale * build("rlw", 3).combine(jacobian, LOSSES)
    torch.testing.assert_close(build("rlw", 3).combine(scale * jacobian, LOSSES), expected, rtol=1e-9, atol=0)


def test_zero_and_non_finite_gradients():
    jacobian = torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, torch.nan]], dtype=torch.float64)
    weights, combined = build("rlw", 3).weights(LOSSES), build("rlw", 3).combine(jacobian, LOSSES)
    assert combined[0] == weights[0]
    assert combined[1].isnan()


def test_heads_are_weighed_on_request():
    assert not build("rlw", 3).weigh_heads
    assert build("rlw", 3, heads="weighted").weigh_heads
