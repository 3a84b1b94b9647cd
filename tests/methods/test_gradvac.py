"""GradVac against the algorithm on explicit gradients, its meeting point with PCGrad, and its properties."""

import math

import numpy as np
import pytest
import torch

from tasktrace.errors import ConfigError
from tasktrace.methods import NonFiniteError, build, gramian
from tasktrace.methods.drawing import method_generator, other_tasks
from tasktrace.methods.gradvac import turned_sum
from tasktrace.methods.pcgrad import projected_sum


def jacobians(tasks, columns, steps=1, seed=0):
    return torch.randn(steps, tasks, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def losses(jacobian):
    return torch.ones(len(jacobian), dtype=torch.float64)


def vaccine(jacobian, orders, averages, beta):
    """Algorithm 1 on vectors, one after the other; moves ``averages`` on."""
    gradients = jacobian.numpy()
    turned = [gradient.copy() for gradient in gradients]
    for i, order in enumerate(orders):
        for j in order:
            length, other = np.linalg.norm(turned[i]), np.linalg.norm(gradients[j])
            cosine, usual = turned[i] @ gradients[j] / (length * other), averages[i, j]
            if cosine < usual:
                root = math.sqrt(1 - usual**2)
                multiple = length * (usual * math.sqrt(1 - cosine**2) - cosine * root) / (other * root)
                turned[i] += multiple * gradients[j]
            averages[i, j] = (1 - beta) * usual + beta * cosine
    return torch.from_numpy(np.sum(turned, axis=0))


@pytest.mark.parametrize(("tasks", "beta"), [(2, 0.5), (3, 0.5), (8, 0.3), (8, 0.01)])
def test_it_follows_the_algorithm_on_vectors_over_many_steps(tasks, beta):
    steps = 0.7 * jacobians(tasks, 10, steps=12) + 0.4  # mostly positive cosines, so that the averages rise
    method, generator, averages = (
        build("gradvac", tasks, 4, beta=beta),
        method_generator(4, "gradvac"),
        np.zeros((tasks,) * 2),
    )
    turned = 0
    for jacobian in steps:
        expected = vaccine(jacobian, other_tasks(tasks, generator), averages, beta)
        combined = method.combine(jacobian, losses(jacobian))
        torch.testing.assert_close(combined, expected, rtol=1e-9, atol=1e-12)
        turned += not torch.allclose(expected, jacobian.sum(dim=0))
    np.testing.assert_allclose(method.state_dict()["averages"].numpy(), averages, rtol=1e-9)
    assert averages.max() > 0
    assert turned > 3


def test_from_averages_of_zero_it_is_pcgrad():
    jacobian = jacobians(9, 6)[0]
    orders = other_tasks(9, method_generator(0, "any"))
    expected = projected_sum(gramian(jacobian).numpy(), orders)
    assert not np.allclose(expected, 1)
    weights = turned_sum(gramian(jacobian).numpy(), orders, np.zeros((9, 9)), 0.01)
    np.testing.assert_allclose(weights, expected, rtol=1e-9)


def test_a_turned_gradient_has_the_usual_cosine():
    jacobian = torch.tensor([[1.0, 0.2], [-0.3, 1.0]], dtype=torch.float64)
    usual = np.array([[0.0, 0.6], [-1.0, 0.0]])  # the second gradient is left alone
    weights = turned_sum(gramian(jacobian).numpy(), np.array([[1], [0]]), usual.copy(), 0.5)
    turned = torch.from_numpy(weights) @ jacobian - jacobian[1]
    assert float(torch.cosine_similarity(turned, jacobian[1], dim=0)) == pytest.approx(0.6, rel=1e-12)


def test_beta_is_the_weight_of_the_new_cosine():
    jacobian = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    for options, expected in (({}, [0.006, 0.01194]), ({"beta": 0.5}, [0.3, 0.45])):
        method = build("gradvac", 2, **options)
        found = []
        for _ in range(2):
            method.combine(jacobian, losses(jacobian))
            found.append(float(method.state_dict()["averages"][0, 1]))
        assert found == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ConfigError, match=r"beta must be at least 0 and below 1, found 1.5"):
        build("gradvac", 2, beta=1.5)


