"""What all weightings by inner products have in common: scale, order of the tasks, and non-finite gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktrace.methods import build
from tasktrace.methods.base import NonFiniteError

# name, options, degree of the update in the gradients
WEIGHTINGS = [
    ("mgda", {}, 1),
    ("mgda", {"normalization": "l2"}, 0),
    ("mgda", {"normalization": "loss"}, 1),
    ("mgda_ub", {"normalization": "loss+"}, 0),
    ("cagrad", {}, 1),
    ("cagrad", {"c": 0.99, "rescale": "none"}, 1),
    ("cagrad", {"c": 2.0, "rescale": "linear"}, 1),
    ("nash_mtl", {}, 0),
    ("nash_mtl", {"max_norm": None}, 0),
    ("imtl_g", {}, 1),
    ("aligned_mtl", {}, 1),
    ("aligned_mtl", {"scale": "median"}, 1),
]
FACTORS = [1e-12, 1e-6, 1e6, 1e12]
IDS = ["-".join((name, *map(str, options.values()))) for name, options, _ in WEIGHTINGS]
weightings = pytest.mark.parametrize(("name", "options", "degree"), WEIGHTINGS, ids=IDS)


def some_losses(tasks):
    return torch.linspace(0.2, 3.0, tasks, dtype=torch.float64)


def update(name, options, rows, losses):
    method = build(name, len(rows), **options)
    weights = method.weights(rows @ rows.T, losses)
    return weights @ rows, float(weights.abs() @ rows.norm(dim=1))


def check(name, options, degree, rows, factor, order, scaled):
    """The update of scaled and reordered rows is the scaled update.

    To 1e-9 of its length, or to rounding of the terms of a sum that cancels.
    """
    losses = some_losses(len(rows))
    combined, terms = update(name, options, rows, losses)
    other, _ = update(name, options, scaled(rows, factor, order), losses[order])
    longest = float(rows.norm(dim=1).max()) ** degree
    # near dependence IMTL-G's weights have no bound, and CAGrad's worst case meets its ball at a tangent
    delicate = name in ("imtl_g", "cagrad") and torch.linalg.matrix_rank(rows) < len(rows)
    rounding = 1e-7 if delicate else 1e-12
    tolerance = 1e-9 * float(combined.norm()) + rounding * max(terms, longest if terms else 0.0)
    assert float((other / factor**degree - combined).norm()) <= tolerance


@weightings
@pytest.mark.parametrize("factor", FACTORS)
def test_scale_and_order_on_every_jacobian(jacobian, name, options, degree, factor, scaled):
    order = torch.randperm(len(jacobian), generator=torch.Generator().manual_seed(1))
    check(name, options, degree, jacobian, factor, order, scaled)


@weightings
@settings(max_examples=40)
@given(data=st.data())
def test_scale_and_order_of_whole_numbers(name, options, degree, data, request):
    """Small whole numbers: dependent, opposing, equal and zero rows are frequent."""
    tasks, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    values = data.draw(st.lists(st.integers(-2, 2), min_size=tasks * width, max_size=tasks * width))
    rows = torch.tensor(values, dtype=torch.float64).reshape(tasks, width)
    order = torch.tensor(data.draw(st.permutations(range(tasks))))
    check(name, options, degree, rows, data.draw(st.sampled_from(FACTORS)), order, plain_scaled)


def plain_scaled(rows, factor, order):
    return factor * rows[order]


@weightings
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("tasks", [1, 2, 5])
def test_a_non_finite_gradient_is_an_error_that_names_its_task(name, options, degree, value, tasks):
    rows = torch.randn(tasks, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rows[tasks - 1, 3] = value
    with pytest.raises(NonFiniteError, match=f"task {tasks - 1}: its gradient is not finite") as caught:
        build(name, tasks, **options).combine(rows, some_losses(tasks))
    assert caught.value.task == tasks - 1


@weightings
def test_inputs_are_left_alone_and_outputs_are_new(name, options, degree, jacobian):
    gramian, losses = jacobian @ jacobian.T, some_losses(len(jacobian))
    before = gramian.clone(), losses.clone()
    weights = build(name, len(jacobian), **options).weights(gramian, losses)
    assert (weights.shape, weights.dtype, weights.device.type) == ((len(jacobian),), torch.float64, "cpu")
    assert torch.isfinite(weights).all()
    weights += 1
    assert torch.equal(gramian, before[0])
    assert torch.equal(losses, before[1])
