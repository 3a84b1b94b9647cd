"""The uniform multi-task gradient: lambda * sum_k g_k (study A, Eq. 2; study B calls it equal weighting, EW)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.methods.base import LossWeighting

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """The scale lambda, or a weight for every task.

    Attributes:
        scale: ``sum`` for lambda = 1 (proposed: the paper's value is lost), ``mean`` for lambda = 1/K.
        task_weights: Fixed weights in the order of the group's tasks, on top of the scale: a scalarisation; empty for
            equal weights.
    """

    scale: Literal["sum", "mean"] = "sum"
    task_weights: tuple[float, ...] = ()


class Method(LossWeighting):
    """Every task's gradient with the same weight, or with a fixed one.

    A zero gradient contributes nothing; a non-finite one makes the update non-finite, which ends the run as diverged.
    """

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        given = options.task_weights or (1.0,) * num_tasks
        if len(given) != num_tasks:
            raise ValueError(f"task_weights needs one weight for each of the {num_tasks} tasks, found {list(given)}")
        scale = 1.0 if options.scale == "sum" else 1.0 / num_tasks
        weights = torch.tensor([scale * weight for weight in given], dtype=torch.float64)
        self._weights = None if bool((weights == 1.0).all()) else weights

    def weights(self, losses: Tensor) -> Tensor | None:
        """The same constants at every step; see :class:`LossWeighting`."""
        if self._weights is not None:
            self._weights = self._weights.to(losses)  # stays there: nothing is copied at later steps
        return self._weights
