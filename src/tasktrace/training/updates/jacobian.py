"""Gradient methods: the gradient of every task on its own, then their combination as one matrix-vector product."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tasktrace.methods import Method
from tasktrace.training.updates.base import Batch, Parts, Update, heads_first


class FlatRows:
    """A matrix whose rows are gradients of a list of parameters, with every parameter's part as a view of its shape.

    A part lies in memory as its parameter does, channels last included, so filling it is a plain copy and an optimizer
    that walks both by memory finds the same coordinate.

    Args:
        parameters: The parameters, P numbers in all.
        rows: Number of rows.

    Attributes:
        matrix: Shape (rows, P).
        sizes: Columns of each parameter.
    """

    def __init__(self, parameters: Sequence[Tensor], rows: int) -> None:
        self.sizes = [parameter.numel() for parameter in parameters]
        like = parameters[0]
        self.matrix = torch.zeros(rows, sum(self.sizes), dtype=like.dtype, device=like.device)
        self.views = [
            [_shaped(part, parameter) for part, parameter in zip(row.split(self.sizes), parameters, strict=True)]
            for row in self.matrix
        ]

    def fill(self, row: int, gradients: Sequence[Tensor]) -> None:
        """Copy the gradients of all parameters into a row."""
        torch._foreach_copy_(self.views[row], list(gradients))


class TaskGradients(Update):
    """The update of any :class:`Method` from the whole Jacobian of the shared parameters.

    Shared inputs take one forward pass, one backward pass per head, and one per task from the features down; own inputs
    one forward and one backward pass over each task's batch. No pass is repeated for the combination.

    Args:
        parts: The model.
        optimizers: What moves the parameters.
        method: Combines the Jacobian.
        batched: Send all tasks of a shared batch down the encoder in one vectorised pass, which suits a device that
            waits for launches more than for arithmetic.
    """

    def __init__(
        self, parts: Parts, optimizers: list[torch.optim.Optimizer], method: Method, batched: bool = False
    ) -> None:
        super().__init__(parts, optimizers)
        self._method = method
        self._jacobian = TaskJacobian(parts, batched)
        method.last_layer = self._jacobian.last_layer

    def gradients(self, batch: Batch) -> Tensor:
        """Fill the Jacobian, combine it, and leave the result in the shared parameters."""
        losses = self._jacobian.fill(batch)
        combined = self._method.combine(self._jacobian.matrix, losses)
        for parameter, part in zip(self.parts.shared, combined.split(self._jacobian.sizes), strict=True):
            parameter.grad = _shaped(part, parameter)
        return losses


class TaskJacobian:
    """The gradient of every task on its own.

    Args:
        parts: The model.
        batched: See :class:`TaskGradients`.

    Attributes:
        parts: The same.
        matrix: Row t is task t's gradient of the shared parameters, shape (T, P); every :meth:`fill` overwrites it.
        sizes: Columns of each shared parameter.
        last_layer: The columns of the last shared layer.
    """

    def __init__(self, parts: Parts, batched: bool = False) -> None:
        self.parts, self._batched = parts, batched
        self._parameters = parts.shared
        self._rows = FlatRows(self._parameters, len(parts.heads))
        self.matrix, self.sizes = self._rows.matrix, self._rows.sizes
        self.last_layer = slice(self.matrix.shape[1] - parts.last_layer_size, None)

    def fill(self, batch: Batch) -> Tensor:
        """Compute all rows, leave each head's plain gradient in its parameters, and return the losses, (T,)."""
        return self._from_shared(batch) if batch.shared else self._from_own(batch)

    def _from_shared(self, batch: Batch) -> Tensor:
        features: Tensor = self.parts.model.encoder(batch.inputs)
        losses, cotangents = heads_first(self.parts, batch, [features] * len(self.parts.heads))
        if self._batched:
            stacked = torch.stack(cotangents)
            rows = torch.autograd.grad(features, self._parameters, stacked, is_grads_batched=True)
            for task in range(len(cotangents)):
                self._rows.fill(task, [row[task] for row in rows])
            return losses
        last = len(cotangents) - 1
        for task, cotangent in enumerate(cotangents):
            row = torch.autograd.grad(features, self._parameters, cotangent, retain_graph=task < last)
            self._rows.fill(task, row)
        return losses

    def _from_own(self, batch: Batch) -> Tensor:
        losses = []
        parts = zip(self.parts.objectives, self.parts.heads, batch.own(), batch.targets, strict=True)
        for task, (objective, head, inputs, targets) in enumerate(parts):
            loss = objective(head(self.parts.model.encoder(inputs)), targets)
            own = list(head.parameters())
            gradients = torch.autograd.grad(loss, [*self._parameters, *own])
            self._rows.fill(task, gradients[: len(self._parameters)])
            for parameter, gradient in zip(own, gradients[len(self._parameters) :], strict=True):
                parameter.grad = gradient
            losses.append(loss.detach())
        return torch.stack(losses)


def jacobian_bytes(num_tasks: int, num_shared: int) -> int:
    """Memory of the float32 Jacobian of T tasks and P shared parameters: T x P x 4 bytes."""
    return num_tasks * num_shared * 4


def _shaped(part: Tensor, parameter: Tensor) -> Tensor:
    """A flat part seen with the shape and the strides of its parameter."""
    return part.as_strided(parameter.shape, parameter.stride(), part.storage_offset())
