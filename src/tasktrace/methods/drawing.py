"""What methods draw: from generators of their own, on the CPU, so that numbers do not depend on the device."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasktrace.methods.base import Method
from tasktrace.seeding import derive_seed


class Drawing(Method):
    """A method that remembers nothing between steps but its generator."""

    _generator: torch.Generator

    def state_dict(self) -> dict[str, Tensor]:
        """The generator's state."""
        return {"generator": self._generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._generator.set_state(state["generator"])


def method_generator(seed: int, name: str) -> torch.Generator:
    """The generator of the method ``name`` in the run of that seed; torch's, because its state is a tensor."""
    return torch.Generator().manual_seed(derive_seed(seed, "method", name))


def other_tasks(num_tasks: int, generator: torch.Generator) -> NDArray[np.int64]:
    """For each task all the others in an order of its own, every order equally likely.

    Returns:
        Shape (T, T - 1): row t holds the tasks other than t.
    """
    keys = torch.rand(num_tasks, num_tasks, dtype=torch.float64, generator=generator).numpy()
    np.fill_diagonal(keys, 2.0)  # above every key, so that each task sorts behind its others
    return keys.argsort(axis=1)[:, :-1]
