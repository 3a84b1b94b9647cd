"""UW-O: every loss divided by its own value."""

import pytest
import torch

from tasktrace.methods import build

LOSSES = torch.tensor([0.5, 8.0, 2.0], dtype=torch.float64)
JACOBIAN = torch.tensor([[1.0, -2.0], [4.0, 2.0], [0.0, 0.0]], dtype=torch.float64)


def test_weights_are_one_over_the_losses():
    assert build("uw_o", 3).weights(LOSSES).tolist() == [2.0, 0.125, 0.5]
    assert build("uw_o", 3).combine(JACOBIAN, LOSSES).tolist() == [2.5, -3.75]


def test_it_is_the_gradient_of_the_sum_of_losses_over_stopped_losses():
    theta = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    losses = torch.stack([theta.square().sum(), (theta[0] - 2).exp(), theta.cosh().prod()])
    (losses / losses.detach()).sum().backward(retain_graph=True)
    jacobian = torch.stack([torch.autograd.grad(loss, theta, retain_graph=True)[0] for loss in losses])
    torch.testing.assert_close(build("uw_o", 3).combine(jacobian, losses.detach()), theta.grad, rtol=1e-12, atol=0)


@pytest.mark.parametrize("scales", [[1e-12, 1.0, 1e12], [3.0, 1e-6, 7e5]])
def test_the_scale_of_each_loss_does_not_matter(scales):
    scales = torch.tensor(scales, dtype=torch.float64)
    method = build("uw_o", 3)
    expected = method.combine(JACOBIAN, LOSSES)
    found = method.combine(scales[:, None] * JACOBIAN, scales * LOSSES)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_update_is_of_degree_one_in_the_gradients(scale):
    method = build("uw_o", 3)
    expected = scale * method.combine(JACOBIAN, LOSSES)
    torch.testing.assert_close(method.combine(scale * JACOBIAN, LOSSES), expected, rtol=1e-9, atol=0)


def test_weighted_heads_make_sgd_invariant_to_the_scales_of_the_losses():
    def trajectory(scale):
        head = torch.tensor([0.3, -1.2], dtype=torch.float64)
        method = build("uw_o", 2, heads="weighted")
        assert method.weigh_heads
        for _ in range(20):
            losses = scale * torch.stack([head[0].square() + 1, (head[1] - 2).square() + 0.1])
            gradients = scale * torch.stack([2 * head[0], 2 * (head[1] - 2)])
            head = head - 0.05 * method.weights(losses) * gradients
        return head

    torch.testing.assert_close(trajectory(torch.tensor([1e3, 1e-3])), trajectory(torch.ones(2)), rtol=1e-9, atol=0)
    assert not build("uw_o", 2).weigh_heads


@pytest.mark.parametrize("loss", [0.0, torch.nan])
def test_a_loss_without_a_weight_shows_in_the_update(loss):
    losses = LOSSES.clone()
    losses[2] = loss  # the task with the zero gradient
    assert build("uw_o", 3).combine(JACOBIAN, losses).isnan().all()


def test_there_is_no_state():
    assert build("uw_o", 3).state_dict() == {}
    assert build("uw_o", 3).parameters() == []
