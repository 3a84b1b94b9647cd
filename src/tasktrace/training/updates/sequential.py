"""Independent optimizers (MTL-IO): one per task, each moving the encoder and its head in turn."""

import torch
from torch import Tensor

from tasktrace.training.updates.base import Batch, Update


class OneAfterTheOther(Update):
    """Every task takes its own step with its own optimizer, from where the task before it left the encoder."""

    def step(self, batch: Batch) -> Tensor:
        """T forward and backward passes and T steps; each task's loss is that before its own step."""
        losses = []
        parts = zip(self.optimizers, self.parts.objectives, self.parts.heads, batch.own(), batch.targets, strict=True)
        for optimizer, objective, head, inputs, targets in parts:
            optimizer.zero_grad()
            loss = objective(head(self.parts.model.encoder(inputs)), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def gradients(self, batch: Batch) -> Tensor:
        """Not defined: there is no one gradient of the step."""
        raise NotImplementedError("tasks step one after the other; use step()")
