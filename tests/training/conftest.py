"""Tiny real runs on the embedded digits, and the means to interrupt them."""

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from torch import nn

from tasktrace.files import digest
from tasktrace.training.device import configure
from tasktrace.training.engine import Engine
from tasktrace.training.session import Job, run


class InterruptedHereError(Exception):
    """Stands for whatever ends a process in the middle of its work."""


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was):
    """After every test of training."""


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
