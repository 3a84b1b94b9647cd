"""Feature weightings: weights from the gradients of the features, one backward pass through the encoder."""

import torch
from torch import Tensor

from tasktrace.methods import FeatureWeighting, gramian
from tasktrace.training.updates.base import Batch, Parts, Update, heads_first


class FeatureGradients(Update):
    """The update of a :class:`FeatureWeighting`.

    Where the tasks share their inputs, the rows are the gradients of the same features. Where each has its own, a
    task's gradient lives on its own samples' features alone, so that different tasks' rows are orthogonal.
    """

    def __init__(self, parts: Parts, optimizers: list[torch.optim.Optimizer], method: FeatureWeighting) -> None:
        super().__init__(parts, optimizers)
        self._method = method

    def gradients(self, batch: Batch) -> Tensor:
        """One forward pass, one backward pass per head, one through the encoder."""
        features = self.parts.features(batch)
        losses, cotangents = heads_first(self.parts, batch, features)
        products = gramian(torch.stack([own.flatten() for own in cotangents]))
        if not batch.shared:
            products = products.diagonal().diag()
        weights = self._method.weights(products, losses.double().cpu()).to(losses)
        weighted = [weight * own for weight, own in zip(weights, cotangents, strict=True)]
        if batch.shared:
            features[0].backward(torch.stack(weighted).sum(dim=0))
        else:
            torch.autograd.backward(features, weighted)
        return losses
