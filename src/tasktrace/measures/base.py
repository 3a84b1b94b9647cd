"""What every measure works on, and what it gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Self

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

    @classmethod
    def mean(cls, name: str, values: Tensor, other: str = "") -> Self:
        """The mean of values, shape (n,), with its standard error."""
        return cls(name, float(values.mean()), float(standard_error(values)), other)


def standard_error(values: Tensor) -> Tensor:
    """Standard error of the mean over the first dimension, from (n, ...) to (...); NaN for fewer than two values."""
    if len(values) < 2:
        return values.new_full(values.shape[1:], torch.nan)
    error: Tensor = values.std(dim=0) / len(values) ** 0.5
    return error


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
        self.training = model.training  # as its parts are

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


class SampleMeasure(ABC):
    """A measure of one task's loss on a sample of its training data.

    Attributes:
        samples: Training samples that the sample should hold; a task that has fewer gives all it has.
    """

    samples: int

    @abstractmethod
    def measure(self, subject: Subject) -> list[Quantity]:
        """The numbers of one task at one checkpoint.

        Raises:
            ConfigError: The task has too few samples for the measure's options.
        """


@dataclass(frozen=True)
class BatchGradients:
    """The gradients of one mini-batch of every task; valid until the next batch.

    Attributes:
        shared: Row t is task t's gradient of the encoder's parameters, shape (T, P).
        heads: Each task's gradient of its own head's parameters, shapes (H_t,).
        combined: The gradient of the encoder's parameters that training would apply, shape (P,); None for one task.
    """

    shared: Tensor
    heads: list[Tensor]
    combined: Tensor | None


@dataclass(frozen=True)
class Pass:
    """One walk over disjoint mini-batches, which all measures that ask for the same one share.

    Attributes:
        batch_size: Samples of every task per batch; 0 for as many as the run trained with.
        batches: Number of batches; fewer if a task has no more.
    """

    batch_size: int
    batches: int


class GradientMeasure(ABC):
    """A measure of the mini-batch gradients of all tasks of a run.

    Attributes:
        walk: The pass that it needs.
    """

    walk: Pass

    @abstractmethod
    def begin(self, tasks: list[str], batch_size: int, populations: list[int], /) -> None:
        """Start at a checkpoint.

        Args:
            tasks: Names of the tasks.
            batch_size: Samples per batch.
            populations: Training samples that each task has.
        """

    @abstractmethod
    def add(self, gradients: BatchGradients) -> None:
        """Take in one mini-batch."""

    @abstractmethod
    def finish(self) -> list[list[Quantity]]:
        """The numbers of every task."""
