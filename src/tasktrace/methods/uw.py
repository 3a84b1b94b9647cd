"""UW, uncertainty weighting (Kendall et al. 2018), with learned logarithms of the variances as in LibMTL."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from tasktrace.methods.base import LossWeighting

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the variances start, and what the weights weigh.

    Attributes:
        initial_log_variance: s_t at the start; -0.5 as in LibMTL, which study B uses.
        heads: ``plain`` for every head's own gradient, ``weighted`` for the weights on the heads too, as in the
            paper's sum of weighted losses.
    """

    initial_log_variance: float = -0.5
    heads: Literal["plain", "weighted"] = "plain"


class Method(LossWeighting):
    """The weight e^{-s_t}/2, with s_t = log sigma_t^2 learned together with the model.

    The objective is sum_t L_t/(2 e^{s_t}) + s_t/2, so that dL/ds_t = (1 - L_t e^{-s_t})/2, which is zero at
    s_t = log L_t. Losses in their own unit, sigma_t^2 in that unit; the weights are those before the step's update.

    The update is linear in the gradients, of degree 1, for the losses and variances of the step. A zero gradient
    contributes nothing, while s_t follows its loss; a non-finite loss makes s_t, a non-finite gradient the update
    non-finite, which ends the run as diverged.
    """

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        self.weigh_heads = options.heads == "weighted"
        self._log_variances = nn.Parameter(torch.full((num_tasks,), options.initial_log_variance))

    def weights(self, losses: Tensor) -> Tensor:
        """Half the inverse variances, and the gradient of their logarithms; see :class:`LossWeighting`."""
        precisions = (-self._log_variances.detach().to(losses)).exp()
        self._log_variances.grad = ((1 - losses * precisions) / 2).to(self._log_variances)
        return precisions / 2

    def parameters(self) -> list[nn.Parameter]:
        """The logarithms of the variances, shape (T,)."""
        return [self._log_variances]

    def state_dict(self) -> dict[str, Tensor]:
        """The logarithms of the variances."""
        return {"log_variances": self._log_variances.detach().clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave, in place: the optimizer holds the same tensor."""
        self._log_variances.detach().copy_(state["log_variances"])
