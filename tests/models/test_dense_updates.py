"""Every way of updating takes features and outputs that are maps, with batch statistics in encoder and heads."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from tasktrace.methods import build
from tasktrace.models import MultiTaskModel
from tasktrace.training.updates import Batch, Parts, build_update

TASKS, SIZE = 3, 4


def dense_model() -> MultiTaskModel:
    torch.manual_seed(0)
    encoder = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Conv2d(4, 5, 3, padding=1, stride=2),
        nn.BatchNorm2d(5),
        nn.Tanh(),
    )
    heads: dict[str, nn.Module] = {
        f"task{task}": nn.Sequential(nn.Conv2d(5, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 2, 1))
        for task in range(TASKS)
    }
    return MultiTaskModel(encoder, heads).double().to(memory_format=torch.channels_last)


def batch_of(shared: bool) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SIZE if shared else SIZE * TASKS, 2, 6, 8, generator=generator, dtype=torch.float64)
    targets = [torch.randint(2, (SIZE, 3, 4), generator=generator) for _ in range(TASKS)]
    return Batch(inputs, targets, shared)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


def parts_of(model):
    return Parts(model, list(model.heads.values()), [functional.cross_entropy] * TASKS)


def obvious(model, batch):
    """Losses (T,), rows (T, P), gradients of the features (T, D) and of the heads, from a pass for each task."""
    encoder = list(model.encoder.parameters())
    losses, rows, cotangents, plain = [], [], [], []
    for head, inputs, targets in zip(model.heads.values(), batch.own(), batch.targets, strict=True):
        features = model.encoder(inputs)
        loss = functional.cross_entropy(head(features), targets)
        own = list(head.parameters())
        gradients = torch.autograd.grad(loss, [features, *encoder, *own])
        losses.append(loss.detach())
        cotangents.append(gradients[0].flatten())
        rows.append(torch.cat([gradient.flatten() for gradient in gradients[1 : len(encoder) + 1]]))
        plain += gradients[len(encoder) + 1 :]
    return torch.stack(losses), torch.stack(rows), torch.stack(cotangents), plain


def combined(name, losses, rows, cotangents, shared):
    if name == "mgda_ub":
        products = cotangents @ cotangents.T
        return build(name, TASKS, 7).weights(products if shared else products.diagonal().diag(), losses) @ rows
    return build(name, TASKS, 7).combine(rows, losses)


@pytest.mark.parametrize("shared", [True, False], ids=["shared inputs", "own inputs"])
@pytest.mark.parametrize(
    ("name", "jacobian"),
    [
        ("umtg", "full"),
        ("uw_o", "full"),
        ("pcgrad", "full"),
        ("graddrop", "full"),
        ("mgda_ub", "full"),
        ("cagrad", "chunked"),
    ],
)
def test_maps_are_combined_as_vectors_are(name, jacobian, shared):
    model, batch = dense_model(), batch_of(shared)
    losses, rows, cotangents, plain = obvious(copy.deepcopy(model), batch)
    found = build_update(parts_of(model), build(name, TASKS, 7), sgd, 0.1, jacobian).gradients(batch)
    torch.testing.assert_close(found, losses)
    shared_gradient = torch.cat([own.grad.flatten() for own in model.encoder.parameters()])
    if name == "graddrop":  # draws for each coordinate in the order of memory
        assert ((shared_gradient - rows.sum(0)).abs() > 0).any()
    else:
        torch.testing.assert_close(shared_gradient, combined(name, losses, rows, cotangents, shared))
    heads = [own.grad for head in model.heads.values() for own in head.parameters()]
    torch.testing.assert_close(heads, plain)


def test_tasks_that_step_one_after_the_other_take_maps():
    model, batch = dense_model(), batch_of(shared=True)
    expected = copy.deepcopy(model)
    build_update(parts_of(model), build("mtl_io", TASKS, 7), sgd, 0.1).step(batch)
    for head, targets in zip(expected.heads.values(), batch.targets, strict=True):
        optimizer = sgd([*expected.encoder.parameters(), *head.parameters()])
        optimizer.zero_grad()
        functional.cross_entropy(head(expected.encoder(batch.inputs)), targets).backward()
        optimizer.step()
    torch.testing.assert_close(dict(model.state_dict()), dict(expected.state_dict()))
