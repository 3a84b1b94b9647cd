"""IMTL-G: equal progress along every task's gradient direction (Liu et al. 2021)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.solvers.cosines import EPS, Array, cosines

VERSION = 1

_WELL_CONDITIONED = 1e-10
"""Least squared pivot, and least sum of weights relative to their magnitudes, for a direct solution."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """IMTL-G has none."""


class Method(GramianWeighting):
    """The direction d = sum_k alpha_k g_k with sum_k alpha_k = 1 and equal projections d.u_k, u_k = g_k / |g_k|.

    Source: Liu et al., "Towards Impartial Multi-task Learning" (ICLR 2021), Eq. 3 to 5:
    alpha_{2:T} = g_1 U' (D U')^-1 with rows u_1 - u_k of U and g_1 - g_k of D. Weights may be negative. Solved for the
    amounts x_k = alpha_k |g_k|, so that gradients of very different norms lose no digits.

    Units: those of a gradient. Degree 1. Where parallel or dependent gradients leave alpha open, the solution with the
    least sum of x_k^2; where no alpha gives equal projections, those with the least sum of squared deviations from
    their mean. A zero gradient has no direction: weight 0, and the condition holds for the others. All zero: 1/T each.
    """

    def __init__(self, _num_tasks: int, _options: Options, _seed: int) -> None:
        """Nothing to keep."""

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002 - the losses play no part
        """alpha; see :meth:`GramianWeighting.weights`.

        Raises:
            NonFiniteError: A gradient is NaN or infinite.
        """
        check_finite(gramian)
        return torch.from_numpy(_impartial(gramian.numpy()))


def _impartial(gramian: Array) -> Array:
    norms = np.sqrt(gramian.diagonal())
    live = np.flatnonzero(norms > 0.0)
    if not len(live):
        return np.full(len(gramian), 1.0 / len(gramian))
    norms = norms[live]
    shares = _amounts(cosines(gramian[live[:, None], live], norms), norms.min() / norms) * (norms.min() / norms)
    weights = np.zeros(len(gramian))
    weights[live] = shares / shares.sum()
    return weights


def _amounts(cosine: Array, reach: Array) -> Array:
    """The x of equal projections (C x)_k, up to a factor; ``reach`` is q_k = min|g| / |g_k|, and alpha_k ~ q_k x_k."""
    try:
        if float(np.linalg.cholesky(cosine).diagonal().min()) ** 2 > _WELL_CONDITIONED:
            x = np.asarray(np.linalg.solve(cosine, np.ones_like(reach)), dtype=np.float64)
            if abs(float(reach @ x)) > _WELL_CONDITIONED * float(reach @ np.abs(x)):
                return x
    except np.linalg.LinAlgError:
        pass
    return _least_squares(cosine, reach)


def _least_squares(cosine: Array, reach: Array) -> Array:
    """The multiple of q that meets q.x = 1, plus a part orthogonal to q that makes the projections most equal."""
    start = reach / (reach @ reach)
    deviations = cosine - cosine.mean(axis=0)
    free = deviations - np.outer(deviations @ start, reach)
    left, values, right = np.linalg.svd(free)
    # cosines are exact to EPS; along q nothing is free, so that one singular value is always zero
    kept = values > 4.0 * len(reach) * EPS
    step: Array = ((deviations @ start) @ left[:, kept] / values[kept]) @ right[kept]
    return start - step
