"""The evaluation at the end of an epoch: whole splits, eval mode."""

import torch
from torch import Tensor

from tasktrace.settings.prepared import SPLITS
from tasktrace.training.engine import Engine
from tasktrace.training.objectives import LOSSES, METRICS
from tasktrace.training.trajectory import Row

_CHUNK = 250
"""Inputs per forward pass: few enough for a CPU's cache. Another value would change the last bits of the results."""


def evaluate(engine: Engine, epoch: int) -> list[Row]:
    """Loss and metrics of every task on every whole split: for T tasks of one metric 2 x 3 x T rows.

    Losses are computed in float64 from the model's float32 outputs, so that a full training loss near 1e-7 is not
    rounding. The cost is one forward pass over all samples of the tasks.
    """
    engine.model.eval()
    names, values = [], []
    with torch.inference_mode():
        for task in engine.tasks:
            for split in SPLITS:
                outputs = _outputs(engine, task.name, split).double()
                targets = engine.data.targets[task.name, split]
                names += [(task.name, split, quantity) for quantity in ("loss", "metric", *task.more_metrics)]
                values.append(LOSSES[task.loss](outputs, targets))
                values += [METRICS[metric](outputs, targets) for metric in task.metrics]
        numbers = torch.stack(values).tolist()
    step = epoch * engine.steps
    return [Row(epoch, step, *name, number) for name, number in zip(names, numbers, strict=True)]


def _outputs(engine: Engine, task: str, split: str) -> Tensor:
    """The task's outputs on a split, shape (n, O)."""
    chunks = engine.data.rows[task, split].split(_CHUNK)
    return torch.cat([engine.model(engine.data.normalised(rows), task) for rows in chunks])
