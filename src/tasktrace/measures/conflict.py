"""Gradient conflict: between a task and the actual multi-task gradient (study A, Eq 6), and between pairs of tasks.

Magnitude similarity and the conflict of pairs after Yu et al. 2020.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.gradients import conflicting_shares, cosines, magnitude_similarities
from tasktrace.measures.base import BatchGradients, GradientMeasure, Pass, Quantity
from tasktrace.methods import gramian

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which mini-batches.

    Attributes:
        batch_size: Samples of every task per batch; 0 for the run's batch size, as in the paper.
        batches: Number R of disjoint batches; fewer if a task has no more. Proposed: the paper's number is lost.
        pairs: Whether to compare every two tasks as well.
    """

    batch_size: int = 0
    batches: int = 20
    pairs: bool = True

    def __post_init__(self) -> None:
        """Refuse what leaves nothing to average."""
        check_range(self, "batch_size", low=0)
        check_range(self, "batches", low=2)


class Measure(GradientMeasure):
    """Cosines, magnitude similarities and shares of conflicting coordinates on the encoder's parameters.

    Cost: the inner products of T + 1 vectors per batch; the gradients are the pass's. Means over batches, with their
    standard errors; a batch in which a gradient is zero has no cosine and is left out. A task alone has no rows.

    - ``similarity``: cosine of the task's gradient and the gradient that the run's method would apply (Eq 6), which
      contains the task's own; 1 is agreement, low is conflict;
    - ``cosine`` with every other task;
    - ``magnitude_similarity`` 2 |a| |b| / (|a|^2 + |b|^2) with every other task, 1 for equal norms;
    - ``conflicting`` with every other task: share of the coordinates in which the two have opposite signs;
    - ``conflicting_nonzero``: the same of the coordinates in which neither is zero.
    """

    def __init__(self, options: Options) -> None:
        self.walk = Pass(options.batch_size, options.batches)
        self._pairs = options.pairs

    def begin(self, tasks: list[str], _batch_size: int, _populations: list[int]) -> None:
        """See :class:`GradientMeasure`."""
        self._tasks = tasks
        self._similarities: list[Tensor] = []
        self._compared: dict[str, list[Tensor]] = {}

    def add(self, gradients: BatchGradients) -> None:
        """See :class:`GradientMeasure`."""
        if gradients.combined is None:
            return
        products = gramian(torch.cat([gradients.shared, gradients.combined[None]]))
        self._similarities.append(cosines(products)[:-1, -1])
        if self._pairs:
            own = products[:-1, :-1]
            compared = {
                "cosine": cosines(own),
                "magnitude_similarity": magnitude_similarities(own),
                **conflicting_shares(gradients.shared),
            }
            for name, matrix in compared.items():
                self._compared.setdefault(name, []).append(matrix)

    def finish(self) -> list[list[Quantity]]:
        """See :class:`GradientMeasure`."""
        if not self._similarities:
            return [[] for _ in self._tasks]
        similarities = torch.stack(self._similarities)
        compared = {name: torch.stack(matrices) for name, matrices in self._compared.items()}
        return [
            [
                _quantity("similarity", similarities[:, task]),
                *(
                    _quantity(name, matrices[:, task, other], self._tasks[other])
                    for other in range(len(self._tasks))
                    if other != task
                    for name, matrices in compared.items()
                ),
            ]
            for task in range(len(self._tasks))
        ]


def _quantity(name: str, values: Tensor, other: str = "") -> Quantity:
    """The mean over the batches that have the number."""
    return Quantity.mean(name, values[~values.isnan()], other)
