"""IMTL-L: learned factors that bring all losses to one."""

import pytest
import torch

from tasktrace.methods import build

LOSSES = torch.tensor([0.5, 8.0, 2.0], dtype=torch.float64)
JACOBIAN = torch.tensor([[1.0, -2.0], [4.0, 2.0], [0.0, 0.0]], dtype=torch.float64)


def with_log_factors(values):
    method = build("imtl_l", len(values))
    method.load_state_dict({"log_factors": torch.tensor(values)})
    return method


def test_it_starts_as_the_plain_sum():
    assert build("imtl_l", 3).weights(LOSSES).tolist() == [1.0, 1.0, 1.0]
    assert build("imtl_l", 3).combine(JACOBIAN, LOSSES).tolist() == [5.0, 0.0]


def test_weights_and_gradient_are_the_objectives():
    log_factors = torch.tensor([-0.5, 1.25, 0.0], dtype=torch.float64, requires_grad=True)
    losses = LOSSES.clone().requires_grad_()
    (log_factors.exp() * losses - log_factors).sum().backward()
    method = with_log_factors(log_factors.tolist())
    torch.testing.assert_close(method.weights(LOSSES), losses.grad, rtol=1e-12, atol=0)
    (learned,) = method.parameters()
    torch.testing.assert_close(learned.grad.double(), log_factors.grad, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(method.combine(JACOBIAN, LOSSES), losses.grad @ JACOBIAN, rtol=1e-12, atol=0)


def test_the_factor_settles_at_one_over_the_loss():
    stationary = with_log_factors((-LOSSES.log()).tolist())
    stationary.weights(LOSSES)
    assert stationary.parameters()[0].grad.abs().max() < 1e-6
    method = build("imtl_l", 3)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        method.weights(LOSSES)
        optimizer.step()
    torch.testing.assert_close(method.weights(LOSSES) * LOSSES, torch.ones(3, dtype=torch.float64), rtol=1e-4, atol=0)


def test_a_state_is_a_snapshot_that_loads_in_place():
    run, resumed = build("imtl_l", 3), build("imtl_l", 3)
    before = run.state_dict()
    (held,), (other,) = run.parameters(), resumed.parameters()
    run.weights(LOSSES)
    with torch.no_grad():
        held -= 0.1 * held.grad
    assert before["log_factors"].tolist() == [0.0] * 3
    resumed.load_state_dict(run.state_dict())
    assert resumed.parameters()[0] is other
    assert torch.equal(other, held)
    assert torch.equal(resumed.weights(LOSSES), run.weights(LOSSES))
    assert resumed.weights(LOSSES).tolist() != [1.0] * 3


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_update_is_of_degree_one(scale):
    expected = scale * with_log_factors([0.3, -1.0, 2.0]).combine(JACOBIAN, LOSSES)
    found = with_log_factors([0.3, -1.0, 2.0]).combine(scale * JACOBIAN, LOSSES)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_non_finite_losses_and_gradients_show():
    method = build("imtl_l", 2)
    method.weights(torch.tensor([1.0, torch.nan]))
    assert method.parameters()[0].grad.isnan().tolist() == [False, True]
    jacobian = torch.tensor([[1.0, torch.inf], [0.0, 1.0]])
    assert build("imtl_l", 2).combine(jacobian, torch.ones(2)).isfinite().tolist() == [True, False]


def test_heads_are_weighed_on_request():
    assert not build("imtl_l", 3).weigh_heads
    assert build("imtl_l", 3, heads="weighted").weigh_heads
