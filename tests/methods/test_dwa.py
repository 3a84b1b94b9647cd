"""DWA: weights from the ratio of two windows' mean losses."""

import numpy as np
import pytest
import torch

from tasktrace.errors import ConfigError
from tasktrace.methods import build

PATH = torch.rand(23, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5


def averaged(path, window, temperature):
    """Eq. 7 with a window for an epoch: the weights of every step."""
    found = []
    for step in range(len(path)):
        epoch = step // window
        if epoch < 2:
            found.append(np.ones(path.shape[1]))
            continue
        last, before = (path[(epoch - k) * window : (epoch - k + 1) * window].mean(axis=0) for k in (1, 2))
        powers = np.exp(last / before / temperature)
        found.append(path.shape[1] * powers / powers.sum())
    return np.array(found)


def weights_over(method, path):
    return torch.stack([method.weights(losses) for losses in path])


@pytest.mark.parametrize(("window", "temperature"), [(1, 2.0), (5, 2.0), (5, 0.5), (7, 2.0)])
def test_weights_follow_the_last_two_windows(window, temperature):
    found = weights_over(build("dwa", 3, window=window, temperature=temperature), PATH)
    np.testing.assert_allclose(found.numpy(), averaged(PATH.numpy(), window, temperature), rtol=1e-12)
    np.testing.assert_allclose(found.sum(dim=1).numpy(), 3, rtol=1e-12)
    assert not torch.allclose(found[-1], torch.ones(3, dtype=torch.float64), rtol=0.01)


def test_the_defaults_are_temperature_two_and_windows_of_a_hundred_steps():
    path = torch.cat([torch.ones(100, 2), torch.tensor([[1.0, 0.5]]).repeat(101, 1)])
    weights = weights_over(build("dwa", 2), path)
    assert (weights[:200] == 1).all()
    powers = np.exp([0.5, 0.25])
    np.testing.assert_allclose(weights[200].numpy(), 2 * powers / powers.sum(), rtol=1e-6)


def test_the_unit_of_a_loss_does_not_matter():
    scales = torch.tensor([1e-12, 1.0, 1e12], dtype=torch.float64)
    plain, scaled = (
        weights_over(build("dwa", 3, window=4), PATH),
        weights_over(build("dwa", 3, window=4), scales * PATH),
    )
    torch.testing.assert_close(scaled, plain, rtol=1e-9, atol=0)


@pytest.mark.parametrize("steps", [0, 3, 10, 15])
def test_a_state_continues_as_if_nothing_had_happened(steps):
    run, resumed = build("dwa", 3, window=5), build("dwa", 3, window=5)
    for losses in PATH[:steps]:
        run.weights(losses)
    state = run.state_dict()
    expected = weights_over(run, PATH[steps:])
    resumed.load_state_dict(state)
    assert torch.equal(weights_over(resumed, PATH[steps:]), expected)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_update_is_of_degree_one(scale):
    jacobian = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    runs = [build("dwa", 3, window=2), build("dwa", 3, window=2)]
    for losses in PATH[:6]:
        expected = scale * runs[0].combine(jacobian, losses)
        torch.testing.assert_close(runs[1].combine(scale * jacobian, losses), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("loss", "window"), [(torch.nan, 0), (torch.nan, 1), (torch.inf, 1), (0.0, 0)])
def test_a_loss_without_a_ratio_shows_in_later_weights(loss, window):
    path = PATH.clone()
    path[2 * window : 2 * window + 2, 1] = loss
    weights = weights_over(build("dwa", 3, window=2), path[:5])
    assert weights[:4].isfinite().all()
    assert weights[4].isnan().all()


def test_windows_and_temperatures_are_checked_and_heads_weighed_on_request():
    with pytest.raises(ConfigError, match="window must be at least 1, found 0"):
        build("dwa", 3, window=0)
    with pytest.raises(ConfigError, match=r"temperature must be at least 1e-06, found 0.0"):
        build("dwa", 3, temperature=0.0)
    assert not build("dwa", 3).weigh_heads
    assert build("dwa", 3, heads="weighted").weigh_heads
