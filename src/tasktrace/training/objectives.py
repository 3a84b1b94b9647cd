"""The losses and metrics that tasks name."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Objective = Callable[[Tensor, Tensor], Tensor]
"""Outputs (N, O) and targets (N,) to a scalar tensor."""


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of samples whose largest output is their class."""
    return (outputs.argmax(dim=1) == targets).double().mean()


def absolute_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference of the only output and the target, in the target's units."""
    return (outputs.squeeze(1) - targets).abs().mean()


def relative_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference over the target's size, for targets other than zero."""
    known = targets != 0
    return ((outputs.squeeze(1) - targets)[known] / targets[known]).abs().mean()


LOSSES: dict[str, Objective] = {"cross_entropy": functional.cross_entropy, "l1": absolute_error}
"""Mean over samples; cross-entropy in nats, l1 in the target's units."""

METRICS: dict[str, Objective] = {
    "accuracy": accuracy,
    "absolute_error": absolute_error,
    "relative_error": relative_error,
}
