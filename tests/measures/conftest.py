"""Tiny trained models on the embedded digits, to measure."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tasktrace.config.declarations import declaration
from tasktrace.config.study import TRAINING_VERSION
from tasktrace.measures import trained as trained_module
from tasktrace.measures.base import GradientMeasure, Pass
from tasktrace.measures.trained import TrainedRun
from tasktrace.measures.walk import walk
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import read_prepared
from tasktrace.training import engine as engine_module
from tasktrace.training.checkpoints import EpochFiles
from tasktrace.training.device import configure
from tasktrace.training.engine import Engine

STEPS = 4


@pytest.fixture(autouse=True)
def _one_thread(torch_as_it_was):
    """In every test of measuring, and torch as it was after it."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_spec():
    return {
        "name": "digits",
        "version": declaration("setting", "digits").version,
        "train": 300,
        "validation": 60,
        "test": 60,
    }


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory, data_spec) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "digits.safetensors"
    prepare(data_spec, path.parent, path)
    return path


@pytest.fixture(scope="session")
def prepared(prepared_file, data_spec):
    return read_prepared(prepared_file, data_spec)


@pytest.fixture(scope="session")
def make_spec(data_spec) -> Callable[..., dict]:
    """A run's resolved spec: two epochs of nine steps of 32 samples, unless told otherwise."""

    def make(tasks=("digits1", "digits2"), method="umtg", batch_size=32, options=None, **changes) -> dict:
        alone = len(tasks) == 1
        spec = {
            "training": TRAINING_VERSION,
            "setting": "digits",
            "group": f"stl.{tasks[0]}" if alone else "mtl.some",
            "tasks": list(tasks),
            "data": data_spec,
            "model": {"name": "small_cnn", "version": 1, "channels": 4, "features": 16},
            "method": None if alone else {"name": method, "version": 1, **(options or {})},
            "optimizer": {"name": "adam", "version": 1},
            "point": {"learning_rate": 0.01, "batch_size": batch_size},
            "epochs": 2,
            "checkpoint_every": 1,
            "seed": 0,
        }
        return {**spec, **changes}

    return make


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
        patch.setattr(engine_module, "declaration", declare)
        patch.setattr(trained_module, "declaration", declare)
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
