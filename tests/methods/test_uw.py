"""UW: weights from learned variances, whose gradient comes with the weights."""

import math

import pytest
import torch

from tasktrace.methods import build

LOSSES = torch.tensor([0.5, 8.0, 2.0], dtype=torch.float64)
JACOBIAN = torch.tensor([[1.0, -2.0], [4.0, 2.0], [0.0, 0.0]], dtype=torch.float64)


def with_log_variances(values):
    method = build("uw", len(values))
    method.load_state_dict({"log_variances": torch.tensor(values)})
    return method


def test_it_starts_from_minus_one_half():
    assert build("uw", 2).weights(LOSSES[:2]).tolist() == pytest.approx([math.exp(0.5) / 2] * 2, rel=1e-12)
    method = build("uw", 2, initial_log_variance=2)
    assert method.weights(LOSSES[:2]).tolist() == pytest.approx([math.exp(-2) / 2] * 2, rel=1e-12)


def test_weights_and_gradient_are_the_objectives():
    log_variances = torch.tensor([-0.5, 1.25, 0.0], dtype=torch.float64, requires_grad=True)
    losses = LOSSES.clone().requires_grad_()
    (losses / (2 * log_variances.exp()) + log_variances / 2).sum().backward()
    method = with_log_variances(log_variances.tolist())
    torch.testing.assert_close(method.weights(LOSSES), losses.grad, rtol=1e-12, atol=0)
    (learned,) = method.parameters()
    torch.testing.assert_close(learned.grad.double(), log_variances.grad, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(method.combine(JACOBIAN, LOSSES), losses.grad @ JACOBIAN, rtol=1e-12, atol=0)


def test_the_gradient_is_set_anew_at_every_step():
    method = build("uw", 3)
    method.weights(LOSSES)
    first = method.parameters()[0].grad.clone()
    method.weights(LOSSES)
    assert torch.equal(method.parameters()[0].grad, first)


def test_the_log_variance_settles_at_the_log_of_the_loss():
    stationary = with_log_variances(LOSSES.log().tolist())
    stationary.weights(LOSSES)
    assert stationary.parameters()[0].grad.abs().max() < 1e-6
    method = build("uw", 3)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        method.weights(LOSSES)
        optimizer.step()
    torch.testing.assert_close(method.parameters()[0].detach().double(), LOSSES.log(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(method.weights(LOSSES), 1 / (2 * LOSSES), rtol=1e-4, atol=0)


def test_a_state_is_a_snapshot_that_loads_in_place():
    run, resumed = build("uw", 3), build("uw", 3, initial_log_variance=1)
    before = run.state_dict()
    (held,) = run.parameters()
    run.weights(LOSSES)
    with torch.no_grad():
        held -= held.grad
    assert before["log_variances"].tolist() == [-0.5] * 3
    (other,) = resumed.parameters()
    resumed.load_state_dict(run.state_dict())
    assert resumed.parameters()[0] is other
    assert torch.equal(other, held)
    assert torch.equal(resumed.weights(LOSSES), run.weights(LOSSES))


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_update_is_of_degree_one(scale):
    method = with_log_variances([0.3, -1.0, 2.0])
    expected = scale * method.combine(JACOBIAN, LOSSES)
    torch.testing.assert_close(method.combine(scale * JACOBIAN, LOSSES), expected, rtol=1e-9, atol=0)


def test_non_finite_losses_and_gradients_show():
    method = build("uw", 2)
    method.weights(torch.tensor([1.0, torch.nan]))
    assert method.parameters()[0].grad.isnan().tolist() == [False, True]
    jacobian = torch.tensor([[1.0, torch.inf], [0.0, 1.0]])
    assert build("uw", 2).combine(jacobian, torch.ones(2)).isfinite().tolist() == [True, False]


def test_heads_are_weighed_on_request():
    assert not build("uw", 3).weigh_heads
    assert build("uw", 3, heads="weighted").weigh_heads
