"""CAGrad: the best worst case of the tasks near the mean gradient (Liu et al. 2021)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.solvers.cagrad_dual import cagrad_weights

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Size of the ball, and what the direction is divided by.

    Attributes:
        c: Radius of the ball around the mean gradient g0 in units of |g0|, >= 0; 0 gives the mean.
        rescale: ``none``; ``square``: by 1 + c^2, as LibMTL; ``linear``: by 1 + c, as the authors' toy example.
    """

    c: float = 0.5
    rescale: Literal["none", "square", "linear"] = "square"

    def __post_init__(self) -> None:
        """Refuse a negative radius."""
        check_range(self, "c", low=0)


class Method(GramianWeighting):
    """The direction d = argmax min_k g_k.d over |d - g0| <= c |g0|, with g0 = 1/T sum_k g_k.

    Source: Liu et al., "Conflict-Averse Gradient Descent for Multi-task Learning" (2021), Eq. 3 and algorithm 1:
    d = g0 + c |g0| g_w / |g_w|, w = argmin g_w.g0 + c |g0| |g_w| over the simplex; solved exactly.

    Units: those of a gradient. Degree 1. A zero gradient bounds the worst case by 0; among the directions that reach a
    bound of 0 (also where a convex combination of the gradients is 0) d is the one nearest to g0. g0 = 0: d = 0.
    """

    def __init__(self, _num_tasks: int, options: Options, _seed: int) -> None:
        self._c = options.c
        self._divisor = {"none": 1.0, "square": 1.0 + options.c**2, "linear": 1.0 + options.c}[options.rescale]

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002 - the losses play no part
        """Weights of d, those of g0 included; see :meth:`GramianWeighting.weights`.

        Raises:
            NonFiniteError: A gradient is NaN or infinite.
            SolverError: Not solved to tolerance.
        """
        check_finite(gramian)
        return torch.from_numpy(cagrad_weights(gramian.numpy(), self._c) / self._divisor)
