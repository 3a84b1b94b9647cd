"""Aligned-MTL, against the singular value decomposition of the matrix itself."""

import pytest
import torch

from tasktrace.methods import build

SCALES = ["min", "median", "rmse"]


def reference(jacobian, scale):
    """sigma sum over the kept components of (1'v) w', where the matrix is the sum of lambda^1/2 v w'."""
    left, values, right = torch.linalg.svd(jacobian, full_matrices=False)
    kept = values**2 > values[0] ** 2 * len(jacobian) * torch.finfo(torch.float64).eps
    left, values, right = left[:, kept], values[kept], right[kept]
    squares = values**2
    chosen = {"min": squares.min, "median": squares.median, "rmse": squares.mean}[scale]() if len(values) else 0
    return chosen**0.5 * left.sum(dim=0) @ right


@pytest.mark.parametrize("scale", SCALES)
def test_the_decomposition_of_the_matrix_itself(jacobian, scale):
    tasks = len(jacobian)
    combined = build("aligned_mtl", tasks, scale=scale).combine(jacobian, torch.ones(tasks))
    expected = reference(jacobian, scale)
    length = tasks**0.5 * float(torch.linalg.matrix_norm(jacobian, 2))
    atol = 1e-9 * float(expected.norm()) + 1e-13 * length
    assert torch.allclose(combined, expected, rtol=0, atol=atol)


def test_orthogonal_gradients_get_the_length_of_the_shortest():
    jacobian = torch.diag(torch.tensor([2.0, 3.0, 7.0], dtype=torch.float64))
    for scale, length in [("min", 2.0), ("median", 3.0), ("rmse", (62 / 3) ** 0.5)]:
        combined = build("aligned_mtl", 3, scale=scale).combine(jacobian, torch.ones(3))
        assert combined.tolist() == pytest.approx([length] * 3, rel=1e-12)


def test_of_two_middle_eigenvalues_the_lower_is_the_median():
    jacobian = torch.diag(torch.tensor([2.0, 3.0, 5.0, 7.0], dtype=torch.float64))
    combined = build("aligned_mtl", 4, scale="median").combine(jacobian, torch.ones(4))
    assert combined.tolist() == pytest.approx([3.0] * 4, rel=1e-12)


def test_a_zero_gradient_has_no_weight_and_changes_nothing():
    jacobian = torch.randn(3, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with_zero = torch.cat((jacobian[:2], torch.zeros(1, 7, dtype=torch.float64), jacobian[2:]))
    weights = build("aligned_mtl", 4).weights(with_zero @ with_zero.T, torch.ones(4))
    assert weights[2] == 0
    alone = build("aligned_mtl", 3).weights(jacobian @ jacobian.T, torch.ones(3))
    assert torch.allclose(weights[[0, 1, 3]], alone, rtol=1e-12)
