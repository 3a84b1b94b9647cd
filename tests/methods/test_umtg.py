"""The uniform multi-task gradient: sum or mean of the task gradients."""

import pytest
import torch

from tasktrace.errors import ConfigError
from tasktrace.methods import build

JACOBIAN = torch.tensor([[1.0, -2.0, 0.5, 0.0], [4.0, 2.0, -0.5, 0.0], [-2.0, 3.0, 6.0, 0.0]], dtype=torch.float64)
LOSSES = torch.tensor([0.1, 7.0, 2.0], dtype=torch.float64)


def test_the_sum_is_the_default():
    assert build("umtg", 3).combine(JACOBIAN, LOSSES).tolist() == [3.0, 3.0, 6.0, 0.0]
    assert build("umtg", 3, scale="sum").combine(JACOBIAN, LOSSES).tolist() == [3.0, 3.0, 6.0, 0.0]


def test_the_mean_divides_by_the_number_of_tasks():
    combined = build("umtg", 3, scale="mean").combine(JACOBIAN, LOSSES)
    assert torch.allclose(combined, torch.tensor([1.0, 1.0, 2.0, 0.0], dtype=torch.float64), rtol=1e-14, atol=0)


@pytest.mark.parametrize("scale", ["sum", "mean"])
def test_one_task_keeps_its_own_gradient(scale):
    assert torch.equal(build("umtg", 1, scale=scale).combine(JACOBIAN[:1], LOSSES[:1]), JACOBIAN[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_uniform_whatever_the_losses(dtype):
    assert build("umtg", 3).weights(LOSSES.to(dtype)) is None
    weights = build("umtg", 4, scale="mean").weights(torch.rand(4, dtype=dtype, generator=torch.Generator()))
    assert weights.tolist() == [0.25] * 4
    assert weights.dtype == dtype


@pytest.mark.parametrize("scale", ["sum", "mean"])
def test_the_update_is_linear_in_the_gradients_and_blind_to_their_order(scale):
    method = build("umtg", 3, scale=scale)
    combined = method.combine(JACOBIAN, LOSSES)
    assert torch.allclose(method.combine(-8 * JACOBIAN, LOSSES), -8 * combined, rtol=1e-14)
    order = [2, 0, 1]
    assert torch.allclose(method.combine(JACOBIAN[order], LOSSES[order]), combined, rtol=1e-14)
    assert torch.equal(method.combine(JACOBIAN, 100 * LOSSES), combined)


@pytest.mark.parametrize("scale", ["sum", "mean"])
def test_a_zero_gradient_adds_nothing_and_a_non_finite_one_shows(scale):
    method = build("umtg", 3, scale=scale)
    silent = JACOBIAN.clone()
    silent[1] = 0
    expected = (JACOBIAN[0] + JACOBIAN[2]) / (3 if scale == "mean" else 1)
    assert torch.allclose(method.combine(silent, LOSSES), expected, rtol=1e-14)
    silent[1, 2] = torch.nan
    assert torch.isfinite(method.combine(silent, LOSSES)).tolist() == [True, True, False, True]


def test_nothing_is_remembered():
    method = build("umtg", 3)
    method.combine(JACOBIAN, LOSSES)
    assert method.state_dict() == {}
    method.load_state_dict({})
    with pytest.raises(ValueError, match=r"tasktrace.methods.umtg keeps no state, found \['weights'\]"):
        method.load_state_dict({"weights": torch.ones(3)})


def test_what_cannot_be_built_is_refused_with_what_can():
    with pytest.raises(ConfigError, match=r"unknown method 'utmg'; available: .*umtg"):
        build("utmg", 3)
    with pytest.raises(ConfigError, match=r"method umtg: unknown option 'factor'; allowed: scale"):
        build("umtg", 3, factor=2)
    with pytest.raises(ConfigError, match=r"umtg.scale: expected one of 'sum', 'mean', found 'average'"):
        build("umtg", 3, scale="average")
    with pytest.raises(ConfigError, match="num_tasks must be at least 1, found 0"):
        build("umtg", 0)


def test_task_weights_have_to_suit_the_group():
    with pytest.raises(ConfigError, match=r"method umtg: task_weights needs one weight for each of the 2 tasks"):
        build("umtg", 2, task_weights=[1.0, 2.0, 3.0])
    weighted = build("umtg", 2, task_weights=[1.0, 3.0]).combine(torch.eye(2), torch.ones(2))
    assert weighted.tolist() == [1.0, 3.0]
