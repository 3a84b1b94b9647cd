"""RLW, random loss weighting (Lin et al. 2022): new random weights at every step."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.methods.base import LossWeighting
from tasktrace.methods.drawing import Drawing, method_generator

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the weights are drawn from, and what they weigh.

    Attributes:
        distribution: ``normal`` for softmax(z) with z ~ N(0, I), the paper's and LibMTL's default; ``dirichlet`` for
            the uniform distribution on the simplex, without a softmax on top (LibMTL puts one there).
        heads: ``plain`` for every head's own gradient, ``weighted`` for the weights on the heads too, as in the
            paper's sum of weighted losses.
    """

    distribution: Literal["normal", "dirichlet"] = "normal"
    heads: Literal["plain", "weighted"] = "plain"


class Method(Drawing, LossWeighting):
    """Weights without a unit that are positive and sum to 1 (not to the number of tasks), whatever the losses.

    They have mean 1/T each. The update is linear in the gradients, of degree 1. A zero gradient contributes nothing; a
    non-finite one makes the update non-finite, which ends the run as diverged.
    """

    def __init__(self, num_tasks: int, options: Options, seed: int) -> None:
        self.weigh_heads = options.heads == "weighted"
        self._num_tasks = num_tasks
        self._distribution = options.distribution
        self._generator = method_generator(seed, "rlw")

    def weights(self, losses: Tensor) -> Tensor:
        """A fresh draw; see :class:`LossWeighting`."""
        # Drawn in float64 on the CPU: the same weights whatever the device and type of the losses.
        draws = torch.empty(self._num_tasks, dtype=torch.float64)
        if self._distribution == "normal":
            weights = draws.normal_(generator=self._generator).softmax(dim=0)
        else:
            draws.exponential_(generator=self._generator)
            weights = draws / draws.sum()
        return weights.to(losses)
