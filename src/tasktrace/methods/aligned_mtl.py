"""Aligned-MTL: principal components of the gradient matrix brought to one length (Senushkin et al. 2023)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.solvers.cosines import EPS, Array, cosines

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """The length that all principal components get.

    Attributes:
        scale: Of the kept eigenvalues lambda of the Gramian: ``min``, the square root of the smallest (the paper's);
            ``median``, of the (lower) median; ``rmse``, of the mean, both as in the authors' code.
    """

    scale: Literal["min", "median", "rmse"] = "min"


class Method(GramianWeighting):
    """The direction d = sum_k alpha_k g_k with alpha = B 1, B = sigma V diag(lambda^-1/2) V'.

    Source: Senushkin et al., "Independent Component Alignment for Multi-Task Learning" (2023), algorithm 1 and Eq. 11,
    with equal preferences. M = V diag(lambda) V' holds the inner products of the gradients; eigenvalues
    lambda <= max(lambda) K eps are dropped (eps of float64), and sigma is the square root of the ``scale`` of the rest.

    Units: those of a gradient. Degree 1. A zero gradient has weight 0 and no influence. All zero: d = 0.
    """

    def __init__(self, _num_tasks: int, options: Options, _seed: int) -> None:
        self._scale = options.scale

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002 - the losses play no part
        """alpha; see :meth:`GramianWeighting.weights`.

        Raises:
            NonFiniteError: A gradient is NaN or infinite.
        """
        check_finite(gramian)
        return torch.from_numpy(_aligned(gramian.numpy(), self._scale))


def _aligned(gramian: Array, scale: str) -> Array:
    weights = np.zeros(len(gramian))
    norms = np.sqrt(gramian.diagonal())
    live = np.flatnonzero(norms > 0.0)
    if not len(live):
        return weights
    components, lengths = _principal(gramian[live[:, None], live], norms[live])
    weights[live] = _target(lengths, scale) * (components / lengths) @ components.sum(axis=0)
    return weights


def _principal(gramian: Array, norms: Array) -> tuple[Array, Array]:
    """V, shape (K, R), and the square roots of the R kept eigenvalues, largest first, in units of the longest gradient.

    By the singular values of a factor of M, as the eigenvalues of M itself are exact only to eps times the largest:
    with norms from 1e-3 to 1e3 the smallest would have four digits.
    """
    threshold = len(norms) * EPS
    squares, basis = np.linalg.eigh(cosines(gramian, norms))
    kept = squares > squares[-1] * threshold
    factor = (norms / norms.max())[:, None] * basis[:, kept] * np.sqrt(squares[kept])
    components, lengths, _ = np.linalg.svd(factor, full_matrices=False)
    large = lengths**2 > lengths[0] ** 2 * threshold
    return components[:, large], lengths[large]


def _target(lengths: Array, scale: str) -> float:
    if scale == "min":
        return float(lengths[-1])
    if scale == "median":
        return float(lengths[len(lengths) // 2])
    return float(np.sqrt(np.mean(lengths**2)))
