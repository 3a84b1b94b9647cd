"""The evaluation at the end of an epoch: whole splits, eval mode."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tasktrace.settings.prepared import SPLITS
from tasktrace.training.engine import Engine
from tasktrace.training.tallies import chunk_size, take_in, tally
from tasktrace.training.trajectory import Row


def evaluate(engine: Engine, epoch: int) -> list[Row]:
    """Loss and metrics of every task on every whole split: for T tasks of one metric 2 x 3 x T rows.

    Losses are computed in float64 from the model's float32 outputs, so that a full training loss near 1e-7 is not
    rounding. The cost is one forward pass over all samples of the tasks, over those that tasks share once for all.
    """
    engine.model.eval()
    names, values = [], []
    with torch.inference_mode():
        found = {split: _values(engine, split) for split in SPLITS}
        for number, task in enumerate(engine.tasks):
            for split in SPLITS:
                names += [(task.name, split, quantity) for quantity in ("loss", "metric", *task.more_metrics)]
                values += found[split][number]
        numbers = torch.stack(values).tolist()
    step = epoch * engine.steps
    return [Row(epoch, step, *name, number) for name, number in zip(names, numbers, strict=True)]


def _values(engine: Engine, split: str) -> list[list[Tensor]]:
    """Loss and metrics of every task on a split."""
    data, model = engine.data, engine.model
    tallies = {task.name: tally(task, data.targets[task.name, split]) for task in engine.tasks}
    heads = {name: model.heads[name] for name in tallies}

    def inputs(name: str) -> Iterator[Tensor]:
        return (data.normalised(rows) for rows in data.rows[name, split].split(chunk_size(data.inputs)))

    take_in(tallies, model.encoder, heads, inputs, data.shared)
    return [own.values() for own in tallies.values()]
