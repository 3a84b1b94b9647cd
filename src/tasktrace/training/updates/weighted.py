"""Loss weightings: one backward pass for all tasks."""

import torch
from torch import Tensor

from tasktrace.methods import LossWeighting
from tasktrace.training.updates.base import Batch, Parts, Update


class WeightedLosses(Update):
    """The update of a :class:`LossWeighting`: a plain step, whose weights act where the tasks part from the encoder."""

    def __init__(self, parts: Parts, optimizers: list[torch.optim.Optimizer], method: LossWeighting) -> None:
        super().__init__(parts, optimizers)
        self._method = method

    def gradients(self, batch: Batch) -> Tensor:
        """One forward and one backward pass."""
        features = self.parts.features(batch)
        if batch.shared:
            # A view per task, so that each can scale what it sends back without touching the others.
            features = [own.view_as(own) for own in features]
        losses = self.parts.losses(features, batch.targets)
        weights = self._method.weights(losses.detach())
        if weights is None:
            losses.backward(torch.ones_like(losses))
        elif self._method.weigh_heads:
            losses.backward(weights)
        else:
            for own, weight in zip(features, weights, strict=True):
                if own.requires_grad:  # not with a frozen encoder, which no weight concerns
                    own.register_hook(weight.mul)
            losses.backward(torch.ones_like(losses))
        return losses.detach()
