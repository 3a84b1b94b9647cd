"""The uniform multi-task gradient: lambda * sum_k g_k (study A, Eq. 2; study B calls it equal weighting, EW)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.methods.base import LossWeighting

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """The scale lambda.

    Attributes:
        scale: ``sum`` for lambda = 1 (proposed: the paper's value is lost), ``mean`` for lambda = 1/K.
    """

    scale: Literal["sum", "mean"] = "sum"


class Method(LossWeighting):
    """Every task's gradient with the same weight.

    A zero gradient contributes nothing; a non-finite one makes the update non-finite, which ends the run as diverged.
    """

    def __init__(self, num_tasks: int, options: Options) -> None:
        self._weight = None if options.scale == "sum" else 1.0 / num_tasks

    def weights(self, losses: Tensor) -> Tensor | None:
        """The same constant for every task; see :class:`LossWeighting`."""
        return None if self._weight is None else torch.full_like(losses, self._weight)
