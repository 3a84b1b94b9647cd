"""Tiny models to measure: trained ones on the embedded digits, and random ones."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from tasktrace.config.declarations import declaration
from tasktrace.measures.base import GradientMeasure, Pass, Sample, Subject, TaskModel
from tasktrace.measures.trained import TrainedRun
from tasktrace.measures.walk import walk
from tasktrace.models import MultiTaskModel
from tasktrace.tasks import Task
from tasktrace.training import assembly
from tasktrace.training.checkpoints import EpochFiles
from tasktrace.training.device import configure
from tasktrace.training.engine import Engine

STEPS = 4
CLASSES = 4


@pytest.fixture(autouse=True)
def _one_thread(torch_as_it_was):
    """In every test of measuring, and torch as it was after it."""
    torch.set_num_threads(1)


@dataclass(frozen=True)
class Trained:
    """A run at the checkpoint of epoch 1, and the engine that wrote it, at the same place."""

    run: TrainedRun
    engine: Engine


@contextmanager
def _declared(shared: bool) -> Iterator[None]:
    """A context in which tasks share their inputs, as digits2 and noisy_digits in truth do."""

    def declare(kind, name):
        return dataclasses.replace(declaration(kind, name), shared_inputs=shared)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "declaration", declare)
        yield


@pytest.fixture
def train(tmp_path, prepared) -> Callable[..., Trained]:
    """Train a few steps of a spec, keep a checkpoint before and after them, and go to the latter."""

    def few_steps(spec, shared=False) -> Trained:
        device = configure("cpu", 1)
        with _declared(shared):
            engine = Engine(spec, prepared, device)
            files = EpochFiles(tmp_path / "epochs")
            digests = {0: files.save(0, engine.checkpoint())}
            engine.begin_epoch(0)
            for step in range(STEPS):
                engine.step(step)
            digests[1] = files.save(1, engine.checkpoint())
            packed = files.pack(digests, Path("run"), tmp_path)
            run = TrainedRun({"spec": spec, "checkpoints": packed}, prepared, tmp_path, device)
        engine.model.eval()
        run.load(1)
        return Trained(run, engine)

    return few_steps


@pytest.fixture(scope="session")
def in_memory_order() -> Callable[..., torch.Tensor]:
    """The tensors' numbers as one vector: the channels of a kernel last."""

    def flat(tensors) -> torch.Tensor:
        parts = [own.permute(0, 2, 3, 1) if own.ndim == 4 else own for own in tensors]
        return torch.cat([own.reshape(-1) for own in parts])

    return flat


@dataclass
class Kept(GradientMeasure):
    """All gradients of a pass."""

    walk: Pass

    def begin(self, tasks, batch_size, populations):
        self.begun = (tasks, batch_size, populations)
        self.shared, self.heads, self.combined = [], [], []

    def add(self, gradients):
        self.shared.append(gradients.shared.clone())
        self.heads.append([own.clone() for own in gradients.heads])
        self.combined.append(None if gradients.combined is None else gradients.combined.clone())

    def finish(self):
        return []


@pytest.fixture(scope="session")
def kept() -> Callable[..., Kept]:
    """What a pass at a run's checkpoint gives its measures."""

    def keep(run, batch_size=0, batches=3) -> Kept:
        measure = Kept(Pass(batch_size, batches))
        walk(run, measure.walk, [measure])
        return measure

    return keep


class Positions(nn.Module):
    """Outputs (N, C, 2): a label at each of two positions."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 2 * CLASSES)

    def forward(self, features):
        return torch.tanh(self.layer(features)).unflatten(1, (CLASSES, 2)) * 2


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh()), nn.Linear(6, CLASSES), (5,)


def conv_net():
    layers = [nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers), nn.Linear(12, CLASSES), (1, 6, 6)


def linear():
    return nn.Identity(), nn.Linear(5, CLASSES), (5,)


def images():
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh()), Positions(), (5,)


NETS = {make.__name__: make for make in (mlp, conv_net, linear, images)}
"""Functions that give an encoder, a head and the shape of an input."""


@pytest.fixture(scope="session")
def make_subject() -> Callable[..., Subject]:
    """A net of :data:`NETS` in float64 with decided outputs, and random data."""

    def make(net="mlp", samples=12, seed=0, loss="cross_entropy") -> Subject:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(7)
            encoder, head, shape = NETS[net]()
            inputs = torch.randn(samples, *shape)
            encoder(inputs)  # running statistics that are not trivial
            model = MultiTaskModel(encoder, {"own": head}).double().eval()
            for parameter in model.parameters():
                parameter.data *= 2
            outputs = model(inputs.double(), "own")
            targets = torch.randint(0, CLASSES, (samples, *outputs.shape[2:]))
            if loss == "mse":
                targets = torch.randn_like(outputs.detach())
        task = Task(name="own", outputs=CLASSES, loss=loss)
        sample = Sample(inputs.double(), targets, population=1000)
        return Subject(task, TaskModel(model, "own"), sample, lambda _: torch.Generator().manual_seed(seed))

    return make
