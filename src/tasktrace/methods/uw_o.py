"""UW-O, optimal uncertainty weighting (study B, Appendix A1): every loss divided by its own value."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from tasktrace.methods.base import LossWeighting

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the weights weigh.

    Attributes:
        heads: ``plain`` for every head's own gradient, ``weighted`` for the weights on the heads too, as in the
            paper's sum of divided losses: only then are the heads, too, invariant to the losses' scales under SGD.
    """

    heads: Literal["plain", "weighted"] = "plain"


class Method(LossWeighting):
    """The weight 1/L_t, in units of 1/loss: the objective is sum_t L_t / sg[L_t], with sg the stop of the gradient.

    It is what uncertainty weighting with a Laplace likelihood becomes once its scales are optimal: L_t/sigma_t + log
    sigma_t is least at sigma_t = L_t. The update is linear in the gradients, of degree 1; scaling a task's loss, and
    its gradient with it, changes nothing, of degree 0.

    Losses are to be positive. A zero loss has an infinite weight, which no gradient makes finite again: like a
    non-finite loss or gradient it makes the update non-finite, which ends the run as diverged. A zero gradient of a
    positive loss contributes nothing.
    """

    def __init__(self, _num_tasks: int, options: Options, _seed: int) -> None:
        self.weigh_heads = options.heads == "weighted"

    def weights(self, losses: Tensor) -> Tensor:
        """One over each loss; see :class:`LossWeighting`."""
        return losses.reciprocal()
