"""FAMO against its algorithm with the softmax differentiated by autograd, and its properties."""

import pytest
import torch

from tasktrace.methods import build

BEFORE = torch.rand(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
AFTER = BEFORE * torch.tensor([0.8, 0.97, 1.01], dtype=torch.float64)  # the first task falls fastest
JACOBIAN = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def algorithm(optimizer, decay):
    """The weights of every step, with torch's own optimizer on the logits."""
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    kinds = {"adam": torch.optim.Adam, "descent": torch.optim.SGD}
    moved = kinds[optimizer]([logits], lr=0.025, weight_decay=decay)
    found = []
    for before, after in zip(BEFORE, AFTER, strict=True):
        shares = logits.detach().softmax(dim=0)
        found.append(shares / before / (shares / before).sum())
        (logits.grad,) = torch.autograd.grad(logits.softmax(dim=0), logits, before.log() - after.log())
        moved.step()
    return torch.stack(found)


def weights_over(method, start=0, scale=1.0):
    found = []
    for before, after in zip(BEFORE[start:], AFTER[start:], strict=True):
        found.append(method.weights(scale * before))
        method.after_step(scale * after)
    return torch.stack(found)


@pytest.mark.parametrize("optimizer", ["adam", "descent"])
@pytest.mark.parametrize("decay", [1e-3, 0.5])
def test_it_follows_the_algorithm(optimizer, decay):
    found = weights_over(build("famo", 3, weight_optimizer=optimizer, decay=decay))
    torch.testing.assert_close(found, algorithm(optimizer, decay), rtol=1e-9, atol=0)


def test_the_defaults_are_algorithm_twos():
    torch.testing.assert_close(weights_over(build("famo", 3)), algorithm("adam", 1e-3), rtol=1e-9, atol=0)
    assert not torch.allclose(algorithm("adam", 1e-3), algorithm("descent", 1e-3), rtol=1e-3)


def test_it_is_the_gradient_of_the_weighted_log_losses():
    losses = BEFORE[0].clone().requires_grad_()
    (losses.log().sum() / 3).backward()
    method = build("famo", 3)
    expected = losses.grad / losses.grad.sum() @ JACOBIAN
    torch.testing.assert_close(method.combine(JACOBIAN, BEFORE[0]), expected, rtol=1e-12, atol=0)


def test_weights_sum_to_one_and_the_slowest_task_gains():
    found = weights_over(build("famo", 3))
    torch.testing.assert_close(found.sum(dim=1), torch.ones(12, dtype=torch.float64), rtol=1e-12, atol=0)
    shares = found * BEFORE / (found * BEFORE).sum(dim=1, keepdim=True)
    assert shares[-1, 2] > 1 / 3 > shares[-1, 0]
    assert (shares[1:, 0] < shares[:-1, 0]).all()


def test_equal_falls_are_a_fixed_point():
    method = build("famo", 3, decay=0)  # Adam turns even the decay of a logit of 1e-10 into a step
    for before in BEFORE:
        weights = method.weights(before)
        method.after_step(0.9 * before)
        torch.testing.assert_close(weights, (1 / before) / (1 / before).sum(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_unit_of_the_losses_does_not_matter_and_the_update_is_of_degree_one(scale):
    torch.testing.assert_close(
        weights_over(build("famo", 3), scale=scale), weights_over(build("famo", 3)), rtol=1e-7, atol=0
    )
    expected = scale * build("famo", 3).combine(JACOBIAN, BEFORE[0])
    found = build("famo", 3).combine(scale * JACOBIAN, BEFORE[0])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_it_asks_for_the_losses_after_the_step_and_does_not_go_on_without():
    method = build("famo", 3)
    assert method.needs_losses_after_step
    with pytest.raises(RuntimeError, match="after_step was called without a step before it"):
        method.after_step(AFTER[0])
    method.weights(BEFORE[0])
    with pytest.raises(RuntimeError, match="after_step must be called once after every update"):
        method.weights(BEFORE[1])


@pytest.mark.parametrize("optimizer", ["adam", "descent"])
def test_a_state_continues_as_if_nothing_had_happened(optimizer):
    run, resumed = (build("famo", 3, weight_optimizer=optimizer) for _ in range(2))
    expected = weights_over(build("famo", 3, weight_optimizer=optimizer))
    for before, after in zip(BEFORE[:5], AFTER[:5], strict=True):
        run.weights(before)
        run.after_step(after)
    state = run.state_dict()
    weights_over(run, start=5)  # the state is a snapshot
    resumed.load_state_dict(state)
    assert torch.equal(weights_over(resumed, start=5), expected[5:])


@pytest.mark.parametrize("loss", [0.0, torch.nan, torch.inf])
def test_a_loss_without_a_logarithm_shows_in_the_next_weights(loss):
    method = build("famo", 3)
    method.weights(BEFORE[0])
    after = AFTER[0].clone()
    after[1] = loss
    method.after_step(after)
    assert method.weights(BEFORE[1]).isnan().all()


def test_heads_are_weighed_on_request():
    assert not build("famo", 3).weigh_heads
    assert build("famo", 3, heads="weighted").weigh_heads
