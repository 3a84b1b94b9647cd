"""What EW, PCGrad and CAGrad make of two gradients, in the toy problem's arithmetic.

The published hitting times depend on float32 rounding and on small constants inside CAGrad's norms. These directions
therefore follow the CAGrad authors' toy script operation by operation, while :mod:`tasktrace.methods` solves the same
problems exactly and for any number of tasks. All take Jacobians (N, 2, 2), float32, row k of each the gradient of task
k, and give directions (N, 2), float32. Gradients are multiplied in float32, coefficients computed in float64.
"""

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize_scalar  # type: ignore[import-untyped]
from torch import Tensor

Direction = Callable[[Tensor], Tensor]

C = 0.5
"""CAGrad's radius in units of the mean gradient's norm."""

_EPS = 1e-4
"""Added under CAGrad's roots, and once more to the norm that it divides by."""


def equal_weighting(jacobians: Tensor) -> Tensor:
    """The mean of the two gradients."""
    return (jacobians[:, 0] + jacobians[:, 1]) / 2


def pcgrad(jacobians: Tensor) -> Tensor:
    """The mean of the two gradients, each without what points against the other where they conflict."""
    first, second = jacobians.unbind(dim=1)
    own1, across, own2 = (product[:, None] for product in _products(jacobians))
    conflict = across < 0
    # Where nothing conflicts the factors are exactly 1; a zero gradient conflicts with nothing.
    factor1 = torch.where(conflict, 1 - across / own1, 1.0).float()
    factor2 = torch.where(conflict, 1 - across / own2, 1.0).float()
    return (factor1 * first + factor2 * second) / 2


def cagrad(jacobians: Tensor) -> Tensor:
    """(g0 + lambda g_w) / (1 + c), with w from the bounded scalar minimisation of the dual, point by point."""
    first, second = jacobians.unbind(dim=1)
    products = torch.stack(_products(jacobians), dim=1).tolist()
    solved = torch.tensor([_dual(*own) for own in products], dtype=torch.float64).reshape(-1, 3).float()
    share1, share2, scale = (column[:, None] for column in solved.unbind(dim=1))
    combined = share1 * first + share2 * second
    return ((first + second) / 2 + scale * combined) / (1 + C)


DIRECTIONS: dict[str, Direction] = {"ew": equal_weighting, "pcgrad": pcgrad, "cagrad": cagrad}


def _products(jacobians: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """g1.g1, g1.g2 and g2.g2, (N,) each: summed in float32, given in float64."""
    first, second = jacobians.unbind(dim=1)
    pairs = (first * first, first * second, second * second)
    own1, across, own2 = ((pair[:, 0] + pair[:, 1]).double() for pair in pairs)
    return own1, across, own2


def _dual(own1: float, across: float, own2: float) -> tuple[float, float, float]:
    """The weights w and 1 - w of the gradients in g_w = w g1 + (1 - w) g2, and the weight lambda of g_w.

    w minimises g_w.g0 + c |g0| |g_w| over [0, 1], by SciPy's bounded method at its default tolerance of 1e-5.
    """
    radius = C * (0.5 * np.sqrt(own1 + own2 + 2 * across + _EPS))
    between = own1 + own2 - 2 * across
    slope = across - own2

    def dual(w: float) -> float:
        norm = np.sqrt(w**2 * between + 2 * w * slope + own2 + _EPS)
        value: float = radius * norm + 0.5 * w * between + (0.5 + w) * slope + own2
        return value

    w = minimize_scalar(dual, bounds=(0, 1), method="bounded").x
    norm = np.sqrt(w**2 * own1 + (1 - w) ** 2 * own2 + 2 * w * (1 - w) * across + _EPS)
    return w, 1 - w, radius / (norm + _EPS)
