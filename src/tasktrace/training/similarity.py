"""How alike gradients of single samples are while training: between tasks, and between samples (study B, figure 4).

Elich et al. 2024, with the measures of Yu et al. 2020. Watching changes nothing: buffers and generators are as before.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tasktrace.gradients import conflicting_shares, cosines, magnitude_similarities
from tasktrace.methods import gramian
from tasktrace.models.multitask import uses_batch_statistics
from tasktrace.seeding import derive_seed
from tasktrace.training.trajectory import Row
from tasktrace.training.updates import Batch, Parts

KINDS = ("inter_task", "inter_sample", "inter_task_averaged", "inter_sample_averaged")
"""Pairs of tasks on the same sample; pairs of samples of the same task; both again with gradients averaged over what
the pairs do not differ in (the batch's samples, the tasks): figure A5."""

QUANTITIES = ("cosine", "magnitude_similarity", "conflicting", "product")

STATISTICS = ("mean", "std", "low", "high", "mean_positive", "mean_negative")
"""Over all pairs of an epoch: mean, standard deviation, 2.5 and 97.5 percentiles, and the means of values above and
below zero (figure A6)."""

_PERCENTILES = torch.tensor([0.025, 0.975], dtype=torch.float64)


@dataclass(frozen=True)
class Watch:
    """When to look, and at how much.

    Attributes:
        every: Look at every so many-th step.
        most: Samples, and tasks, that are compared; so many random ones where there are more.
    """

    every: int
    most: int


class SimilarityWatch:
    """Collects the similarities of an epoch.

    BatchNorm: with batch statistics the whole batch goes forward once in training mode, and each sample's loss goes
    back through that one graph; the running statistics are not updated. Without, only the chosen samples go forward.

    Args:
        watch: When, and at how much.
        parts: The model; its tasks share their inputs.
        seed: The run's seed: which samples and tasks are chosen.
    """

    def __init__(self, watch: Watch, parts: Parts, seed: int) -> None:
        self._watch, self._parts, self._seed = watch, parts, seed
        self._values: list[Tensor] = []

    def look(self, batch: Batch, epoch: int, step: int) -> None:
        """Compare the gradients of some samples of a step's batch, before the step, if it is a step to look at."""
        if step % self._watch.every:
            return
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "similarity", epoch, step))
        samples = _some(len(batch.inputs), self._watch.most, generator)
        tasks = _some(len(self._parts.heads), self._watch.most, generator)
        with _left_as_it_was(self._parts.model):
            self._values.append(compared(sample_gradients(self._parts, batch, samples, tasks)))

    def finish(self, epoch: int, step: int) -> list[Row]:
        """The epoch's statistics as rows of the trajectory, and a new start."""
        if not self._values:
            return []
        pooled = torch.cat(self._values)
        self._values = []
        return [
            Row(epoch, step, "", "train", f"{kind}.{quantity}.{statistic}", value)
            for number, kind in enumerate(KINDS)
            for place, quantity in enumerate(QUANTITIES)
            for statistic, value in _statistics(pooled[pooled[:, 0] == number, place + 1]).items()
        ]

    def state_dict(self) -> dict[str, Tensor]:
        """What the epoch has given so far."""
        return {"values": torch.cat(self._values)} if self._values else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._values = [state["values"]] if state else []


def sample_gradients(parts: Parts, batch: Batch, samples: list[int], tasks: list[int]) -> Tensor:
    """Gradients of single samples' losses by the encoder's parameters.

    Args:
        parts: The model.
        batch: A batch of inputs that the tasks share.
        samples: n positions in the batch.
        tasks: T positions among the heads.

    Returns:
        Shape (T, n, P).
    """
    shared = parts.shared
    heads = [parts.heads[task] for task in tasks]
    # Where there is BatchNorm the whole batch goes forward.
    is_whole = parts.model.uses_batch_statistics or any(uses_batch_statistics(head) for head in heads)
    features: Tensor = parts.model.encoder(batch.inputs if is_whole else batch.inputs[samples])
    places = samples if is_whole else list(range(len(samples)))
    rows = []
    for task, head in zip(tasks, heads, strict=True):
        whole = head(features) if uses_batch_statistics(head) else None
        for place, sample in zip(places, samples, strict=True):
            outputs = head(features[place : place + 1]) if whole is None else whole[place : place + 1]
            loss = parts.objectives[task](outputs, batch.targets[task][sample : sample + 1])
            gradient = torch.autograd.grad(loss, shared, retain_graph=True)
            rows.append(torch.cat([own.flatten() for own in gradient]))
    return torch.stack(rows).view(len(tasks), len(samples), -1)


def compared(gradients: Tensor) -> Tensor:
    """All similarities of a step.

    Args:
        gradients: Shape (T, n, P).

    Returns:
        One row per pair, float64, on the CPU: the kind's number, then ``QUANTITIES``; NaN where a gradient is zero.
    """
    by_kind = (
        list(gradients.unbind(dim=1)),
        list(gradients.unbind(dim=0)),
        [gradients.mean(dim=1)],
        [gradients.mean(dim=0)],
    )
    found = [_pairs(number, rows) for number, groups in enumerate(by_kind) for rows in groups]
    return torch.cat(found)


def _pairs(kind: int, rows: Tensor) -> Tensor:
    """Every two of the rows (m, P) compared, (m (m - 1) / 2, 5)."""
    products = gramian(rows)
    matrices = [
        torch.full_like(products, kind),
        cosines(products),
        magnitude_similarities(products),
        conflicting_shares(rows)["conflicting"],
        products,
    ]
    first, second = torch.triu_indices(len(rows), len(rows), offset=1)
    return torch.stack([matrix[first, second] for matrix in matrices], dim=1)


def _statistics(values: Tensor) -> dict[str, float]:
    known = values[~values.isnan()]
    if not len(known):
        return dict.fromkeys(STATISTICS, torch.nan)
    low, high = known.quantile(_PERCENTILES).tolist()
    numbers = (
        known.mean(),
        known.std(correction=0),
        low,
        high,
        known[known > 0].mean(),
        known[known < 0].mean(),
    )
    return dict(zip(STATISTICS, map(float, numbers), strict=True))


def _some(count: int, most: int, generator: torch.Generator) -> list[int]:
    """At most so many positions, in order."""
    chosen: list[int] = torch.randperm(count, generator=generator)[:most].sort().values.tolist()
    return chosen


@contextmanager
def _left_as_it_was(model: torch.nn.Module) -> Iterator[None]:
    """Put running statistics and generators back."""
    buffers: dict[str, Any] = {name: value.clone() for name, value in model.named_buffers()}
    with torch.random.fork_rng():
        yield
    for name, value in model.named_buffers():
        value.copy_(buffers[name])
