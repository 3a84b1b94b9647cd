"""PCGrad, gradient surgery (Yu et al. 2020, Algorithm 1): every gradient loses what points against another one."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.drawing import Drawing, method_generator, other_tasks

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the projected gradients become one.

    Attributes:
        reduction: ``sum`` as in Algorithm 1 and LibMTL, ``mean`` as in CAGrad's toy problem.
    """

    reduction: Literal["sum", "mean"] = "sum"


class Method(Drawing, GramianWeighting):
    """The sum of the projected gradients.

    For each task k, h_k = g_k; then for every other task j, in an order drawn afresh for each task and step, where
    h_k.g_j < 0: h_k <- h_k - (h_k.g_j)/|g_j|^2 g_j, with g_j as it came. The update is sum_k h_k.

    Scale-free: the weights have no unit and stay the same when all gradients are scaled, so the update is of degree 1.
    A zero gradient neither changes nor is changed. A non-finite one raises :class:`NonFiniteError`; losses play no
    part.
    """

    def __init__(self, num_tasks: int, options: Options, seed: int) -> None:
        self._num_tasks = num_tasks
        self._factor = 1.0 if options.reduction == "sum" else 1.0 / num_tasks
        self._generator = method_generator(seed, "pcgrad")

    def weights(self, gramian: Tensor, _losses: Tensor) -> Tensor:
        """How often each gradient counts in the sum of the projected ones; see :class:`GramianWeighting`."""
        check_finite(gramian)
        orders = other_tasks(self._num_tasks, self._generator)
        return torch.from_numpy(self._factor * projected_sum(gramian.numpy(), orders))


def projected_sum(gramian: NDArray[np.float64], orders: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of the gradients in the sum of the projected gradients.

    Every h_k is a sum of gradients, so its inner products with them are all that a projection reads; all tasks take
    their s-th projection at once.

    Args:
        gramian: Inner products of the gradients, shape (T, T).
        orders: For each task the others in the order of their projections, shape (T, T - 1).

    Returns:
        Shape (T,).
    """
    tasks = len(gramian)
    squares = gramian.diagonal()
    # Nothing is projected off a zero gradient: the quotient by infinity is zero.
    divisors = np.where(squares > 0, squares, np.inf)[orders.T]
    places = orders.T + tasks * np.arange(tasks)
    products = gramian.copy()  # h_k.g_j
    steps = np.empty(orders.T.shape)
    for others, own, divisor, step in zip(orders.T, places, divisors, steps, strict=True):
        np.divide(np.minimum(products.ravel()[own], 0.0), divisor, out=step)
        products -= step[:, None] * gramian[others]
    return np.ones(tasks) - np.bincount(orders.T.ravel(), steps.ravel(), minlength=tasks)
