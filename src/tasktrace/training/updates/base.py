"""What every way of updating works on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tasktrace.models import MultiTaskModel
from tasktrace.training.objectives import Objective


@dataclass(frozen=True)
class Batch:
    """One step's samples.

    Attributes:
        inputs: Normalised inputs: (B, ...) if the tasks share them, else the tasks' own ones in turn, (T * B, ...).
        targets: Targets of each task, (B,) or (B, ...).
        shared: Whether the tasks share their inputs.
    """

    inputs: Tensor
    targets: list[Tensor]
    shared: bool

    def own(self) -> list[Tensor]:
        """Every task's inputs, (B, ...) each."""
        if self.shared:
            return [self.inputs] * len(self.targets)
        return list(self.inputs.split(len(self.targets[0])))


@dataclass(frozen=True)
class Parts:
    """The model by the roles of its parameters.

    Attributes:
        model: The model.
        heads: The tasks' heads, in the run's order.
        objectives: The tasks' losses, in the same order.
    """

    model: MultiTaskModel
    heads: list[nn.Module]
    objectives: list[Objective]

    @property
    def shared(self) -> list[nn.Parameter]:
        """The shared parameters: the encoder's."""
        return list(self.model.encoder.parameters())

    @property
    def last_layer_size(self) -> int:
        """Numbers in the encoder's last layer that has parameters."""
        layers = [list(layer.parameters(recurse=False)) for layer in self.model.encoder.modules()]
        return sum(parameter.numel() for parameter in [own for own in layers if own][-1])

    def features(self, batch: Batch) -> list[Tensor]:
        """Features of every task's samples, (B, ...) each; one pass through the encoder where that changes nothing.

        With batch statistics each task's own batch has to pass alone.
        """
        if batch.shared:
            features: Tensor = self.model.encoder(batch.inputs)
            return [features] * len(self.heads)
        if self.model.uses_batch_statistics:
            return [self.model.encoder(own) for own in batch.own()]
        return list(self.model.encoder(batch.inputs).split(len(batch.targets[0])))

    def losses(self, features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
        """Losses of the tasks from their features, (T,)."""
        parts = zip(self.objectives, self.heads, features, targets, strict=True)
        return torch.stack([objective(head(own), target) for objective, head, own, target in parts])


class Update(ABC):
    """A way from a batch to moved parameters.

    Attributes:
        optimizers: What moves them, in a fixed order: their moments are part of the resume state.
    """

    def __init__(self, parts: Parts, optimizers: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        self.optimizers = optimizers

    def step(self, batch: Batch) -> Tensor:
        """Move all parameters once.

        Returns:
            The losses before the move, (T,), detached, on the device.

        Raises:
            NonFiniteError: The method needs a loss or gradient that is not finite; nothing has been moved.
        """
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        losses = self.gradients(batch)
        for optimizer in self.optimizers:
            optimizer.step()
        return losses

    @abstractmethod
    def gradients(self, batch: Batch) -> Tensor:
        """Leave the gradient of the step in every parameter and return the losses, (T,), detached."""


def heads_first(parts: Parts, batch: Batch, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Back-propagate every task through its head alone, leaving the heads' plain gradients in place.

    Args:
        parts: The model.
        batch: The step's samples.
        features: Features of every task, (B, ...) each; their graph is left alone.

    Returns:
        The losses, (T,), detached; and each loss's gradient of its features, (B, ...).
    """
    cut = [own.detach().requires_grad_() for own in features]
    losses = parts.losses(cut, batch.targets)
    losses.backward(torch.ones_like(losses))
    return losses.detach(), [gradient_of(own) for own in cut]


def gradient_of(leaf: Tensor) -> Tensor:
    """The gradient that a backward pass has left in ``leaf``."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
