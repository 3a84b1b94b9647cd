"""Heads fitted to the features of a frozen encoder."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasktrace.training.data import DeviceData, Order
from tasktrace.training.objectives import Objective
from tasktrace.training.optimizers import build_optimizer
from tasktrace.training.tallies import chunk_size

REMEMBERED_BYTES = 2**31
"""Features up to this size are kept, so that the encoder runs once and not once an epoch."""


class Features:
    """What a frozen encoder makes of pictures.

    Args:
        encoder: The encoder, in eval mode.
        data: Says how pixels are normalised.
        pictures: Stored pixels, (n, C, H, W), on the encoder's device.
    """

    def __init__(self, encoder: nn.Module, data: DeviceData, pictures: Tensor) -> None:
        self._encoder, self._data, self._pictures = encoder, data, pictures
        first = self._computed(pictures[:1])
        is_small = first.numel() * first.element_size() * len(pictures) <= REMEMBERED_BYTES
        self._remembered = self._all(pictures) if is_small else None

    def __getitem__(self, positions: Tensor) -> Tensor:
        """The features of the pictures at positions (m,), shape (m, ...)."""
        if self._remembered is not None:
            return self._remembered[positions]
        return self._all(self._pictures[positions])

    def _all(self, pictures: Tensor) -> Tensor:
        return torch.cat([self._computed(own) for own in pictures.split(chunk_size(pictures))])

    def _computed(self, pictures: Tensor) -> Tensor:
        with torch.no_grad():
            features: Tensor = self._encoder(self._data.normalise(pictures))
        return features


@dataclass(frozen=True)
class Fitting:
    """How a head is fitted.

    Attributes:
        optimizer: The optimizer's spec.
        learning_rate: Constant.
        batch_size: Samples per step.
        epochs: Passes over the training data.
    """

    optimizer: dict[str, Any]
    learning_rate: float
    batch_size: int
    epochs: int


def fit_head(
    head: nn.Module,
    objective: Objective,
    features: Features,
    positions: Tensor,
    targets: Tensor,
    how: Fitting,
    order: Order,
) -> nn.Module:
    """A copy of a trained head, fitted further.

    Args:
        head: Where the fit starts.
        objective: The task's loss.
        features: Of all training pictures.
        positions: Which of them are the task's, int64, (n,).
        targets: The task's targets, (n, ...).
        how: Optimizer, learning rate and length.
        order: The order of the batches.

    Returns:
        The fitted head, in eval mode.
    """
    fitted = copy.deepcopy(head).train()
    optimizer = build_optimizer(how.optimizer, fitted.parameters(), how.learning_rate)
    batches = order.batches(0, how.epochs * order.batches_per_pass).to(positions.device)
    for batch in batches:
        optimizer.zero_grad()
        objective(fitted(features[positions[batch]]), targets[batch]).backward()
        optimizer.step()
    return fitted.eval()
