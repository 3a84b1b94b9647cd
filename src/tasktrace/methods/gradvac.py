"""GradVac, gradient vaccine (Wang et al. 2021, Algorithm 1): pairs of gradients are held to their usual cosine."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.drawing import method_generator, other_tasks

VERSION = 1

# |h|^2 relative to its value before, below which h is rounding: inner products in float64 do not resolve less.
_CANCELLED = 1e-13


@dataclass(frozen=True, kw_only=True)
class Options:
    """How fast the usual cosines follow.

    Attributes:
        beta: Weight of a new cosine in the moving average: the paper's 0.01 (LibMTL takes 0.5).
    """

    beta: float = 0.01

    def __post_init__(self) -> None:
        """Hold beta to its range."""
        check_range(self, "beta", low=0, below=1)


class Method(GramianWeighting):
    """The sum of gradients that were turned towards each other up to the moving averages of their cosines.

    For each task i, h_i = g_i; then for every other task j, in an order drawn afresh for each task and step, with
    phi = cos(h_i, g_j), g_j as it came, and the average e_ij, which starts at 0:

    - if phi < e_ij: h_i <- h_i + |h_i| (e_ij sqrt(1 - phi^2) - phi sqrt(1 - e_ij^2)) / (|g_j| sqrt(1 - e_ij^2)) g_j,
      which makes the cosine e_ij;
    - e_ij <- (1 - beta) e_ij + beta phi, in both cases (LibMTL averages in the first case only).

    The update is sum_i h_i. The components of the gradient are the paper's whole model.

    Scale-free: cosines and weights have no unit, the update is of degree 1. A pair with a zero gradient has no cosine:
    it changes neither gradient nor average; so does an h_i that cancelled to rounding. An average of exactly 1 is out
    of reach for any finite multiple of g_j and leaves h_i as it is. A non-finite gradient raises
    :class:`NonFiniteError`; losses play no part.
    """

    def __init__(self, num_tasks: int, options: Options, seed: int) -> None:
        self._beta = options.beta
        self._generator = method_generator(seed, "gradvac")
        self._averages = np.zeros((num_tasks, num_tasks))

    def weights(self, gramian: Tensor, _losses: Tensor) -> Tensor:
        """How often each gradient counts in the sum of the turned ones; see :class:`GramianWeighting`."""
        check_finite(gramian)
        orders = other_tasks(len(self._averages), self._generator)
        return torch.from_numpy(turned_sum(gramian.numpy(), orders, self._averages, self._beta))

    def state_dict(self) -> dict[str, Tensor]:
        """The generator's state and the averages e_ij."""
        return {"generator": self._generator.get_state(), "averages": torch.from_numpy(self._averages.copy())}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._generator.set_state(state["generator"])
        self._averages[:] = state["averages"].numpy()


def turned_sum(
    gramian: NDArray[np.float64], orders: NDArray[np.int64], averages: NDArray[np.float64], beta: float
) -> NDArray[np.float64]:
    """Weights of the gradients in the sum of the turned gradients; all tasks take their s-th turn at once.

    Args:
        gramian: Inner products of the gradients, shape (T, T).
        orders: For each task the others in the order of their turns, shape (T, T - 1).
        averages: Moving averages of the cosines, shape (T, T); moved on in place.
        beta: Weight of the new cosines.

    Returns:
        Shape (T,).
    """
    rows = np.arange(len(gramian))
    norms = np.sqrt(gramian.diagonal())
    products = gramian.copy()  # h_i.g_j
    lengths = norms.copy()  # |h_i|
    weights = np.ones(len(gramian))
    for others in orders.T:
        usual = averages[rows, others]
        scales = lengths * norms[others]
        comparable = scales > 0
        cosines = np.divide(products[rows, others], scales, out=usual.copy(), where=comparable).clip(-1.0, 1.0)
        turned = comparable & (cosines < usual) & (usual < 1.0)
        # Both square roots as cathetes of the same right triangle: across g_j a turn changes nothing.
        ratios = _sine(cosines) / np.where(turned, _sine(usual), 1.0)
        multiples = np.where(turned, usual * ratios - cosines, 0.0) * lengths / np.where(comparable, norms[others], 1.0)
        products += multiples[:, None] * gramian[others]
        weights += np.bincount(others, multiples, minlength=len(gramian))
        lengths = np.where(turned, np.where(ratios**2 > _CANCELLED, lengths * ratios, 0.0), lengths)
        averages[rows, others] = np.where(comparable, (1 - beta) * usual + beta * cosines, usual)
    return weights


def _sine(cosines: NDArray[np.float64]) -> NDArray[np.float64]:
    """sqrt(1 - cos^2), without the cancellation near 1."""
    return np.sqrt((1.0 - cosines) * (1.0 + cosines))
