"""Which way of updating a method takes."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

from tasktrace.errors import ConfigError
from tasktrace.methods import FeatureWeighting, GramianWeighting, LossWeighting, Method
from tasktrace.training.updates.base import Parts, Update
from tasktrace.training.updates.chunked import ChunkedGramian
from tasktrace.training.updates.features import FeatureGradients
from tasktrace.training.updates.jacobian import TaskGradients
from tasktrace.training.updates.sequential import OneAfterTheOther
from tasktrace.training.updates.weighted import WeightedLosses

MakeOptimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


def build_update(
    parts: Parts,
    method: Method,
    make: MakeOptimizer,
    learning_rate: float,
    jacobian: Literal["full", "chunked"] = "full",
) -> Update:
    """The update of a method.

    Args:
        parts: The model by the roles of its parameters.
        method: The method.
        make: Makes the run's optimizer for a list of parameters.
        learning_rate: The run's learning rate, for methods that replace the optimizer of the shared parameters.
        jacobian: ``chunked`` to do without the whole Jacobian in memory.

    Raises:
        ConfigError: ``chunked`` for a method that needs the whole Jacobian.
    """
    if method.one_after_the_other:
        return OneAfterTheOther(parts, [make([*parts.shared, *head.parameters()]) for head in parts.heads])
    optimizers = _optimizers(parts, method, make, learning_rate)
    if isinstance(method, LossWeighting):
        return WeightedLosses(parts, optimizers, method)
    if isinstance(method, FeatureWeighting):
        return FeatureGradients(parts, optimizers, method)
    if jacobian == "full":
        return TaskGradients(parts, optimizers, method, suits_batching(parts))
    if method.needs_coordinates or not isinstance(method, GramianWeighting):
        raise ConfigError(f"jacobian: chunked does not serve {type(method).__module__}, which needs every coordinate")
    return ChunkedGramian(parts, optimizers, method)


def suits_batching(parts: Parts) -> bool:
    """Whether all tasks go down the encoder in one vectorised pass.

    A GPU waits for launches, which this saves. A CPU does not, and is faster in a loop.
    """
    return parts.shared[0].is_cuda and not parts.model.uses_batch_statistics


def _optimizers(parts: Parts, method: Method, make: MakeOptimizer, learning_rate: float) -> list[torch.optim.Optimizer]:
    heads = [parameter for head in parts.heads for parameter in head.parameters()]
    if method.replaces_optimizer:
        return [torch.optim.SGD(parts.shared, lr=learning_rate, fused=True), make(heads)]
    return [make([*parts.shared, *heads, *method.parameters()])]
