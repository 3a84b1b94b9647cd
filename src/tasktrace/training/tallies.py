"""Loss and metrics of a task over a whole split, from outputs that come chunk by chunk."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from tasktrace.tasks import Task
from tasktrace.training.objectives import LOSSES, additive_loss, map_metric, metric_value

_CHUNK = 250
"""Inputs per forward pass: few enough for a CPU's cache. Another value would change the last bits of the results."""

_PIXELS = _CHUNK * 64 * 64
"""Of all inputs of a forward pass: fewer inputs where they are larger than the 64 x 64 pixels of faces."""


class Tally(Protocol):
    """What takes in a task's outputs on a split, in the order of its samples."""

    def add(self, outputs: Tensor) -> None:
        """Take in the outputs (m, O, ...) of the next samples."""

    def values(self) -> list[Tensor]:
        """Loss and metrics, float64 scalars."""


def chunk_size(inputs: Tensor) -> int:
    """How many of the stored inputs (N, ...) go forward at once where no gradient is needed."""
    return max(1, min(_CHUNK, _PIXELS // math.prod(inputs.shape[2:])))


def take_in(
    tallies: Mapping[str, Tally],
    encoder: nn.Module,
    heads: Mapping[str, nn.Module],
    inputs: Callable[[str], Iterable[Tensor]],
    shared: bool,
) -> None:
    """Give every tally its task's outputs; inputs that the tasks share go through the encoder once for all.

    Args:
        tallies: By task.
        encoder: The encoder, in eval mode.
        heads: By task.
        inputs: Gives a task's normalised inputs (m, ...), chunk by chunk.
        shared: Whether the tasks share their inputs.
    """
    together = [list(tallies)] if shared else [[name] for name in tallies]
    for names in together:
        for chunk in inputs(names[0]):
            features = encoder(chunk)
            for name in names:
                tallies[name].add(heads[name](features))


def tally(task: Task, targets: Tensor) -> Tally:
    """The tally of a task.

    Args:
        task: The task.
        targets: Its targets on the split, (n,) or maps (n, ...).
    """
    return _SampleTally(task, targets) if targets.ndim == 1 else _MapTally(task, targets)


class _SampleTally:
    """A task with one target per sample, whose outputs are few enough to wait for the split's last.

    Args:
        task: The task.
        targets: Its targets on a split, shape (n,).
    """

    def __init__(self, task: Task, targets: Tensor) -> None:
        self._task, self._targets = task, targets
        self._outputs: list[Tensor] = []

    def add(self, outputs: Tensor) -> None:
        """Take in the outputs (m, O) of the next samples."""
        self._outputs.append(outputs)

    def values(self) -> list[Tensor]:
        """Loss and metrics."""
        outputs = torch.cat(self._outputs).double()
        metrics = [metric_value(metric, outputs, self._targets) for metric in self._task.metrics]
        return [LOSSES[self._task.loss](outputs, self._targets), *metrics]


class _MapTally:
    """A task with maps of targets, of whose outputs only sums are kept.

    Args:
        task: The task.
        targets: Its targets on a split, shape (n, ...).
    """

    def __init__(self, task: Task, targets: Tensor) -> None:
        self._targets, self._seen = targets, 0
        self._scores = [additive_loss(task.loss), *(map_metric(metric) for metric in task.metrics)]
        zero = torch.zeros((), dtype=torch.int64, device=targets.device)
        self._sums = dict.fromkeys((score.statistics for score in self._scores), zero)

    def add(self, outputs: Tensor) -> None:
        """Take in the outputs (m, O, ...) of the next samples."""
        targets = self._targets[self._seen : self._seen + len(outputs)]
        self._seen += len(outputs)
        outputs = outputs.double()
        self._sums = {numbers: before + numbers(outputs, targets) for numbers, before in self._sums.items()}

    def values(self) -> list[Tensor]:
        """Loss and metrics."""
        return [score.value(self._sums[score.statistics]) for score in self._scores]
