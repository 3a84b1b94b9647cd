"""A setting's data on the training device, and the order in which each task goes through it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from tasktrace.errors import ConfigError
from tasktrace.seeding import derive_seed
from tasktrace.settings.prepared import SPLITS, Prepared


class DeviceData:
    """Everything in memory: inputs once, and each task's rows and targets per split.

    Args:
        prepared: The setting's prepared data.
        tasks: The tasks of the run.
        device: Where training happens.
        shared: Whether the tasks share their inputs.

    Raises:
        ConfigError: A task is not in the prepared data.

    Attributes:
        shared: The same.
        inputs: Stored pixels, uint8, shape (N, C, H, W), or tokens, int32, (N, L).
        rows: By task and split, rows of ``inputs``, int64, shape (n,).
        targets: By task and split, shape (n,) or, for a target per pixel, (n, ...), as stored: class maps in int8.
    """

    def __init__(self, prepared: Prepared, tasks: list[str], device: torch.device, shared: bool = False) -> None:
        def load(name: str) -> Tensor:
            return torch.from_numpy(prepared.tensors[name]).to(device)

        _check_prepared(prepared, tasks)

        self.inputs = load("inputs")
        self.rows = {(task, split): load(f"{task}/{split}/index") for task in tasks for split in SPLITS}
        self.targets = {(task, split): load(f"{task}/{split}/target") for task in tasks for split in SPLITS}
        self.shared = shared
        self._tasks = tasks
        shape = (1, len(prepared.mean)) + (1,) * (self.inputs.ndim - 2)
        self._mean = torch.tensor(prepared.mean, device=device).view(shape)
        self._scale = torch.tensor(prepared.std, device=device).reciprocal().view(shape)
        self._holds_tokens = not prepared.mean

    def orders(self, batch_size: int, seed: int) -> dict[str, "Order"]:
        """The order of each task's batches; one and the same for all where they share their inputs."""
        names = ["every task"] * len(self._tasks) if self.shared else self._tasks
        return {
            task: Order(name, len(self.rows[task, "train"]), batch_size, seed)
            for task, name in zip(self._tasks, names, strict=True)
        }

    def normalised(self, rows: Tensor) -> Tensor:
        """The inputs of ``rows`` (n,) as the model takes them.

        Returns:
            Pixels with zero mean and unit variance per channel, float32, (n, C, H, W); tokens, int64, (n, L).
        """
        return self.normalise(self.inputs[rows])

    def normalise(self, stored: Tensor) -> Tensor:
        """Stored inputs as the model takes them: of pixels the training data's mean taken off, over its deviation."""
        if self._holds_tokens:
            return stored.long()
        return stored.to(torch.float32, copy=True).sub_(self._mean).mul_(self._scale)


def _check_prepared(prepared: Prepared, tasks: list[str]) -> None:
    held = [name.removesuffix("/train/index") for name in prepared.tensors if name.endswith("/train/index")]
    absent = [task for task in tasks if task not in held]
    if absent:
        raise ConfigError(
            f"the prepared data has no task {', '.join(absent)}, it has {', '.join(sorted(held))}; let the setting's "
            "data prepare it (fashion: `notmnist: true`, glue: `tasks`), or take it out of the groups"
        )


class Order:
    """The batches of one task: pass after pass over its training data, each in a permutation of its own.

    The permutation of a pass depends on (seed, task, pass) alone, so any batch can be found again after a resume.
    Samples that do not fill a batch are left out of their pass.

    Args:
        task: The task's name.
        size: Number of its training samples.
        batch_size: Samples per batch.
        seed: The run's seed.

    Raises:
        ConfigError: The task has fewer samples than one batch.
    """

    def __init__(self, task: str, size: int, batch_size: int, seed: int) -> None:
        if size < batch_size:
            raise ConfigError(
                f"batch size {batch_size} is larger than the {size} training samples of task {task!r}; "
                "take a smaller one in the setting's sweep or experiments"
            )
        self.batches_per_pass = size // batch_size
        self._task, self._size, self._batch_size, self._seed = task, size, batch_size, seed

    def batches(self, first: int, count: int) -> Tensor:
        """Positions in the training data of batches ``first`` to ``first + count``, int64, (count, batch size)."""
        pass_range = range(first // self.batches_per_pass, math.ceil((first + count) / self.batches_per_pass))
        start = first - pass_range.start * self.batches_per_pass
        return torch.cat([self._permuted(number) for number in pass_range])[start : start + count]

    def _permuted(self, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "order", self._task, number))
        used = self.batches_per_pass * self._batch_size
        return torch.randperm(self._size, generator=generator)[:used].view(-1, self._batch_size)


class EpochBatches:
    """The batches of one epoch for all tasks of a run, gathered once; only maps of targets step by step.

    Attributes:
        rows: Rows of the inputs: (steps, batch size) if the tasks share them, else the tasks' batches side by side,
            (steps, T * batch size).
    """

    def __init__(self, data: DeviceData, orders: dict[str, Order], epoch: int, steps: int) -> None:
        device = data.inputs.device
        positions = {task: order.batches(epoch * steps, steps).to(device) for task, order in orders.items()}
        rows = [data.rows[task, "train"][own] for task, own in positions.items()]
        self.rows = rows[0] if data.shared else torch.cat(rows, dim=1)
        self._targets = [_gathered(data.targets[task, "train"], own) for task, own in positions.items()]

    def step(self, number: int) -> tuple[Tensor, list[Tensor]]:
        """Rows of the inputs and targets of each task, (batch size, ...), of one step."""
        return self.rows[number], [own(number) for own in self._targets]


def _gathered(targets: Tensor, positions: Tensor) -> Callable[[int], Tensor]:
    """From a step to its targets, (batch size, ...), by positions of shape (steps, batch size)."""
    if targets.ndim == 1:
        return targets[positions].__getitem__
    # Maps of a whole epoch would take as much memory again as those of the data.
    return lambda number: targets[positions[number]]


def steps_per_epoch(prepared: Prepared, batch_size: int) -> int:
    """Steps of an epoch: one pass over the largest task of the setting, whichever tasks a run trains.

    So single-task and multi-task runs of a setting take the same number of steps.
    """
    sizes = [len(array) for name, array in prepared.tensors.items() if name.endswith("/train/index")]
    return max(1, max(sizes) // batch_size)
