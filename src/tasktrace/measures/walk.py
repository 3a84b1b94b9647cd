"""The pass over mini-batches whose gradients several measures share."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tasktrace.errors import ConfigError
from tasktrace.measures.base import BatchGradients, GradientMeasure, Pass, Quantity
from tasktrace.measures.trained import TrainedRun
from tasktrace.methods import FeatureWeighting, Method
from tasktrace.training.updates.base import Batch, gradient_of
from tasktrace.training.updates.choice import suits_batching
from tasktrace.training.updates.features import FeatureGradients
from tasktrace.training.updates.jacobian import FlatRows, TaskJacobian


def walk(run: TrainedRun, asked: Pass, measures: list[GradientMeasure]) -> list[list[list[Quantity]]]:
    """Give every mini-batch of a pass to every measure; one gradient per task and batch, whatever their number.

    Batches are disjoint and drawn without replacement: consecutive parts of the order in which the run is measured.

    Args:
        run: The run, at a checkpoint.
        asked: The pass.
        measures: What asked for it.

    Returns:
        By measure, then by task: its numbers.

    Raises:
        ConfigError: A task has fewer samples than two batches.
    """
    size = asked.batch_size or run.batch_size
    populations = [run.population(task) for task in run.tasks]
    count = min(asked.batches, min(populations) // size)
    if count < 2:
        raise ConfigError(
            f"measures: two batches of {size} samples are needed, and a task has {min(populations)} training samples; "
            "set a smaller batch_size in the measure's block (0 stands for the batch size of training)"
        )
    for measure in measures:
        measure.begin([task.name for task in run.tasks], size, populations)
    for gradients in _gradients(run, size, count):
        for measure in measures:
            measure.add(gradients)
    return [measure.finish() for measure in measures]


def _gradients(run: TrainedRun, size: int, count: int) -> Iterator[BatchGradients]:
    jacobian = TaskJacobian(run.parts, suits_batching(run.parts))
    method: Method | None = None
    for batch in _batches(run, size, count):
        run.parts.model.zero_grad()
        losses = jacobian.fill(batch)
        # Before anything else goes backward: the gradients lie in the heads' parameters.
        heads = [torch.cat([gradient_of(own).flatten() for own in head.parameters()]) for head in run.parts.heads]
        combined = None
        if len(run.tasks) > 1:
            method = run.method(method)
            combined = _combined(jacobian, method, batch, losses)
        yield BatchGradients(jacobian.matrix, heads, combined)
    run.parts.model.zero_grad()


def _batches(run: TrainedRun, size: int, count: int) -> Iterator[Batch]:
    positions = [run.rows(task, size * count).split(size) for task in run.tasks]
    for number in range(count):
        own = [run.inputs(task, rows[number]) for task, rows in zip(run.tasks, positions, strict=True)]
        inputs = own[0][0] if run.data.shared else torch.cat([values for values, _ in own])
        yield Batch(inputs, [targets for _, targets in own], run.data.shared)


def _combined(jacobian: TaskJacobian, method: Method, batch: Batch, losses: Tensor) -> Tensor:
    """The gradient that training would give the shared parameters, shape (P,).

    Methods that step one task after the other have no such gradient; for them it is the sum, which their steps follow
    to first order. Feature weightings take their weights from gradients of the features, as in training. Where a
    gradient is not finite or a method finds no weights there is none either: NaN.
    """
    if method.one_after_the_other:
        return jacobian.matrix.sum(dim=0)
    method.last_layer = jacobian.last_layer
    try:
        if isinstance(method, FeatureWeighting):
            return _through_features(jacobian, method, batch)
        return method.combine(jacobian.matrix, losses)
    except ArithmeticError:
        return torch.full_like(jacobian.matrix[0], torch.nan)


def _through_features(jacobian: TaskJacobian, method: FeatureWeighting, batch: Batch) -> Tensor:
    FeatureGradients(jacobian.parts, [], method).gradients(batch)
    # In the Jacobian's order, which is that of memory.
    row = FlatRows(jacobian.parts.shared, 1)
    row.fill(0, [gradient_of(parameter) for parameter in jacobian.parts.shared])
    return row.matrix[0]