@pytest.mark.parametrize("factor", [3.0, 0.37, 0.1, 1 / 7])
@pytest.mark.parametrize("entry", [0.3, 0.4, 0.7])
def test_gradients_that_cancel_leave_zero(factor, entry):
    first = torch.tensor([0.1, -0.7, entry], dtype=torch.float64)
    jacobian = torch.stack([first, -factor * first, torch.tensor([0.2, 0.1, 0.9], dtype=torch.float64)])
    averages = np.zeros((3, 3))
    weights = turned_sum(gramian(jacobian).numpy(), np.array([[1, 2], [0, 2], [0, 1]]), averages, 0.5)
    # Tasks 0 and 1 cancel to rounding, which has no cosine with task 2.
    assert averages[0, 1] == pytest.approx(-0.5)
    assert averages[0, 2] == averages[1, 2] == 0
    # What is left is task 2, turned away from whichever of the two it conflicts with.
    orders, pair = np.array([[1], [0]]), gramian(jacobian[[2, 1]]).numpy()
    assert pair[0, 1] < 0
    alone = torch.from_numpy(turned_sum(pair, orders, np.array([[0, 0], [-1.0, 0]]), 0.5)) @ jacobian[[2, 1]]
    torch.testing.assert_close(torch.from_numpy(weights) @ jacobian, alone - jacobian[1], rtol=1e-6, atol=1e-7)


def test_a_usual_cosine_of_one_is_out_of_reach():
    jacobian = torch.tensor([[1.0, 0.2], [-0.3, 1.0]], dtype=torch.float64)
    weights = turned_sum(gramian(jacobian).numpy(), np.array([[1], [0]]), np.ones((2, 2)), 0.5)
    assert weights.tolist() == [1.0, 1.0]


def test_a_state_continues_as_if_nothing_had_happened():
    steps = jacobians(5, 4, steps=8)
    run = build("gradvac", 5, 2, beta=0.4)
    for jacobian in steps[:4]:
        run.combine(jacobian, losses(jacobian))
    resumed = build("gradvac", 5, 9, beta=0.4)
    resumed.load_state_dict(run.state_dict())
    for jacobian in steps[4:]:
        assert torch.equal(resumed.combine(jacobian, losses(jacobian)), run.combine(jacobian, losses(jacobian)))


def test_a_state_is_a_snapshot():
    run = build("gradvac", 3)
    before = run.state_dict()
    run.combine(jacobians(3, 4)[0], torch.ones(3))
    assert before["averages"].abs().sum() == 0
    assert run.state_dict()["averages"].abs().sum() > 0


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_the_update_is_of_degree_one(scale):
    plain, scaled = build("gradvac", 5, beta=0.5), build("gradvac", 5, beta=0.5)
    for jacobian in jacobians(5, 4, steps=3) + 0.5:
        expected = scale * plain.combine(jacobian, losses(jacobian))
        found = scaled.combine(scale * jacobian, losses(jacobian))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


def test_a_zero_gradient_changes_neither_the_others_nor_the_averages():
    jacobian = jacobians(3, 4)[0]
    jacobian[1] = 0
    method = build("gradvac", 3, beta=0.5)
    combined = method.combine(jacobian, losses(jacobian))
    pair = build("gradvac", 2, beta=0.5)
    torch.testing.assert_close(combined, pair.combine(jacobian[[0, 2]], torch.ones(2)), rtol=1e-12, atol=0)
    averages = method.state_dict()["averages"]
    assert averages[1].tolist() == averages[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert averages[0, 2] != 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_non_finite_gradient_names_its_task_and_leaves_the_state(value):
    jacobian = jacobians(4, 3)[0]
    jacobian[3, 0] = value
    method = build("gradvac", 4)
    before = method.state_dict()
    with pytest.raises(NonFiniteError, match="task 3: its gradient is not finite"):
        method.combine(jacobian, losses(jacobian))
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items())


def test_draws_follow_the_seed():
    jacobian = jacobians(8, 3)[0]
    first, same, other = (build("gradvac", 8, seed).combine(jacobian, losses(jacobian)) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
