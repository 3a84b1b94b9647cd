"""IMTL-L, impartial losses (Liu et al. 2021, Section 3.2): learned factors that bring all losses to one scale."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tasktrace.methods.base import LossWeighting

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the weights weigh.

    Attributes:
        heads: ``plain`` for every head's own gradient, ``weighted`` for the weights on the heads too, as in the
            paper's sum of weighted losses.
    """

    heads: Literal["plain", "weighted"] = "plain"


class Method(LossWeighting):
    """The weight e^{s_t}, with s_t learned together with the model, from s_t = 0.

    The objective is sum_t e^{s_t} L_t - s_t, so that dL/ds_t = e^{s_t} L_t - 1, which is zero at e^{s_t} = 1/L_t. The
    weights, in units of 1/loss, are those before the step's update.

    The update is linear in the gradients, of degree 1, for the losses and factors of the step. A zero gradient
    contributes nothing, while s_t follows its loss; a non-finite loss makes s_t, a non-finite gradient the update
    non-finite, which ends the run as diverged.
    """

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        self.weigh_heads = options.heads == "weighted"
        self._log_factors = nn.Parameter(torch.zeros(num_tasks))

    def weights(self, losses: Tensor) -> Tensor:
        """The factors, and the gradient of their logarithms; see :class:`LossWeighting`."""
        factors = self._log_factors.detach().to(losses).exp()
        self._log_factors.grad = (factors * losses - 1).to(self._log_factors)
        return factors

    def parameters(self) -> list[nn.Parameter]:
        """The logarithms of the factors, shape (T,)."""
        return [self._log_factors]

    def state_dict(self) -> dict[str, Tensor]:
        """The logarithms of the factors."""
        return {"log_factors": self._log_factors.detach().clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave, in place: the optimizer holds the same tensor."""
        self._log_factors.detach().copy_(state["log_factors"])
