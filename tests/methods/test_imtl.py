"""IMTL: the impartial combination of the gradients of scaled losses, on explicit gradients."""

import pytest
import torch

from tasktrace.methods import NonFiniteError, build

LOSSES = torch.tensor([0.5, 8.0, 2.0], dtype=torch.float64)
JACOBIAN = torch.tensor([[1.0, -2.0, 0.5, 0.1], [-4.0, 2.0, -0.5, 3.0], [-2.0, -3.0, 6.0, 0.0]], dtype=torch.float64)
LOG_FACTORS = [0.75, -1.5, 0.25]


def with_log_factors(values):
    method = build("imtl", len(values))
    method.load_state_dict({"log_factors": torch.tensor(values)})
    return method


def impartial(gradients):
    """IMTL-G's closed form on vectors: the combination with sum-one weights and equal projections on all gradients."""
    units = gradients / gradients.norm(dim=1, keepdim=True)
    differences, unit_differences = gradients[:1] - gradients[1:], units[:1] - units[1:]
    rest = gradients[0] @ unit_differences.T @ torch.linalg.inv(differences @ unit_differences.T)
    return torch.cat([1 - rest.sum(dim=0, keepdim=True), rest]) @ gradients


def test_it_combines_the_scaled_gradients_impartially():
    method = with_log_factors(LOG_FACTORS)
    scaled = torch.tensor(LOG_FACTORS, dtype=torch.float64).exp()[:, None] * JACOBIAN
    combined = method.combine(JACOBIAN, LOSSES)
    torch.testing.assert_close(combined, impartial(scaled), rtol=1e-9, atol=0)
    projections = (JACOBIAN / JACOBIAN.norm(dim=1, keepdim=True)) @ combined
    torch.testing.assert_close(projections, projections[:1].expand(3), rtol=1e-9, atol=0)
    assert not torch.allclose(combined, impartial(JACOBIAN), rtol=0.1)  # the factors matter


def test_it_starts_as_imtl_g():
    expected = build("imtl_g", 3).combine(JACOBIAN, LOSSES)
    torch.testing.assert_close(build("imtl", 3).combine(JACOBIAN, LOSSES), expected, rtol=1e-12, atol=0)


def test_the_factors_move_as_in_imtl_l():
    method = with_log_factors(LOG_FACTORS)
    method.combine(JACOBIAN, LOSSES)
    (learned,) = method.parameters()
    expected = torch.tensor(LOG_FACTORS, dtype=torch.float64).exp() * LOSSES - 1
    torch.testing.assert_close(learned.grad.double(), expected, rtol=1e-6, atol=1e-6)


def test_settled_factors_make_the_update_blind_to_the_scale_of_each_loss():
    scales = torch.tensor([1e-3, 1.0, 1e4], dtype=torch.float64)
    plain = with_log_factors((-LOSSES.log()).tolist()).combine(JACOBIAN, LOSSES)
    scaled = with_log_factors((-(scales * LOSSES).log()).tolist()).combine(scales[:, None] * JACOBIAN, scales * LOSSES)
    torch.testing.assert_close(scaled, plain, rtol=1e-5, atol=0)  # the factors are float32


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_the_update_is_of_degree_one(scale):
    expected = scale * with_log_factors(LOG_FACTORS).combine(JACOBIAN, LOSSES)
    found = with_log_factors(LOG_FACTORS).combine(scale * JACOBIAN, LOSSES)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_a_state_continues():
    run, resumed = with_log_factors(LOG_FACTORS), build("imtl", 3)
    resumed.load_state_dict(run.state_dict())
    assert torch.equal(resumed.combine(JACOBIAN, LOSSES), run.combine(JACOBIAN, LOSSES))


def test_non_finite_values_name_their_task():
    jacobian, losses = JACOBIAN.clone(), LOSSES.clone()
    jacobian[1, 0], losses[2] = torch.nan, torch.inf
    with pytest.raises(NonFiniteError, match="task 1: its gradient is not finite"):
        build("imtl", 3).combine(jacobian, LOSSES)
    with pytest.raises(NonFiniteError, match="task 2: its loss is not finite"):
        build("imtl", 3).combine(JACOBIAN, losses)
