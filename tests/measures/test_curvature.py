"""Hessian trace and largest eigenvalue against the dense Hessian."""

import copy
import math

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import aslinearoperator
from torch.func import functional_call

from tasktrace.measures import curvature
from tasktrace.measures.curvature import Measure, Options, trace_estimate


def dense_hessian(subject, parameters="model"):
    """Second derivatives of the mean loss over the sample."""
    chosen = {name: own.detach() for name, own in subject.model.chosen(parameters).items()}
    shapes = [own.shape for own in chosen.values()]

    def loss(flat):
        parts = flat.split([shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(chosen, parts, shapes, strict=True)}
        return subject.loss(functional_call(subject.model, values, subject.sample.inputs), subject.sample.targets)

    return torch.autograd.functional.hessian(loss, torch.cat([own.flatten() for own in chosen.values()]))


def measured(subject, **options):
    trace, largest = Measure(Options(**{"batch_size": 4, "probes": 10, "deflated": 3, **options})).measure(subject)
    assert (trace.name, largest.name) == ("hessian_trace", "largest_eigenvalue")
    return trace, largest


@pytest.mark.parametrize("deflated", [0, 4])
@pytest.mark.parametrize("parameters", ["model", "encoder"])
@pytest.mark.parametrize("net", ["mlp", "conv_net"])
def test_trace_and_largest_eigenvalue_are_those_of_the_dense_hessian(make_subject, net, parameters, deflated):
    subject = make_subject(net, seed=deflated)
    dense = dense_hessian(subject, parameters)
    eigenvalues = torch.linalg.eigvalsh(dense)
    options = {"parameters": parameters, "deflated": deflated, "probes": 40, "tolerance": 1e-8}
    trace, largest = measured(subject, **options)
    assert 0 < abs(trace.value - float(dense.trace())) < 3 * trace.stderr
    assert trace.stderr < 0.3 * float(torch.linalg.matrix_norm(dense))  # sqrt(2 / 40) = 0.22
    assert largest.value == pytest.approx(float(eigenvalues[-1]), rel=1e-7)
    assert math.isnan(largest.stderr)


def test_the_size_of_batches_changes_nothing(make_subject):
    whole = measured(make_subject(), batch_size=100)
    for own, expected in zip(measured(make_subject(), batch_size=3), whole, strict=True):
        assert own.value == pytest.approx(expected.value, rel=1e-9)


def symmetric(eigenvalues, seed=0):
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(len(eigenvalues), len(eigenvalues), generator=generator, dtype=torch.float64)).Q
    return basis @ torch.diag(torch.as_tensor(eigenvalues, dtype=torch.float64)) @ basis.T


@pytest.mark.parametrize("deflated", [0, 2])
def test_the_trace_is_unbiased_and_its_standard_error_honest(deflated):
    operator = symmetric(np.linspace(-1, 3, 20))
    generator = torch.Generator().manual_seed(1)
    found = np.array([trace_estimate(operator, deflated, 5, generator) for _ in range(400)])
    spread = found[:, 0].std()
    assert abs(found[:, 0].mean() - 20.0) < 3 * spread / 20
    assert np.sqrt(np.square(found[:, 1]).mean()) == pytest.approx(spread, rel=0.1)


def test_a_sketch_takes_large_eigenvalues_out_of_the_noise():
    operator = symmetric([100.0, 50.0, -30.0, *np.linspace(0, 0.1, 37)])
    generator = torch.Generator().manual_seed(2)
    without, with_sketch = (trace_estimate(operator, deflated, 20, generator) for deflated in (0, 3))
    assert with_sketch[1] < 0.01 * without[1]
    value, error = trace_estimate(symmetric([2.0, 1.0, 0.0]), 5, 2, generator)  # wider than the operator
    assert value == pytest.approx(3.0, abs=1e-10)
    assert error == pytest.approx(0.0, abs=1e-10)


def test_nothing_is_left_changed_and_the_generator_decides(make_subject):
    subject = make_subject("conv_net")
    state, random = copy.deepcopy(subject.model.state_dict()), torch.random.get_rng_state()
    first = measured(subject)
    assert [own.value for own in measured(subject)] == [own.value for own in first]
    assert all(torch.equal(value, state[name]) for name, value in subject.model.state_dict().items())
    assert all(own.grad is None and own.requires_grad for own in subject.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert measured(make_subject("conv_net", seed=1))[0].value != first[0].value


def test_what_has_no_answer_is_no_number(make_subject):
    subject = make_subject()
    next(subject.model.parameters()).data[:] = torch.nan
    assert all(math.isnan(own.value) for own in measured(subject))


class Scipy:
    """A matrix as what curvlinops gives SciPy."""

    def __init__(self, matrix):
        self.shape, self._matrix = matrix.shape, matrix.numpy()

    def to_scipy(self, dtype):
        return aslinearoperator(self._matrix.astype(dtype))


@pytest.mark.parametrize(("iterations", "expected"), [(1, math.nan), (100, 3.0)])
def test_an_eigenvalue_that_is_not_found_is_no_number(iterations, expected):
    operator = Scipy(symmetric(np.linspace(-5, 3, 200)))  # the largest, not the largest in size
    found = curvature.largest_eigenvalue(operator, 1e-9, iterations, torch.Generator().manual_seed(0))
    assert found == pytest.approx(expected, rel=1e-8, nan_ok=True)


def test_a_loss_that_is_flat_has_no_curvature(make_subject):
    subject = make_subject()
    subject.model.head.weight.data.zero_()
    trace, largest = measured(subject, parameters="encoder")
    assert (trace.value, trace.stderr, largest.value) == (0.0, 0.0, 0.0)


def test_curvlinops_is_imported_when_it_is_needed():
    assert not hasattr(curvature, "HessianLinearOperator")


@pytest.mark.parametrize(
    "options",
    [{"samples": 0}, {"batch_size": 0}, {"probes": 1}, {"deflated": -1}, {"tolerance": 0.0}, {"iterations": 0}],
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be at least"):
        Options(**options)
