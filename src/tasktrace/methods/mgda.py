"""MGDA: the shortest convex combination of the task gradients (Sener and Koltun 2018)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.solvers.min_norm import min_norm_weights

VERSION = 1


class NegativeLossError(ArithmeticError):
    """A loss is negative, or all are zero, so that gradients cannot be divided by the losses."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the gradients are divided by before they are combined.

    Attributes:
        normalization: ``none``; ``l2``: the gradient's norm; ``loss``: the task's loss; ``loss+``: their product.
    """

    normalization: Literal["none", "l2", "loss", "loss+"] = "none"


class Method(GramianWeighting):
    """The direction d = sum_k alpha_k g_k / s_k, with alpha = argmin |sum_k alpha_k g_k / s_k| over the simplex.

    Source: Sener and Koltun, "Multi-Task Learning as Multi-Objective Optimization" (2018), Eq. 3 and algorithm 2, after
    Désidéri (2012). The sizes s_k are the ``normalization`` of their code, which the paper does not mention. d combines
    the divided gradients, as in LibMTL, so that it conflicts with no task: g_k.d / s_k >= |d|^2. (The authors' own
    script multiplies the undivided gradients by alpha_k.) With two tasks alpha is not clipped to [0.001, 0.999].

    Units: those of g_k / s_k. Degree in the gradients, for fixed losses: 1 for ``none`` and ``loss``, 0 for ``l2`` and
    ``loss+``. A zero gradient: d is 0 whatever the normalisation, as the task cannot be improved: MGDA stops. A zero
    loss is taken as the limit of small ones: sum_k beta_k s_k = 1 for the weights beta_k = alpha_k / s_k.
    """

    def __init__(self, _num_tasks: int, options: Options, _seed: int) -> None:
        self._normalization = options.normalization

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """alpha_k / s_k; see :meth:`GramianWeighting.weights`.

        Raises:
            NonFiniteError: A gradient, or with ``loss`` and ``loss+`` a loss, is NaN or infinite.
            NegativeLossError: With ``loss`` and ``loss+``: a loss is negative, or all are zero.
            SolverError: Not solved to tolerance.
        """
        return normalised_min_norm(gramian, losses, self._normalization)


def normalised_min_norm(gramian: Tensor, losses: Tensor, normalization: str) -> Tensor:
    """The weights alpha_k / s_k of :class:`Method`, shape (T,); arguments and errors as there."""
    by_loss = normalization in ("loss", "loss+")
    check_finite(gramian, losses if by_loss else None)
    sizes = torch.ones(len(gramian), dtype=gramian.dtype)
    if by_loss:
        sizes = _positive(losses, normalization)
    if normalization in ("l2", "loss+"):
        sizes = sizes * gramian.diagonal().sqrt()
    return torch.from_numpy(min_norm_weights(gramian.numpy(), sizes.numpy()))


def _positive(losses: Tensor, normalization: str) -> Tensor:
    if (losses < 0).any() or not losses.any():
        raise NegativeLossError(
            f"normalization {normalization!r} needs losses >= 0, not all zero, found {losses.tolist()}"
        )
    return losses
