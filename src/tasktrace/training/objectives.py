"""The losses and metrics that tasks name."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Objective = Callable[[Tensor, Tensor], Tensor]
"""Outputs (N, O) and targets (N,) to a scalar tensor."""


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose largest output is their class."""
    return (outputs.argmax(dim=1) == targets).double().mean()


LOSSES: dict[str, Objective] = {"cross_entropy": functional.cross_entropy}
"""Mean over samples; cross-entropy in nats."""

METRICS: dict[str, Objective] = {"accuracy": accuracy}
