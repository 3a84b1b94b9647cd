"""GradDrop against the algorithm coordinate by coordinate, its expectation, and its properties."""

import pytest
import torch

from tasktrace.errors import ConfigError
from tasktrace.methods import build
from tasktrace.methods.drawing import method_generator

COLUMN = torch.tensor([3.0, -1.0, 2.0, -4.0], dtype=torch.float64)  # P = (1 + 0/10)/2
LOSSES = torch.ones(4)


def dropped(jacobian, draws, leak):
    """Algorithm 1 with the identity as activation sign, entry by entry."""
    update = []
    for column, draw in zip(jacobian.T.tolist(), draws.tolist(), strict=True):
        magnitude = sum(abs(entry) for entry in column)
        purity = 0.5 * (1 + sum(column) / magnitude) if magnitude else 0.5
        masks = [(purity > draw) * (entry > 0) + (purity < draw) * (entry < 0) for entry in column]
        update.append(sum((own + (1 - own) * m) * e for own, m, e in zip(leak, masks, column, strict=True)))
    return torch.tensor(update, dtype=jacobian.dtype)


def random_jacobian(seed=0, tasks=4, columns=200):
    return torch.randn(tasks, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("leak", [[], [0.0, 0.25, 1.0, 0.5]])
def test_it_is_the_algorithm_entry_by_entry(leak):
    jacobian = random_jacobian()
    draws = torch.rand(200, generator=method_generator(6, "graddrop"))
    expected = dropped(jacobian, draws, leak or [0.0] * 4)
    assert not torch.allclose(expected, jacobian.sum(dim=0), rtol=0.1)
    torch.testing.assert_close(
        build("graddrop", 4, 6, leak=leak).combine(jacobian, LOSSES), expected, rtol=1e-12, atol=1e-14
    )


def test_the_share_of_positive_updates_is_p():
    uneven = COLUMN * torch.tensor([4.0, 1.0, 1.0, 1.0], dtype=torch.float64)  # 14 of 19 are positive
    combined = build("graddrop", 4).combine(uneven[:, None].repeat(1, 40_000), LOSSES)
    assert sorted(combined.unique().tolist()) == [-5.0, 14.0]
    assert float((combined == 14).double().mean()) == pytest.approx(14 / 19, abs=5 * 0.44 / 200)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_coordinates_without_conflict_keep_the_plain_sum(sign):
    jacobian = sign * random_jacobian(columns=20_000).abs()
    jacobian[1, ::2] = 0
    torch.testing.assert_close(build("graddrop", 4).combine(jacobian, LOSSES), jacobian.sum(dim=0), rtol=1e-14, atol=0)


def test_a_negative_coordinate_keeps_its_sum_even_for_a_draw_of_zero(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *size, **_: torch.zeros(*size))
    jacobian = torch.tensor([[-1.0, 1.0, -1.0], [-2.0, 2.0, 3.0]])
    assert build("graddrop", 2).combine(jacobian, torch.ones(2)).tolist() == [-3.0, 3.0, 3.0]


def test_coordinates_draw_apart_from_each_other():
    combined = build("graddrop", 4).combine(COLUMN[:, None].repeat(1, 64), LOSSES)
    assert set(combined.tolist()) == {5.0, -5.0}


def test_a_full_leak_is_the_plain_sum():
    jacobian = random_jacobian()
    combined = build("graddrop", 4, leak=[1.0] * 4).combine(jacobian, LOSSES)
    torch.testing.assert_close(combined, jacobian.sum(dim=0), rtol=1e-13, atol=1e-14)


def test_a_zero_column_is_zero_and_a_zero_row_adds_nothing():
    jacobian = random_jacobian()
    jacobian[:, 5] = 0
    jacobian[2] = 0
    combined = build("graddrop", 4).combine(jacobian, LOSSES)
    assert combined[5] == 0
    torch.testing.assert_close(
        combined, build("graddrop", 3).combine(jacobian[[0, 1, 3]], LOSSES[:3]), rtol=1e-14, atol=0
    )


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_entry_shows_in_its_coordinate_alone(value):
    jacobian = random_jacobian()
    jacobian[1, 7] = value
    finite = build("graddrop", 4).combine(jacobian, LOSSES).isfinite()
    assert not finite[7]
    assert finite.sum() == 199


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_the_update_is_of_degree_one(scale):
    jacobian = random_jacobian()
    expected = scale * build("graddrop", 4).combine(jacobian, LOSSES)
    torch.testing.assert_close(build("graddrop", 4).combine(scale * jacobian, LOSSES), expected, rtol=1e-9, atol=0)


def test_the_type_of_the_gradient_does_not_change_the_draws():
    jacobian = random_jacobian(columns=2000).float()
    narrow, wide = (build("graddrop", 4).combine(own, LOSSES) for own in (jacobian, jacobian.double()))
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=1e-5)


def test_draws_follow_the_seed_and_continue_from_a_state():
    jacobian = random_jacobian()
    run, again, other = (build("graddrop", 4, seed) for seed in (0, 0, 1))
    first, second = run.combine(jacobian, LOSSES), run.combine(jacobian, LOSSES)
    assert not torch.equal(first, second)
    assert torch.equal(again.combine(jacobian, LOSSES), first)
    assert not torch.equal(other.combine(jacobian, LOSSES), first)
    other.load_state_dict(again.state_dict())
    assert torch.equal(other.combine(jacobian, LOSSES), second)


def test_leaks_are_checked():
    with pytest.raises(ConfigError, match="leak needs one value for each of the 3 tasks, found"):
        build("graddrop", 3, leak=[0.5])
    with pytest.raises(ConfigError, match="leak must lie between 0 and 1 for every task"):
        build("graddrop", 2, leak=[0.5, 1.5])
