"""The loss of batches around a network's weights, at several displaced weights together or one after the other.

The weights w are one vector of P numbers. A point v stands for the weights w + reach * v, elementwise. B batches and K
points for each of them make B * K lanes: points (B, K, P), reach (K, P), losses (B, K).
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (m, ...) and targets (m, ...) to a scalar tensor."""


class Landscape(ABC):
    """A network's loss as a function of some of its parameters; the network itself is left alone.

    Losses are computed in float64 from the network's outputs: a rise of a loss is the difference of nearby numbers.

    Args:
        module: Maps inputs (m, ...) to outputs, in the mode that it is in.
        parameters: Those of its parameters, by name, that move.
        loss: What is made of the outputs.

    Attributes:
        weights: The parameters, shape (P,), detached.
        lanes: Lanes that are best evaluated together.
    """

    lanes = 1

    def __init__(self, module: nn.Module, parameters: Mapping[str, Tensor], loss: Loss) -> None:
        self._module = module
        self._names = list(parameters)
        self._flat = Flat(parameters.values())
        self.weights = self._flat.join(parameters.values()).detach()
        self._loss = loss

    def arranged(self, vector: Tensor) -> Tensor:
        """A vector (P,) of the parameters' entries, each in the order of its indices, as this landscape orders them."""
        return self._flat.join(self._flat.in_order(vector)).to(self.weights)

    def around(self, reach: Tensor, inputs: Tensor, targets: Tensor) -> "Around":
        """The loss as a function of points.

        Args:
            reach: Shape (K, P).
            inputs: Shape (B, m, ...).
            targets: Shape (B, m, ...).
        """
        return Around(self, reach, inputs, targets)

    @abstractmethod
    def losses(self, points: Tensor, around: "Around") -> Tensor:
        """The losses, float64, shape (B, K)."""

    @abstractmethod
    def gradients(self, points: Tensor, around: "Around") -> tuple[Tensor, Tensor]:
        """The losses and their gradients with respect to the weights, new tensors of shapes (B, K) and (B, K, P)."""


@dataclass(frozen=True)
class Around:
    """The losses of batches as functions of points; see :class:`tasktrace.measures.apgd.Function`."""

    landscape: Landscape
    reach: Tensor
    inputs: Tensor
    targets: Tensor

    def values(self, points: Tensor) -> Tensor:
        """The losses at the points (B, K, P), shape (B, K)."""
        with torch.no_grad():
            return self.landscape.losses(points, self)

    def slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The losses and their gradients with respect to the points, shapes (B, K) and (B, K, P)."""
        with torch.enable_grad():
            values, gradients = self.landscape.gradients(points, self)
        return values, gradients.mul_(self.reach)


class OneByOne(Landscape):
    """One lane at a time, B = K = 1, on a copy of the network whose parameters are parts of one vector.

    The fastest way on a CPU, where convolutions with weights of their own per lane take up to twice as long together.
    """

    def __init__(self, module: nn.Module, parameters: Mapping[str, Tensor], loss: Loss) -> None:
        super().__init__(module, parameters, loss)
        self._module = copy.deepcopy(module).requires_grad_(False)
        self._moved = self.weights.clone()
        self._parameters = [self._module.get_parameter(name) for name in self._names]
        for parameter, part in zip(self._parameters, self._flat.parts(self._moved), strict=True):
            parameter.data = part
            parameter.requires_grad_()

    def losses(self, points: Tensor, around: Around) -> Tensor:
        """See :meth:`Landscape.losses`."""
        torch.addcmul(self.weights, points[0, 0], around.reach[0], out=self._moved)
        outputs: Tensor = self._module(around.inputs[0])
        return self._loss(outputs.double(), around.targets[0]).view(1, 1)

    def gradients(self, points: Tensor, around: Around) -> tuple[Tensor, Tensor]:
        """See :meth:`Landscape.gradients`."""
        losses = self.losses(points, around)
        gradients = torch.autograd.grad(losses.sum(), self._parameters, materialize_grads=True)
        return losses.detach(), self._flat.join(gradients).view(1, 1, -1)


class Together(Landscape):
    """All lanes in one pass: on a GPU a small network's lanes take hardly longer than one of them."""

    lanes = 32

    def __init__(self, module: nn.Module, parameters: Mapping[str, Tensor], loss: Loss) -> None:
        super().__init__(module, parameters, loss)
        fixed = {name: value.detach() for name, value in module.named_parameters() if name not in parameters}

        def lane(weights: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
            moved = dict(zip(self._names, self._flat.parts(weights), strict=True))
            outputs: Tensor = functional_call(self._module, {**fixed, **moved}, (inputs,))
            return loss(outputs.double(), targets)

        self._lanes: Callable[..., Any] = vmap(vmap(lane, in_dims=(0, None, None)))

    def losses(self, points: Tensor, around: Around) -> Tensor:
        """See :meth:`Landscape.losses`."""
        return self._at(self._moved(points, around), around)

    def gradients(self, points: Tensor, around: Around) -> tuple[Tensor, Tensor]:
        """See :meth:`Landscape.gradients`."""
        weights = self._moved(points, around).requires_grad_()
        losses = self._at(weights, around)
        (gradients,) = torch.autograd.grad(losses.sum(), weights, materialize_grads=True)
        return losses.detach(), gradients

    def _moved(self, points: Tensor, around: Around) -> Tensor:
        return torch.addcmul(self.weights, points, around.reach)

    def _at(self, weights: Tensor, around: Around) -> Tensor:
        losses: Tensor = self._lanes(weights, around.inputs, around.targets)
        return losses


class Flat:
    """Tensors as parts of one vector, each in the order in which it lies in memory (say, channels last).

    Args:
        tensors: Their shapes and strides are what counts.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        tensors = list(tensors)
        self._shapes = [tensor.shape for tensor in tensors]
        self._sizes = [tensor.numel() for tensor in tensors]
        # Dimensions by falling stride, and back.
        self._orders = [_falling(tensor) for tensor in tensors]
        self._back = [sorted(range(len(order)), key=order.__getitem__) for order in self._orders]

    def join(self, tensors: Iterable[Tensor]) -> Tensor:
        """One vector of tensors with these shapes, a new tensor."""
        ordered = zip(tensors, self._orders, strict=True)
        return torch.cat([tensor.permute(order).reshape(-1) for tensor, order in ordered])

    def parts(self, vector: Tensor) -> list[Tensor]:
        """The tensors that are joined in a vector, as views."""
        parts = vector.split(self._sizes)
        shapes = [[shape[d] for d in order] for shape, order in zip(self._shapes, self._orders, strict=True)]
        return [part.view(s).permute(back) for part, s, back in zip(parts, shapes, self._back, strict=True)]

    def in_order(self, vector: Tensor) -> list[Tensor]:
        """Tensors of these shapes from a vector that has each in the order of its indices, as views."""
        return [part.view(shape) for part, shape in zip(vector.split(self._sizes), self._shapes, strict=True)]


def _falling(tensor: Tensor) -> list[int]:
    """Dimensions by falling stride; of equal ones that of size 1 comes last, where a view gives it its stride again."""
    strides: tuple[int, ...] = tensor.stride()
    return sorted(range(tensor.ndim), key=lambda dimension: (-strides[dimension], tensor.shape[dimension] == 1))
