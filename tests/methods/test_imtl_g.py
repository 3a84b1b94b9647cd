"""IMTL-G, against the paper's formula on the matrix itself and its defining property."""

import pytest
import torch

from tasktrace.methods import build


def update(jacobian):
    return build("imtl_g", len(jacobian)).combine(jacobian, torch.ones(len(jacobian)))


def papers_formula(jacobian):
    """alpha_{2:T} = g_1 U' (D U')^-1, alpha_1 = 1 - sum of the others."""
    units = jacobian / jacobian.norm(dim=1, keepdim=True)
    to_units, to_rows = units[0] - units[1:], jacobian[0] - jacobian[1:]
    others = torch.linalg.solve((to_rows @ to_units.T).T, to_units @ jacobian[0])
    return torch.cat((1 - others.sum()[None], others))


def independent(jacobian):
    return bool(jacobian.any(dim=1).all()) and bool(
        torch.linalg.matrix_rank(jacobian / jacobian.norm(dim=1, keepdim=True), rtol=1e-6) == len(jacobian)
    )


def test_the_papers_formula(jacobian):
    if not independent(jacobian):
        return
    alpha = papers_formula(jacobian / jacobian.abs().max())
    condition = float(torch.linalg.cond(jacobian))
    atol = 1e-12 * condition * float(jacobian.norm(dim=1).min())
    assert torch.allclose(update(jacobian), alpha @ jacobian, rtol=0, atol=atol)


def test_projections_on_all_gradients_are_equal(jacobian):
    live = jacobian[jacobian.any(dim=1)]
    if not independent(live):
        return
    projections = live @ update(jacobian) / live.norm(dim=1)
    assert torch.allclose(projections, projections.mean().expand_as(projections), rtol=1e-9, atol=0)


def test_weights_sum_to_one_and_spare_zero_gradients(jacobian):
    weights = build("imtl_g", len(jacobian)).weights(jacobian @ jacobian.T, torch.ones(len(jacobian)))
    assert float(weights.sum()) == pytest.approx(1, rel=1e-9 * float(weights.abs().sum()))
    silent = ~jacobian.any(dim=1)
    if not silent.all():
        assert not weights[silent].any()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 0.0], [0.0, 3.0]], [0.75, 0.75]),
        ([[2.0, 1.0], [2.0, 1.0]], [2.0, 1.0]),
        ([[1.0, 0.0], [2.0, 0.0]], [1.2, 0.0]),
        ([[1.0, 2.0], [-3.0, -6.0]], [0.0, 0.0]),
        ([[1.0, 0.0], [0.0, 0.0]], [1.0, 0.0]),
        ([[0.0, 0.0], [0.0, 0.0]], [0.0, 0.0]),
    ],
    ids=["orthogonal", "equal", "parallel", "opposing", "zero-row", "all-zero"],
)
def test_by_hand(rows, expected):
    # parallel: x_1 + x_2 / 2 = 1 with the least squares is x = (4/5, 2/5), and d = x_1 + x_2
    combined = update(torch.tensor(rows, dtype=torch.float64))
    assert torch.allclose(combined, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)
