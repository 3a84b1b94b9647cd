"""GradNorm against the algorithm with its objective differentiated, and its properties."""

import pytest
import torch

from tasktrace.errors import ConfigError
from tasktrace.methods import NonFiniteError, build

JACOBIANS = torch.randn(30, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
DECAYS = torch.tensor([0.9, 0.97, 0.99], dtype=torch.float64)  # the last task is the slowest


def falling(step):
    return torch.tensor([4.0, 0.5, 2.0], dtype=torch.float64) * DECAYS**step


def balanced(steps, alpha, rate):
    """Algorithm 1 with the objective's gradient from autograd: the weights that each step uses."""
    weights, used = torch.ones(3, dtype=torch.float64), []
    for step, jacobian in enumerate(steps):
        used.append(weights.clone())
        own = weights.clone().requires_grad_()
        norms = (own[:, None] * jacobian).norm(dim=1)
        ratios = falling(step) / falling(0)
        targets = (norms.mean() * (ratios / ratios.mean()) ** alpha).detach()
        (gradient,) = torch.autograd.grad((norms - targets).abs().sum(), own)
        weights = weights - rate * gradient
        assert (weights > 0).all()
        weights = 3 * weights / weights.sum()
    return used


def weights_over(method, steps, start=0):
    return [method.weights(j @ j.T, falling(start + step)) for step, j in enumerate(steps)]


@pytest.mark.parametrize(
    ("options", "alpha", "rate"), [({}, 1.5, 0.025), ({"alpha": 0.5, "weight_learning_rate": 0.01}, 0.5, 0.01)]
)
def test_it_follows_the_algorithm(options, alpha, rate):
    found, expected = (
        weights_over(build("gradnorm", 3, **options), JACOBIANS[:12]),
        balanced(JACOBIANS[:12], alpha, rate),
    )
    torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-9, atol=0)
    assert not torch.allclose(found[-1], found[0], rtol=0.02)


def test_the_first_step_is_the_plain_sum():
    combined = build("gradnorm", 3).combine(JACOBIANS[0], falling(0))
    torch.testing.assert_close(combined, JACOBIANS[0].sum(dim=0), rtol=1e-14, atol=0)


def test_the_slowest_task_gains_weight_and_the_sum_stays():
    method = build("gradnorm", 3)
    even = torch.eye(3, dtype=torch.float64)
    path = torch.stack([method.weights(even, falling(step)) for step in range(15)])
    torch.testing.assert_close(path.sum(dim=1), torch.full((15,), 3.0, dtype=torch.float64), rtol=1e-12, atol=0)
    assert path[-1, 2] > 1.05
    assert path[-1, 0] < 0.95


def test_balanced_norms_and_rates_are_a_fixed_point():
    method = build("gradnorm", 3)
    squares = torch.eye(3, dtype=torch.float64) * 4
    for step in range(5):
        assert method.weights(squares, falling(0) * 0.5**step).tolist() == [1.0, 1.0, 1.0]
    # Equal rates, unequal norms: the largest loses.
    squares[0, 0] = 9
    method.weights(squares, falling(0))
    assert method.weights(squares, falling(0))[0] < 1


def test_rates_are_relative_to_the_first_step():
    scales = torch.tensor([1e3, 1.0, 1e-3], dtype=torch.float64)
    plain, scaled = build("gradnorm", 3), build("gradnorm", 3)
    for step, jacobian in enumerate(JACOBIANS):
        expected = plain.weights(jacobian @ jacobian.T, falling(step))
        torch.testing.assert_close(
            scaled.weights(jacobian @ jacobian.T, scales * falling(step)), expected, rtol=1e-9, atol=0
        )
    other = build("gradnorm", 3)
    other.weights(JACOBIANS[0] @ JACOBIANS[0].T, falling(0) * DECAYS**-20)  # another L(0)
    assert not torch.allclose(weights_over(other, JACOBIANS)[-1], expected, rtol=0.01)


