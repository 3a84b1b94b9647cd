"""The optimizers are torch's with the spec's options."""

import pytest
import torch
from torch import nn

from tasktrace.training.optimizers import build_optimizer

ADAM = {"name": "adam", "version": 1, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1}
SGD = {"name": "sgd", "version": 1, "momentum": 0.7, "weight_decay": 0.1}
RATE, STEPS = 0.05, 6


def gradients(step):
    return torch.sin(torch.arange(12, dtype=torch.float64) + step).view(3, 4)


def moved(spec, rate=RATE):
    parameter = nn.Parameter(torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4))
    optimizer = build_optimizer(spec, [parameter], rate)
    for step in range(STEPS):
        parameter.grad = gradients(step)
        optimizer.step()
    return parameter.detach()


def adam_by_hand(beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    """Kingma and Ba 2015, Algorithm 1, with the weight decay in the gradient."""
    value = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)
    first, second = torch.zeros_like(value), torch.zeros_like(value)
    for step in range(STEPS):
        gradient = gradients(step) + decay * value
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        unbiased = first / (1 - beta1 ** (step + 1)), second / (1 - beta2 ** (step + 1))
        value = value - RATE * unbiased[0] / (unbiased[1].sqrt() + eps)
    return value


def sgd_by_hand(momentum=0.0, decay=0.0):
    """Velocity v = momentum * v + g, update -rate * v."""
    value = torch.linspace(-1, 1, 12, dtype=torch.float64).view(3, 4)
    velocity = torch.zeros_like(value)
    for step in range(STEPS):
        velocity = momentum * velocity + gradients(step) + decay * value
        value = value - RATE * velocity
    return value


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"name": "adam", "version": 1}, adam_by_hand()),
        (ADAM, adam_by_hand(0.8, 0.9, 1e-3, 0.1)),
        ({"name": "sgd", "version": 1}, sgd_by_hand()),
        (SGD, sgd_by_hand(0.7, 0.1)),
    ],
    ids=["adam", "adam with options", "sgd", "sgd with options"],
)
def test_steps_are_those_of_the_published_rule(spec, expected):
    assert torch.allclose(moved(spec), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("option", ["beta1", "beta2", "eps", "weight_decay"])
def test_every_option_of_adam_counts(option):
    without = {name: value for name, value in ADAM.items() if name != option}
    assert not torch.allclose(moved(ADAM), moved(without), atol=1e-6)


@pytest.mark.parametrize("spec", [ADAM, SGD], ids=["adam", "sgd"])
def test_the_rate_is_the_given_one_and_stays(spec):
    parameter = nn.Parameter(torch.ones(2))
    optimizer = build_optimizer(spec, iter([parameter]), 0.125)
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.125]


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_optimizers_are_fused(name):
    optimizer = build_optimizer({"name": name, "version": 1}, [nn.Parameter(torch.ones(2))], 0.1)
    assert optimizer.defaults["fused"] is True


def test_only_momentum_keeps_a_state():
    sizes = {}
    for momentum in (0.0, 0.9):
        parameter = nn.Parameter(torch.ones(2))
        optimizer = build_optimizer({"name": "sgd", "version": 1, "momentum": momentum}, [parameter], 0.1)
        parameter.grad = torch.ones(2)
        optimizer.step()
        sizes[momentum] = sum(value is not None for value in optimizer.state[parameter].values())
    assert sizes == {0.0: 0, 0.9: 1}
