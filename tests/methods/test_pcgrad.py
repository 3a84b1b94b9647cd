"""PCGrad against the algorithm on explicit gradients, its expectation over all orders, and its properties."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.methods import NonFiniteError, build, gramian
from tasktrace.methods.drawing import method_generator, other_tasks
from tasktrace.methods.pcgrad import projected_sum

JACOBIAN = torch.tensor([[1.0, -2.0, 0.5], [-4.0, 2.0, -0.5], [-2.0, -3.0, 6.0], [0.5, 1.0, -3.0]], dtype=torch.float64)


def losses(jacobian):
    return torch.ones(len(jacobian), dtype=torch.float64)


def surgery(jacobian, orders):
    """Algorithm 1 on vectors, one after the other."""
    gradients = jacobian.numpy()
    projected = [gradient.copy() for gradient in gradients]
    for task, order in enumerate(orders):
        for other in order:
            product = projected[task] @ gradients[other]
            if product < 0:
                projected[task] -= product / (gradients[other] @ gradients[other]) * gradients[other]
    return torch.from_numpy(np.sum(projected, axis=0))


def all_orders(tasks):
    return itertools.product(*(itertools.permutations([j for j in range(tasks) if j != t]) for t in range(tasks)))


def random_jacobian(tasks, columns, seed=0):
    return torch.randn(tasks, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tasks", [2, 3, 4])
def test_every_order_gives_the_algorithm_on_vectors(tasks):
    jacobian = JACOBIAN[:tasks]
    results = set()
    for orders in all_orders(tasks):
        weights = projected_sum(gramian(jacobian).numpy(), np.array(orders))
        expected = surgery(jacobian, orders)
        torch.testing.assert_close(torch.from_numpy(weights) @ jacobian, expected, rtol=1e-12, atol=1e-12)
        results.add(tuple(expected.numpy().round(9)))
    assert len(results) > 1 or tasks == 2  # the order matters here


def test_twenty_tasks_in_the_orders_that_the_generator_draws():
    jacobian = random_jacobian(20, 12)
    orders = other_tasks(20, method_generator(3, "pcgrad"))
    expected = surgery(jacobian, orders)
    assert not torch.allclose(expected, jacobian.sum(dim=0), rtol=0.1)
    torch.testing.assert_close(
        build("pcgrad", 20, seed=3).combine(jacobian, losses(jacobian)), expected, rtol=1e-9, atol=0
    )


@pytest.mark.parametrize(("tasks", "draws"), [(3, 4000), (4, 4000)])
def test_the_mean_over_draws_is_the_mean_over_all_orders(tasks, draws):
    jacobian = JACOBIAN[:tasks]
    exact = torch.stack([surgery(jacobian, orders) for orders in all_orders(tasks)])
    method = build("pcgrad", tasks)
    drawn = torch.stack([method.combine(jacobian, losses(jacobian)) for _ in range(draws)])
    errors = exact.std(dim=0, correction=0) / math.sqrt(draws)
    assert errors.max() > 0
    assert ((drawn.mean(dim=0) - exact.mean(dim=0)).abs() < 5 * errors + 1e-12).all()


def test_every_order_of_the_others_is_equally_likely():
    generator = method_generator(0, "pcgrad")
    counts = {}
    for _ in range(3000):
        for task, others in enumerate(other_tasks(4, generator)):
            assert sorted([task, *others]) == [0, 1, 2, 3]
            counts[task, tuple(others)] = counts.get((task, tuple(others)), 0) + 1
    assert len(counts) == 24
    assert max(abs(count - 500) for count in counts.values()) < 5 * math.sqrt(500)


@given(st.integers(0, 10**6), st.integers(2, 6))
def test_without_conflict_it_is_the_plain_sum(seed, tasks):
    jacobian = random_jacobian(tasks, 5, seed).abs()
    weights = build("pcgrad", tasks, seed).weights(gramian(jacobian), losses(jacobian))
    assert weights.tolist() == [1.0] * tasks


@given(st.integers(0, 10**6))
def test_two_tasks_end_up_orthogonal_to_each_other(seed):
    jacobian = random_jacobian(2, 4, seed)
    if jacobian[0] @ jacobian[1] >= 0:
        jacobian[1] *= -1
    combined = build("pcgrad", 2).combine(jacobian, losses(jacobian))
    first = jacobian[0] - (jacobian[0] @ jacobian[1]) / jacobian[1].square().sum() * jacobian[1]
    second = jacobian[1] - (jacobian[0] @ jacobian[1]) / jacobian[0].square().sum() * jacobian[0]
    torch.testing.assert_close(combined, first + second, rtol=1e-10, atol=1e-12)
    assert (combined @ jacobian.T >= -1e-9).all()


def test_the_mean_is_the_sum_over_the_number_of_tasks():
    total = build("pcgrad", 4, seed=1).combine(JACOBIAN, losses(JACOBIAN))
    mean = build("pcgrad", 4, seed=1, reduction="mean").combine(JACOBIAN, losses(JACOBIAN))
    torch.testing.assert_close(mean, total / 4, rtol=1e-14, atol=0)


def test_draws_follow_the_seed_and_continue_from_a_state():
    jacobian = random_jacobian(6, 4)
    runs = {seed: build("pcgrad", 6, seed) for seed in (0, 1)}
    again = build("pcgrad", 6, 0)

    def steps(method):
        return torch.stack([method.combine(jacobian, losses(jacobian)) for _ in range(4)])

    first = steps(runs[0])
    assert len(first.unique(dim=0)) > 1  # fresh orders at every step
    assert torch.equal(steps(again), first)
    assert not torch.equal(steps(runs[1]), first)
    resumed = build("pcgrad", 6, 5)
    resumed.load_state_dict(runs[0].state_dict())
    assert torch.equal(steps(resumed), steps(runs[0]))


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e3, 1e12])
def test_the_update_is_of_degree_one(scale):
    jacobian = random_jacobian(5, 4)
    expected = scale * build("pcgrad", 5).combine(jacobian, losses(jacobian))
    torch.testing.assert_close(
        build("pcgrad", 5).combine(scale * jacobian, losses(jacobian)), expected, rtol=1e-9, atol=0
    )


def test_a_zero_gradient_changes_nothing():
    jacobian = JACOBIAN.clone()
    jacobian[1] = 0
    weights = build("pcgrad", 4).weights(gramian(jacobian), losses(jacobian))
    rest = projected_sum(gramian(jacobian[[0, 2, 3]]).numpy(), np.array([[1, 2], [0, 2], [0, 1]]))
    assert weights[1] == 1
    assert torch.isfinite(weights).all()
    assert build("pcgrad", 2).combine(torch.zeros(2, 3), torch.ones(2)).tolist() == [0.0, 0.0, 0.0]
    assert not np.array_equal(rest, np.ones(3))  # the others do conflict
    orders = np.array([[1, 2, 3], [0, 2, 3], [1, 0, 3], [1, 0, 2]])
    np.testing.assert_allclose(projected_sum(gramian(jacobian).numpy(), orders)[[0, 2, 3]], rest, rtol=1e-14)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_non_finite_gradient_names_its_task(value):
    jacobian = JACOBIAN.clone()
    jacobian[2, 1] = value
    with pytest.raises(NonFiniteError, match="task 2: its gradient is not finite") as caught:
        build("pcgrad", 4).combine(jacobian, losses(jacobian))
    assert caught.value.task == 2


def test_tasks_in_another_order_get_the_same_weights():
    products, orders = gramian(random_jacobian(6, 4)).numpy(), other_tasks(6, method_generator(0, "any"))
    shuffle = np.array([3, 0, 5, 1, 4, 2])
    renamed = np.argsort(shuffle)[orders[shuffle]]
    found = projected_sum(products[np.ix_(shuffle, shuffle)], renamed)
    np.testing.assert_allclose(found, projected_sum(products, orders)[shuffle], rtol=1e-12)


def test_one_task_keeps_its_gradient():
    assert torch.equal(build("pcgrad", 1).combine(JACOBIAN[:1], torch.ones(1)), JACOBIAN[0])