def test_huge_gradients_leave_every_weight_positive():
    method = build("gradnorm", 3)
    for step, jacobian in enumerate(1e6 * JACOBIANS):
        weights = method.weights(jacobian @ jacobian.T, falling(step))
        assert (weights > 0).all()
        assert float(weights.sum()) == pytest.approx(3, rel=1e-12)
    first = build("gradnorm", 2)
    gramian = torch.diag(torch.tensor([1e8, 1e6], dtype=torch.float64))
    first.weights(gramian, torch.ones(2, dtype=torch.float64))
    # The large one loses half of itself, the small one gains 0.025 * 1e3; then both are scaled to sum 2.
    assert first.weights(gramian, torch.ones(2)).tolist() == pytest.approx([2 * 0.5 / 26.5, 2 * 26 / 26.5], rel=1e-12)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_the_update_of_given_weights_is_of_degree_one(scale):
    expected = scale * build("gradnorm", 3).combine(JACOBIANS[0], falling(0))
    found = build("gradnorm", 3).combine(scale * JACOBIANS[0], falling(0))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_relative_weights_are_blind_to_a_common_scale(scale):
    plain, scaled = (weights_over(build("gradnorm", 3, objective="relative"), k * JACOBIANS) for k in (1, scale))
    torch.testing.assert_close(torch.stack(scaled), torch.stack(plain), rtol=1e-9, atol=0)
    assert not torch.allclose(plain[-1], plain[0], rtol=0.01)
    absolute = weights_over(build("gradnorm", 3), scale * JACOBIANS)
    assert not torch.allclose(absolute[-1], plain[-1], rtol=1e-4)


def test_a_state_continues_as_if_nothing_had_happened():
    run, resumed = build("gradnorm", 3), build("gradnorm", 3)
    fresh = run.state_dict()
    weights_over(run, JACOBIANS[:10])
    resumed.load_state_dict(run.state_dict())
    expected = weights_over(run, JACOBIANS[10:], start=10)
    assert torch.equal(torch.stack(weights_over(resumed, JACOBIANS[10:], start=10)), torch.stack(expected))
    resumed.load_state_dict(fresh)  # before the first step, whose losses are then the first
    again = weights_over(resumed, JACOBIANS)
    assert torch.equal(torch.stack(again), torch.stack(weights_over(build("gradnorm", 3), JACOBIANS)))


def test_zero_gradients_and_zero_losses():
    method = build("gradnorm", 3)
    silent = JACOBIANS[0].clone()
    silent[1] = 0
    method.weights(silent @ silent.T, falling(0))
    weights = method.weights(silent @ silent.T, torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    assert torch.isfinite(weights).all()


@pytest.mark.parametrize("objective", ["absolute", "relative"])
@pytest.mark.parametrize(("scale", "left"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_without_any_gradient_or_any_loss_the_weights_stay(objective, scale, left):
    method = build("gradnorm", 3, objective=objective)
    weights_over(method, JACOBIANS[:4])
    squares = scale * JACOBIANS[4] @ JACOBIANS[4].T
    before = method.weights(squares, left * falling(4))
    assert torch.equal(method.weights(squares, left * falling(4)), before)
    assert not torch.equal(before, torch.ones(3, dtype=torch.float64))


def test_what_has_no_rate_is_refused():
    losses = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    with pytest.raises(ValueError, match=r"gradnorm: the first loss must be positive, found 0.0 for task 1"):
        build("gradnorm", 3).combine(JACOBIANS[0], losses)
    method = build("gradnorm", 3)
    method.combine(JACOBIANS[0], falling(0))
    with pytest.raises(ValueError, match=r"gradnorm: losses must not be negative, found -1.0 for task 2"):
        method.combine(JACOBIANS[0], torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64))
    with pytest.raises(ConfigError, match="alpha must be at least 0, found -1"):
        build("gradnorm", 3, alpha=-1)


def test_non_finite_values_name_their_task_and_leave_the_state():
    method = build("gradnorm", 3)
    before = method.state_dict()
    jacobian, losses = JACOBIANS[0].clone(), falling(0)
    jacobian[2, 0], losses[1] = torch.inf, torch.nan
    with pytest.raises(NonFiniteError, match="task 2: its gradient is not finite"):
        method.combine(jacobian, falling(0))
    with pytest.raises(NonFiniteError, match="task 1: its loss is not finite"):
        method.combine(JACOBIANS[0], losses)
    assert method.state_dict().keys() == before.keys() == {"weights"}
