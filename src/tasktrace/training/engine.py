"""One training step, and the state that it moves."""

from typing import Any

import torch
from torch import Tensor, nn

from tasktrace.methods import run_method
from tasktrace.seeding import derive_seed
from tasktrace.settings.prepared import Prepared
from tasktrace.training.assembly import assemble
from tasktrace.training.augmentation import ScaleCropFlip, build_augmentation
from tasktrace.training.data import EpochBatches, steps_per_epoch
from tasktrace.training.optimizers import build_optimizer
from tasktrace.training.precision import train_in_bf16
from tasktrace.training.similarity import SimilarityWatch, Watch
from tasktrace.training.updates import Batch, Parts, Update, build_update

METHOD = "method/"
"""Before the names of what a method remembers, in resume states and checkpoints."""


class Engine:
    """Model, optimizer, method and data of one run, advanced step by step.

    Args:
        spec: The run's resolved spec.
        prepared: The setting's data.
        device: Where to train.

    Attributes:
        tasks: The tasks trained together, in the spec's order.
        steps: Steps per epoch.
        losses: Batch loss of every step of the current epoch and task, shape (steps, T); kept on the device and read
            once an epoch, so that no step waits for it.
        augmentation: What changes the training batches at random; None if the spec does not ask for it.
        watch: What compares gradients of single samples while training; None if the spec does not ask for it.
    """

    def __init__(self, spec: dict[str, Any], prepared: Prepared, device: torch.device) -> None:
        point, seed = spec["point"], spec["seed"]
        assembly = assemble(spec, prepared, device)
        self.tasks, self.data, self.model = assembly.tasks, assembly.data, assembly.parts.model
        self.device = device
        self.steps = steps_per_epoch(prepared, point["batch_size"])
        if spec.get("precision") == "bf16":
            train_in_bf16(self.model, device)
        self.method = run_method(spec["method"], len(self.tasks), seed).to(device)
        self.update = self._build_update(spec, assembly.parts)
        self.augmentation = self._build_augmentation(spec)
        self.watch = self._build_watch(spec)
        self._rate: float = point["learning_rate"]
        self._schedule: dict[str, Any] | None = spec.get("schedule")
        self.losses = torch.full((self.steps, len(self.tasks)), torch.nan, device=device)
        self._orders = self.data.orders(point["batch_size"], seed)
        # Layers that draw (dropout) can only read torch's global generator; its state is part of the resume state.
        torch.manual_seed(derive_seed(seed, "layers"))

    def begin_epoch(self, epoch: int) -> None:
        """Gather the epoch's batches, and set its learning rate."""
        self._epoch = epoch
        self._batches = EpochBatches(self.data, self._orders, epoch, self.steps)
        if self._schedule is not None:
            rate = self._rate * self._schedule["factor"] ** (epoch // self._schedule["every"])
            for optimizer in self.update.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
        self.model.train()

    def step(self, step: int) -> None:
        """One update of all parameters from one batch of every task.

        Shared parameters move along the method's combination of the task gradients, each head along its own task's
        plain gradient. The losses stay on the device.

        Raises:
            NonFiniteError: The method needs a loss or gradient that is not finite.
        """
        rows, targets = self._batches.step(step)
        batch = Batch(self.data.normalised(rows), targets, self.data.shared)
        if self.augmentation is not None:
            batch = self.augmentation.augment(batch, self._epoch, step)
        if self.watch is not None:
            self.watch.look(batch, self._epoch, step)
        self.losses[step] = self.update.step(batch)
        if self.method.needs_losses_after_step:
            with torch.no_grad():
                parts = self.update.parts
                self.method.after_step(parts.losses(parts.features(batch), batch.targets))

    def _build_augmentation(self, spec: dict[str, Any]) -> ScaleCropFlip | None:
        name: str | None = spec.get("augmentation")
        return None if name is None else build_augmentation(name, self.tasks, self.data, spec["seed"])

    def _build_watch(self, spec: dict[str, Any]) -> SimilarityWatch | None:
        asked: dict[str, int] | None = spec.get("similarity")
        return None if asked is None else SimilarityWatch(Watch(**asked), self.update.parts, spec["seed"])

    def _build_update(self, spec: dict[str, Any], parts: Parts) -> Update:
        rate: float = spec["point"]["learning_rate"]

        def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
            return build_optimizer(spec["optimizer"], parameters, rate)

        return build_update(parts, self.method, make, rate, spec.get("jacobian", "full"))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that later steps depend on, as flat tensors; the data order follows from the spec."""
        state = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        for number, optimizer in enumerate(self.update.optimizers):
            for index, entry in optimizer.state_dict()["state"].items():
                moments = {key: value for key, value in entry.items() if value is not None}
                state.update({f"optimizer{number}/{index}/{key}": value for key, value in moments.items()})
        state.update({f"{METHOD}{name}": value for name, value in self.method.state_dict().items()})
        if self.watch is not None:
            state.update({f"watch/{name}": value for name, value in self.watch.state_dict().items()})
        state["generator/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            state["generator/cuda"] = torch.cuda.get_rng_state(self.device)
        state["losses"] = self.losses
        return state

    def checkpoint(self) -> dict[str, Tensor]:
        """What measuring needs: the model's state, and what the method combines the next gradients with."""
        method = {f"{METHOD}{name}": value for name, value in self.method.state_dict().items()}
        return {**self.model.state_dict(), **method}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self.model.load_state_dict(below("model/", state))
        for number, optimizer in enumerate(self.update.optimizers):
            _load_moments(optimizer, below(f"optimizer{number}/", state))
        self.method.load_state_dict(below(METHOD, state))
        if self.watch is not None:
            self.watch.load_state_dict(below("watch/", state))
        torch.set_rng_state(state["generator/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["generator/cuda"], self.device)
        self.losses.copy_(state["losses"])


def _load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Tensor]) -> None:
    groups = optimizer.state_dict()["param_groups"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in state.items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = _laid_out_like(parameters[int(index)], value)
    optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """``value`` with the strides of ``parameter``: fused optimizers walk both by memory, not by index."""
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value


def below(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values whose names begin with ``prefix``, under what follows it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
