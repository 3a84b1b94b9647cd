import numpy as np
import pytest
import torch

from tasktrace.methods import NonFiniteError, build


def literal(jacobians, losses, beta, decay):
    """The algorithm on lists of vectors, step by step; the last update."""
    averages = [np.zeros(jacobians[0].shape[1]) for _ in losses[0]]
    for step, (rows, values) in enumerate(zip(jacobians, losses, strict=True), start=1):
        share = beta / step**decay
        averages = [share * a + (1 - share) * g / v for a, g, v in zip(averages, rows, values, strict=True)]
        lengths = [np.sqrt((a**2).sum()) for a in averages]
        update = sum((max(lengths) / length * a for length, a in zip(lengths, averages, strict=True)), start=0.0)
    return update


@pytest.mark.parametrize(("beta", "decay"), [(0.9, 0.0), (0.5, 0.5)])
def test_it_is_the_algorithm(beta, decay):
    rng = np.random.default_rng(0)
    jacobians, losses = rng.normal(size=(5, 3, 7)), rng.uniform(0.1, 2, size=(5, 3))
    method = build("db_mtl", 3, beta=beta, decay=decay)
    for rows, values in zip(jacobians, losses, strict=True):
        update = method.combine(torch.from_numpy(rows), torch.from_numpy(values))
    np.testing.assert_allclose(update, literal(jacobians, losses, beta, decay), rtol=1e-12)


def test_every_task_pulls_with_the_same_length_whatever_the_unit_of_its_loss():
    rows, losses = torch.eye(3, 5, dtype=torch.float64) * 4, torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    update = build("db_mtl", 3, beta=0.0).combine(rows, losses)
    assert update[:3].tolist() == pytest.approx([4.0, 4.0, 4.0])
    scale = torch.tensor([1.0, 100.0, 0.01], dtype=torch.float64)
    torch.testing.assert_close(build("db_mtl", 3, beta=0.0).combine(rows * scale[:, None], losses * scale), update)


@pytest.mark.parametrize("factor", [1e-12, 1e-6, 1e6, 1e12])
def test_the_update_is_of_degree_one(factor):
    rows, losses = torch.randn(4, 9, dtype=torch.float64), torch.rand(4, dtype=torch.float64) + 0.1
    update = build("db_mtl", 4).combine(rows, losses)
    torch.testing.assert_close(build("db_mtl", 4).combine(factor * rows, losses), factor * update, rtol=1e-9, atol=0)


def test_a_zero_gradient_adds_nothing():
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=torch.float64)
    update = build("db_mtl", 2, beta=0.0).combine(rows, torch.ones(2, dtype=torch.float64))
    assert update.tolist() == [3.0, 4.0]


@pytest.mark.parametrize("loss", [0.0, -1.0, float("nan"), float("inf")])
def test_a_loss_without_logarithm_names_its_task(loss):
    with pytest.raises(NonFiniteError) as caught:
        build("db_mtl", 2).combine(torch.ones(2, 3), torch.tensor([1.0, loss]))
    assert caught.value.task == 1
