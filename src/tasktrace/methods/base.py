"""What every method offers."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

_COLUMNS = {"cpu": 1 << 14}
"""Columns that are widened to float64 at once: on a CPU what stays in its cache."""
_MOST_COLUMNS = 1 << 20


class NonFiniteError(ArithmeticError):
    """A task's loss or gradient is NaN or infinite, so that no update follows from it.

    Attributes:
        task: Position of the first such task.
    """

    def __init__(self, task: int, what: str) -> None:
        super().__init__(f"task {task}: its {what} is not finite")
        self.task = task


class Method(ABC):
    """How T task gradients become one update of the shared parameters.

    Every head gets its own task's plain gradient, whatever the method.

    Attributes:
        replaces_optimizer: Whether ``combine`` already gives the step per unit of learning rate, so that the shared
            parameters take ``learning_rate * combine`` instead of what the run's optimizer would make of it.
        one_after_the_other: Whether each task steps on its own, with an optimizer of its own, from where the task
            before it left the shared parameters.
        needs_losses_after_step: Whether training calls :meth:`after_step`, which costs one more forward pass.
        needs_coordinates: Whether inner products of the whole gradients do not suffice.
        last_layer: The Jacobian's columns that belong to the last shared layer; training sets it.
    """

    replaces_optimizer = False
    one_after_the_other = False
    needs_losses_after_step = False
    needs_coordinates = True
    last_layer: slice | None = None

    @abstractmethod
    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """The combined gradient of the shared parameters, as training applies it.

        Args:
            jacobian: Row t is task t's gradient of the shared parameters, shape (T, P).
            losses: Losses of the tasks, shape (T,).

        Returns:
            Shape (P,), a new tensor: training makes its parts the parameters' gradients.

        Raises:
            NonFiniteError: A loss or gradient that the method needs is NaN or infinite.
        """

    def after_step(self, losses: Tensor) -> None:
        """Told the losses of the step's samples after the update, (T,), if ``needs_losses_after_step``."""
        raise NotImplementedError(f"{type(self).__module__} has no use for losses after the step: {losses.shape}")

    def to(self, device: torch.device) -> "Method":
        """The method with its learned parameters on ``device``."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(device)
        return self

    def parameters(self) -> list[nn.Parameter]:
        """What the method learns; the run's optimizer moves it together with the model, at the same learning rate."""
        return []

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the method remembers between steps, generators included."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        if state:
            raise ValueError(f"{type(self).__module__} keeps no state, found {sorted(state)}")


class LossWeighting(Method):
    """A method whose update is a weighted sum of the task gradients, with weights that need no gradient.

    Training then takes one backward pass for all tasks.

    Attributes:
        weigh_heads: Whether the weights scale the heads' gradients too, as in a sum of weighted losses. Off unless a
            method has it as an option.
    """

    weigh_heads = False

    @abstractmethod
    def weights(self, losses: Tensor) -> Tensor | None:
        """The weight of each task's gradient on the shared parameters; called once a step, before the backward pass.

        A method that learns sets the gradient of its parameters here.

        Args:
            losses: Losses of the tasks, shape (T,), detached.

        Returns:
            Shape (T,), on the device of ``losses``; None for a weight of one for every task.
        """

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """The weighted sum of the rows; see :meth:`Method.combine`."""
        weights = self.weights(losses)
        return jacobian.sum(dim=0) if weights is None else weights.to(jacobian.dtype) @ jacobian


class GramianWeighting(Method):
    """A method whose update is a weighted sum of the task gradients, with weights that follow from inner products."""

    needs_coordinates = False

    @abstractmethod
    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """The weight of each task's gradient; called once a step.

        Args:
            gramian: Inner products of the task gradients, shape (T, T), float64, on the CPU.
            losses: Losses of the tasks, shape (T,), float64, on the CPU.

        Returns:
            Shape (T,), float64, on the CPU.

        Raises:
            NonFiniteError: An inner product or a loss that the method needs is NaN or infinite.
        """

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """The weighted sum of the rows; see :meth:`Method.combine`."""
        weights = self.weights(gramian(jacobian), losses.double().cpu())
        return weights.to(jacobian) @ jacobian


class FeatureWeighting(GramianWeighting):
    """A Gramian weighting that training feeds with gradients of the features instead of the shared parameters."""


def gramian(jacobian: Tensor) -> Tensor:
    """Inner products of the rows, summed in float64.

    Args:
        jacobian: Shape (T, P), any floating type, any device.

    Returns:
        Shape (T, T), float64, on the CPU; the only copy from a device that a solver on the CPU needs.
    """
    total = torch.zeros(len(jacobian), len(jacobian), dtype=torch.float64, device=jacobian.device)
    for columns in jacobian.split(_COLUMNS.get(jacobian.device.type, _MOST_COLUMNS), dim=1):
        wide = columns.double()
        total.addmm_(wide, wide.T)
    return total.cpu()


def check_finite(gramian: Tensor, losses: Tensor | None = None) -> None:
    """Refuse inner products, and losses where a method needs them, that are NaN or infinite.

    Raises:
        NonFiniteError: Names the first task whose squared norm or loss is not finite.
    """
    bad = ~torch.isfinite(gramian.diagonal())
    if bad.any():
        raise NonFiniteError(int(bad.int().argmax()), "gradient")
    if losses is not None:
        bad = ~torch.isfinite(losses)
        if bad.any():
            raise NonFiniteError(int(bad.int().argmax()), "loss")
