"""Tiny real runs on the embedded digits, and the means to interrupt them."""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn

from tasktrace.config.declarations import declaration
from tasktrace.config.study import TRAINING_VERSION
from tasktrace.files import digest
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import read_prepared
from tasktrace.training.device import configure
from tasktrace.training.engine import Engine
from tasktrace.training.session import Job, run

OPTIMIZERS = {
    "adam": {"name": "adam", "version": 1},
    "sgd": {"name": "sgd", "version": 1},
    "sgdm": {"name": "sgd", "version": 1, "momentum": 0.9},
}


class InterruptedHereError(Exception):
    """Stands for whatever ends a process in the middle of its work."""


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was):
    """After every test of training."""


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
    """A run's resolved spec: two tasks, three epochs of nine steps, unless told otherwise."""

    def make(tasks=("digits1", "digits2"), optimizer="adam", learning_rate=0.01, batch_size=32, **changes) -> dict:
        spec = {
            "training": TRAINING_VERSION,
            "setting": "digits",
            "group": f"stl.{tasks[0]}" if len(tasks) == 1 else "mtl.some",
            "tasks": list(tasks),
            "data": data_spec,
            "model": {"name": "small_cnn", "version": 1, "channels": 4, "features": 16},
            "method": None if len(tasks) == 1 else {"name": "umtg", "version": 1},
            "optimizer": OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
            "point": {"learning_rate": learning_rate, "batch_size": batch_size},
            "epochs": 3,
            "checkpoint_every": 1,
            "seed": 0,
        }
        return {**spec, **changes}

    return make


@pytest.fixture
def make_engine(prepared) -> Callable[..., Engine]:
    def make(spec, data=prepared) -> Engine:
        return Engine(spec, data, configure("cpu", 1))

    return make


@pytest.fixture
def make_job(tmp_path, prepared_file) -> Callable[..., Job]:
    """A job below the test's own folder."""

    def make(spec, root=tmp_path, save_minutes=5.0, device="cpu") -> Job:
        return Job("digits/group/adam/point/seed0", spec, prepared_file, root, device, 1, save_minutes)

    return make


@pytest.fixture(scope="session")
def results() -> Callable[[Job], dict[str, bytes]]:
    """The bytes of a run's trajectory and of its packed checkpoints, by path."""

    def read(job: Job) -> dict[str, bytes]:
        paths = [job.folder / "trajectory.parquet", *sorted((job.root / "checkpoints").rglob("*.safetensors"))]
        return {str(path.relative_to(job.root)): path.read_bytes() for path in paths}

    return read


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, prepared_file, results) -> Callable[..., dict[str, bytes]]:
    """The results of a spec trained in one go, computed once per spec."""
    known: dict[tuple[str, str], dict[str, bytes]] = {}

    def train(job: Job) -> dict[str, bytes]:
        key = (digest(job.spec), job.device)
        if key not in known:
            alone = Job(job.path, job.spec, prepared_file, tmp_path_factory.mktemp("uninterrupted"), job.device)
            run(alone)
            known[key] = results(alone)
        return known[key]

    return train


@pytest.fixture
def before_step(monkeypatch) -> Callable[..., object]:
    """A context in which ``action(engine)`` happens right before one step; both numbers are counted from 0."""

    @contextmanager
    def patched(epoch: int, step: int, action: Callable[[Engine], None]) -> Iterator[None]:
        begin, advance, current = Engine.begin_epoch, Engine.step, {}

        def begin_epoch(engine: Engine, number: int) -> None:
            current["epoch"] = number
            begin(engine, number)

        def advance_one(engine: Engine, number: int) -> None:
            if (current["epoch"], number) == (epoch, step):
                action(engine)
            advance(engine, number)

        with monkeypatch.context() as patch:
            patch.setattr(Engine, "begin_epoch", begin_epoch)
            patch.setattr(Engine, "step", advance_one)
            yield

    return patched


@pytest.fixture
def interrupt(before_step) -> Callable[[Job, int, int], None]:
    """Train until right before a step, and leave everything as a killed process would."""

    def stop(_engine: Engine) -> None:
        raise InterruptedHereError

    def train(job: Job, epoch: int, step: int) -> None:
        with before_step(epoch, step, stop), pytest.raises(InterruptedHereError):
            run(job)

    return train


@dataclass(frozen=True)
class _NoOptions:
    """For models of the tests' own."""


def _normalised_encoder(_options) -> tuple[nn.Module, int]:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8)), 8


def _dropout_encoder(_options) -> tuple[nn.Module, int]:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 8)), 8


@pytest.fixture
def own_models(monkeypatch):
    """Two more models, as files of a user would add them: ``with_batch_norm`` and ``with_dropout``."""
    for name, build in (("with_batch_norm", _normalised_encoder), ("with_dropout", _dropout_encoder)):
        module = types.ModuleType(f"tasktrace.models.{name}")
        module.Options, module.build_encoder = _NoOptions, build
        monkeypatch.setitem(sys.modules, module.__name__, module)
