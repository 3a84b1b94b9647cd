"""What every measure works on, and what it gives."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from tasktrace.models import MultiTaskModel
from tasktrace.tasks import Task
from tasktrace.training.objectives import LOSSES, Objective

Parameters = Literal["model", "encoder"]
"""``model``: the encoder's and the task's own head's; ``encoder``: the encoder's alone."""


@dataclass(frozen=True)
class Quantity:
    """One measured number.

    Attributes:
        name: What it is, within its measure, e.g. ``trace``.
        value: The number.
        stderr: Its standard error over what the measure drew or averaged; NaN where a single value leaves none.
        other: The other task, where the number is about a pair.
    """

    name: str
    value: float
    stderr: float
    other: str = ""


class TaskModel(nn.Module):
    """One task's network: the encoder and its own head.

    Args:
        model: The model.
        task: The task's name.
    """

    def __init__(self, model: MultiTaskModel, task: str) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.head = model.heads[task]

    def forward(self, inputs: Tensor) -> Tensor:
        """Outputs of the task, shape (N, O)."""
        outputs: Tensor = self.head(self.encoder(inputs))
        return outputs

    def chosen(self, parameters: Parameters) -> dict[str, nn.Parameter]:
        """The parameters that a measure is about, by name, the encoder's first."""
        module = self if parameters == "model" else self.encoder
        prefix = "" if parameters == "model" else "encoder."
        return {prefix + name: parameter for name, parameter in module.named_parameters()}


@dataclass(frozen=True)
class Sample:
    """Training data that a measure sees: always the same of a task, for every run and checkpoint.

    Attributes:
        inputs: Normalised inputs, shape (n, ...).
        targets: Shape (n,) or (n, ...).
        population: Number of training samples N that the n were drawn from.
    """

    inputs: Tensor
    targets: Tensor
    population: int

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets, ``size`` samples at a time; samples that do not fill a batch are left out."""
        for start in range(0, len(self) - size + 1, size):
            yield self.inputs[start : start + size], self.targets[start : start + size]


@dataclass(frozen=True)
class Subject:
    """One task's loss at one checkpoint, as a function of parameters and data.

    Attributes:
        task: The task.
        model: Its network in eval mode: BatchNorm uses its running statistics.
        sample: The training data to measure on.
        generator: Gives a generator on the CPU for a purpose; the same for every run of the same setting, task and
            epoch, so that runs are compared on the same draws.
    """

    task: Task
    model: TaskModel
    sample: Sample
    generator: Callable[[str], torch.Generator] = field(repr=False)

    @property
    def loss(self) -> Objective:
        """The task's training loss: outputs and targets to the mean over samples."""
        return LOSSES[self.task.loss]
