"""MGDA and MGDA-UB: normalisations, non-conflict and degenerate gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.methods import build
from tasktrace.methods.base import FeatureWeighting, NonFiniteError
from tasktrace.methods.mgda import NegativeLossError

NORMALIZATIONS = ["none", "l2", "loss", "loss+"]


def some_losses(tasks):
    return torch.linspace(0.2, 3.0, tasks, dtype=torch.float64)


def sizes(jacobian, losses, normalization):
    norms = jacobian.norm(dim=1)
    return {"none": torch.ones_like(norms), "l2": norms, "loss": losses, "loss+": losses * norms}[normalization]


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_update_is_the_shortest_combination_of_divided_gradients(jacobian, normalization):
    tasks = len(jacobian)
    losses = some_losses(tasks)
    combined = build("mgda", tasks, normalization=normalization).combine(jacobian, losses)
    if not jacobian.any(dim=1).all():
        assert not combined.any()
        return
    divided = jacobian / sizes(jacobian, losses, normalization)[:, None]
    expected = build("mgda", tasks).combine(divided, losses)
    atol = 1e-10 * float(divided.norm(dim=1).max())
    assert torch.allclose(combined, expected, rtol=0, atol=atol)
    # and it conflicts with no task
    square = float(combined @ combined)
    slack = divided @ combined - square * (1 - 1e-9)
    assert (slack >= -1e-13 * divided.norm(dim=1) * divided.norm(dim=1).max()).all()


@given(st.integers(2, 10), st.integers(2, 10), st.integers(0, 10**6), st.sampled_from(NORMALIZATIONS))
def test_no_task_is_in_conflict(tasks, width, seed, normalization):
    generator = torch.Generator().manual_seed(seed)
    jacobian = torch.randn(tasks, width, generator=generator, dtype=torch.float64)
    jacobian *= 10.0 ** torch.randint(-3, 4, (tasks, 1), generator=generator)
    losses = torch.rand(tasks, generator=generator, dtype=torch.float64) + 0.01
    divided = jacobian / sizes(jacobian, losses, normalization)[:, None]
    weights = build("mgda", tasks, normalization=normalization).weights(jacobian @ jacobian.T, losses)
    combined = weights @ jacobian
    shares = weights * sizes(jacobian, losses, normalization)
    assert shares.min() >= 0
    assert float(shares.sum()) == pytest.approx(1, rel=1e-12)
    rounding = 1e-14 * tasks * divided.norm(dim=1) * float(shares @ divided.norm(dim=1))
    assert (divided @ combined >= float(combined @ combined) * (1 - 1e-9) - rounding).all()


def test_by_hand():
    jacobian = torch.tensor([[2.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    losses = torch.tensor([1.0, 0.5], dtype=torch.float64)
    expected = {"none": [1.6, 0.8], "l2": [0.5, 0.5], "loss": [32 / 17, 8 / 17]}
    expected["loss+"] = [0.8 * 1.0, 0.2 * 2.0]  # unit gradients divided by 1 and 0.5: shares 4/5 and 1/5
    for normalization, values in expected.items():
        combined = build("mgda", 2, normalization=normalization).combine(jacobian, losses)
        assert torch.allclose(combined, torch.tensor(values, dtype=torch.float64), rtol=1e-12)


def test_a_zero_loss_is_the_limit_of_small_ones():
    jacobian = torch.tensor([[1.0, 0.2], [-0.5, 1.0], [3.0, 3.0]], dtype=torch.float64)
    for normalization in ("loss", "loss+"):
        method = build("mgda", 3, normalization=normalization)
        exact = method.combine(jacobian, torch.tensor([0.0, 1.0, 2.0]))
        near = method.combine(jacobian, torch.tensor([1e-9, 1.0, 2.0], dtype=torch.float64))
        assert torch.allclose(exact, near, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("losses", [[1.0, -0.5], [0.0, 0.0]])
@pytest.mark.parametrize("normalization", ["loss", "loss+"])
def test_losses_that_cannot_divide_are_refused(losses, normalization):
    jacobian = torch.eye(2, dtype=torch.float64)
    with pytest.raises(NegativeLossError, match="needs losses >= 0, not all zero, found"):
        build("mgda", 2, normalization=normalization).combine(jacobian, torch.tensor(losses))
    assert build("mgda", 2).combine(jacobian, torch.tensor(losses)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["mgda", "mgda_ub"])
def test_a_non_finite_loss_matters_only_where_losses_divide(name):
    jacobian, losses = torch.eye(2, dtype=torch.float64), torch.tensor([1.0, torch.inf])
    for normalization in ("none", "l2"):
        assert build(name, 2, normalization=normalization).combine(jacobian, losses).tolist() == [0.5, 0.5]
    for normalization in ("loss", "loss+"):
        with pytest.raises(NonFiniteError, match="task 1: its loss is not finite"):
            build(name, 2, normalization=normalization).combine(jacobian, losses)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_the_upper_bound_is_the_same_rule_on_other_gradients(normalization):
    features = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bound = build("mgda_ub", 4, normalization=normalization)
    assert isinstance(bound, FeatureWeighting)
    expected = build("mgda", 4, normalization=normalization).weights(features @ features.T, some_losses(4))
    assert torch.equal(bound.weights(features @ features.T, some_losses(4)), expected)
