"""Corrupted digits, and small finished runs on them whose heads can be refitted."""

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tasktrace.config.declarations import declaration
from tasktrace.corruption_transfer.data import write_corrupted
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import Prepared, read_prepared
from tasktrace.training.session import Job, run

TASKS = ("digit", "parity", "ink")


@pytest.fixture(autouse=True)
def _one_thread(torch_as_it_was: None) -> None:
    """In every test of refitting, and torch as it was after it."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def traits_spec() -> dict[str, Any]:
    """The spec of a few of the embedded digits, with three tasks on the same scans."""
    version = declaration("setting", "digit_traits").version
    return {"name": "digit_traits", "version": version, "train": 200, "validation": 60, "test": 60}


@pytest.fixture(scope="session")
def traits_file(tmp_path_factory: pytest.TempPathFactory, traits_spec: dict[str, Any]) -> Path:
    path = tmp_path_factory.mktemp("traits") / "digit_traits.safetensors"
    prepare(traits_spec, path.parent, path)
    return path


@pytest.fixture(scope="session")
def traits(traits_file: Path, traits_spec: dict[str, Any]) -> Prepared:
    return read_prepared(traits_file, traits_spec)


@pytest.fixture(scope="session")
def corruption_spec(traits_spec: dict[str, Any]) -> dict[str, Any]:
    """As ``Study.corruption_spec`` gives it, of three corruptions and 40 of the 60 test samples."""
    names = ["gaussian_noise", "brightness", "contrast"]
    return {"version": 1, "data": traits_spec, "tasks": list(TASKS), "names": names, "test": 40}


@pytest.fixture(scope="session")
def corrupted_folder(
    tmp_path_factory: pytest.TempPathFactory, corruption_spec: dict[str, Any], traits: Prepared
) -> Path:
    """The corrupted scans, which no test may change."""
    folder = tmp_path_factory.mktemp("corrupted")
    write_corrupted(corruption_spec, traits, 16, folder)
    return folder


@pytest.fixture(scope="session")
def refit_spec(corruption_spec: dict[str, Any]) -> dict[str, Any]:
    """As ``Study.refit_spec`` gives it."""
    optimizer = {"name": "sgd", "version": 1, "momentum": 0.9}
    how = {"optimizer": optimizer, "learning_rate": 0.02, "batch_size": 50, "epochs": 3}
    return {"version": 1, "corruption": corruption_spec, **how}


@dataclass(frozen=True)
class _NoOptions:
    """For a model of the tests' own."""


def _encoder(_options: _NoOptions) -> tuple[nn.Module, int]:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 8)), 8


@pytest.fixture(scope="session", autouse=True)
def _own_model() -> Iterator[None]:
    """A model with batch normalisation, as a user would add it: ``refitted_batch_norm``."""
    module = types.ModuleType("tasktrace.models.refitted_batch_norm")
    module.Options, module.build_encoder = _NoOptions, _encoder  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module.__name__, module)
        yield


@pytest.fixture(scope="session")
def trained_root(
    tmp_path_factory: pytest.TempPathFactory,
    traits_spec: dict[str, Any],
    traits_file: Path,
    make_spec: Callable[..., dict[str, Any]],
) -> Callable[..., Path]:
    """A function that gives the folder of a project with one finished run at ``path``, trained once."""
    known: dict[str, Path] = {}

    def root(path: str, tasks: tuple[str, ...] = TASKS, **changes: Any) -> Path:
        key = repr((path, tasks, changes))
        if key not in known:
            known[key] = tmp_path_factory.mktemp("trained")
            own = {"setting": "digit_traits", "data": traits_spec, "best_epoch": 2, "checkpoint_every": 0, **changes}
            model = {"model": {"name": "refitted_batch_norm", "version": 1}}
            run(Job(path, make_spec(tasks, **{**model, **own}), traits_file, known[key], "cpu"))
        return known[key]

    return root
