"""A finished run, brought back to any of its checkpoints."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasktrace.measures.base import Sample, Subject, TaskModel
from tasktrace.methods import Method, run_method
from tasktrace.seeding import derive_seed
from tasktrace.settings.prepared import Prepared
from tasktrace.tasks import Task
from tasktrace.training.assembly import assemble
from tasktrace.training.checkpoints import load_checkpoint, read_checkpoint
from tasktrace.training.engine import METHOD, below

_GENERATOR = "generator"


class TrainedRun:
    """Model, data and method of a run whose checkpoints are measured.

    Args:
        record: The content of its ``run.json``.
        prepared: Its setting's prepared data.
        root: The project's folder.
        device: Where to measure.

    Attributes:
        tasks: Its tasks, in the spec's order.
        data: The setting's data.
        parts: The model, in eval mode, by the roles of its parameters.
        batch_size: Samples of every task in a batch of its training.
        seed: The run's seed.
    """

    def __init__(self, record: dict[str, Any], prepared: Prepared, root: Path, device: torch.device) -> None:
        spec = record["spec"]
        assembly = assemble(spec, prepared, device)
        self._record, self._root, self._device = record, root, device
        self.tasks, self.data, self.parts = assembly.tasks, assembly.data, assembly.parts
        self.batch_size: int = spec["point"]["batch_size"]
        self.seed: int = spec["seed"]
        self._model = self.parts.model.eval()
        self._samples: dict[tuple[str, int], Sample] = {}

    def load(self, epoch: int, is_verified: bool = True) -> None:
        """Go to the checkpoint of an epoch.

        Args:
            epoch: Finished epochs.
            is_verified: Whether the run's files have been; otherwise the one that is read is.
        """
        read = read_checkpoint if is_verified else load_checkpoint
        state = read(self._record, epoch, self._root)
        self._epoch = epoch
        self._method_state = below(METHOD, state)
        self._model.load_state_dict({name: value for name, value in state.items() if not name.startswith(METHOD)})

    def method(self, before: Method | None = None) -> Method:
        """The run's method as it was at the checkpoint.

        Args:
            before: The one that the last batch of the pass was combined with, None at the first; what it drew is not
                drawn again.
        """
        spec = self._record["spec"]
        if before is None:
            # TorchJD's random classes draw from the global generators, whose states no checkpoint holds.
            torch.manual_seed(derive_seed(0, "measure", "method", self._epoch))
        method = run_method(spec["method"], len(self.tasks), spec["seed"]).to(self._device)
        state = dict(self._method_state)
        if before is not None and _GENERATOR in state:
            state[_GENERATOR] = before.state_dict()[_GENERATOR]
        method.load_state_dict(state)
        return method

    def population(self, task: Task) -> int:
        """Number of training samples of a task."""
        return len(self.data.rows[task.name, "train"])

    def rows(self, task: Task, count: int) -> Tensor:
        """Positions in a task's training data of the first ``count`` samples to measure on, int64.

        They are the same for every run of the setting, checkpoint and measure, and for all tasks that share inputs.
        """
        name = "every task" if self.data.shared else task.name
        generator = torch.Generator().manual_seed(derive_seed(0, "measure", "sample", name))
        return torch.randperm(self.population(task), generator=generator)[:count].to(self._device)

    def inputs(self, task: Task, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised inputs and targets at positions of a task's training data."""
        rows = self.data.rows[task.name, "train"][positions]
        return self.data.normalised(rows), self.data.targets[task.name, "train"][positions]

    def subject(self, task: Task, samples: int) -> Subject:
        """One task at the checkpoint, on at most ``samples`` of its training samples."""
        key = (task.name, samples)
        if key not in self._samples:
            inputs, targets = self.inputs(task, self.rows(task, samples))
            if inputs.ndim == 4:  # laid out once as the model is, not in every pass
                inputs = inputs.contiguous(memory_format=torch.channels_last)
            self._samples[key] = Sample(inputs, targets, self.population(task))

        def generator(purpose: str) -> torch.Generator:
            return torch.Generator().manual_seed(derive_seed(0, "measure", purpose, task.name, self._epoch))

        return Subject(task, TaskModel(self._model, task.name), self._samples[key], generator)

    def describe_sample(self, task: Task) -> dict[str, Any]:
        """What identifies the order in which a task's training samples are measured on."""
        order = self.rows(task, self.population(task)).cpu().numpy().tobytes()
        return {"population": self.population(task), "order": hashlib.sha256(order).hexdigest()}
