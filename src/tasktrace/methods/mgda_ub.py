"""MGDA-UB: MGDA on the gradients of the shared features (Sener and Koltun 2018)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tasktrace.methods.base import FeatureWeighting
from tasktrace.methods.mgda import normalised_min_norm

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the gradients are divided by before they are combined.

    Attributes:
        normalization: ``none``; ``l2``: the norm of the features' gradient; ``loss``: the task's loss; ``loss+``: their
            product.
    """

    normalization: Literal["none", "l2", "loss", "loss+"] = "none"


class Method(FeatureWeighting):
    """The weights of :class:`tasktrace.methods.mgda.Method` from gradients z_k of the features.

    Source: Sener and Koltun 2018, section 3.3: |sum_k alpha_k z_k| times the norm of the features' Jacobian bounds
    |sum_k alpha_k g_k| from above, and needs one backward pass of the encoder instead of T. Then
    d = sum_k alpha_k g_k / s_k, where the sizes s_k use |z_k|. Without conflict only where the features' Jacobian has
    full rank (their theorem 1).

    Degrees, a zero gradient of the features, zero losses and errors are as for MGDA.
    """

    def __init__(self, _num_tasks: int, options: Options, _seed: int) -> None:
        self._normalization = options.normalization

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """alpha_k / s_k from inner products of the features' gradients; see :meth:`GramianWeighting.weights`."""
        return normalised_min_norm(gramian, losses, self._normalization)
