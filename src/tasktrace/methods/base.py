"""What every method offers."""

import importlib
from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from tasktrace.config.declarations import declaration
from tasktrace.config.options import build_options, check_options
from tasktrace.errors import ConfigError


class LossWeighting(ABC):
    """A method whose update is a weighted sum of the task gradients, with weights that need no gradient.

    Training then takes one backward pass for all tasks. The weights act on the shared parameters alone: every head
    gets its own task's plain gradient.
    """

    @abstractmethod
    def weights(self, losses: Tensor) -> Tensor | None:
        """The weight of each task's gradient on the shared parameters.

        Args:
            losses: Losses of the tasks, shape (T,), detached.

        Returns:
            Shape (T,), on the device of ``losses``; None for a weight of one for every task.
        """

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """The combined gradient of the shared parameters, as training applies it.

        Args:
            jacobian: Row t is task t's gradient of the shared parameters, shape (T, P).
            losses: Losses of the tasks, shape (T,).

        Returns:
            Shape (P,).
        """
        weights = self.weights(losses)
        return jacobian.sum(dim=0) if weights is None else weights @ jacobian

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the method remembers between steps, generators included."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        if state:
            raise ValueError(f"{type(self).__module__} keeps no state, found {sorted(state)}")


def build(name: str, num_tasks: int, **options: Any) -> LossWeighting:
    """The method ``name`` for ``num_tasks`` tasks.

    Raises:
        ConfigError: An unknown method or option, or a value of a wrong type.
    """
    check_options(declaration("method", name).options, options, f"method {name}")
    if num_tasks < 1:
        raise ConfigError(f"method {name}: num_tasks must be at least 1, found {num_tasks}")
    module = importlib.import_module(f"tasktrace.methods.{name}")
    method: LossWeighting = module.Method(num_tasks, build_options(module.Options, options))
    return method
