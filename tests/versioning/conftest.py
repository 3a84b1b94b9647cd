"""Small repositories of DVC with made-up runs, and DVC itself."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tasktrace.files import digest, file_digest, write_json
from tasktrace.training.checkpoints import EpochFiles


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What keeps DVC from a user's own settings, and from saying anything to anybody."""
    own = tmp_path_factory.mktemp("dvc")
    folders = ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
    return {"DVC_NO_ANALYTICS": "1", **{name: str(own / name.lower()) for name in folders}}


@pytest.fixture(scope="session", autouse=True)
def _environment(environment: dict[str, str]) -> Iterator[None]:
    """In every test, also for the DVC that the code under test starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def dvc(_environment: None) -> Callable[..., str]:
    """A function that runs DVC in a folder, and gives what it printed."""

    def run(folder: Path, *arguments: str) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory, dvc: Callable[..., str]) -> Path:
    """A repository of DVC that does without git, and has a folder beside it as its remote; nobody may change it."""
    folder = tmp_path_factory.mktemp("empty")
    dvc(folder, "init", "--quiet", "--no-scm")
    with (folder / ".dvc/config").open("a") as config:
        config.write("    remote = beside\n['remote \"beside\"']\n    url = ../../remote\n")
    return folder


@pytest.fixture
def root(tmp_path: Path, empty: Path) -> Path:
    """An empty repository of DVC."""
    shutil.copytree(empty, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def without_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if DVC were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "dvc" else find(name))


@pytest.fixture(scope="session")
def write_run() -> Callable[..., dict[str, Any]]:
    """A function that makes a finished run's folder and its checkpoints, and gives its record.

    ``epochs`` are those that were kept, ``value`` stands in every checkpoint and in the trajectory.
    """

    def write(
        root: Path, path: str, epochs: tuple[int, ...] = (0, 1, 2), value: float = 0.0, **changes: Any
    ) -> dict[str, Any]:
        folder = root / "results/runs" / path
        files = EpochFiles(folder / ".resume/checkpoints")
        digests = {
            epoch: files.save(epoch, {"weight": torch.full((4,), value), "bias": torch.full((), float(epoch))})
            for epoch in epochs
        }
        packed = files.pack(digests, Path("checkpoints") / path, root) if epochs else []
        shutil.rmtree(folder / ".resume", ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trajectory.parquet").write_text(f"losses of {path}: {value}")
        spec = changes.pop("spec", {"epochs": 2, "best_epoch": 1})
        record = {
            "run": path,
            "outcome": {"status": "finished"},
            "spec": spec,
            "spec_digest": digest(spec),
            "trajectory": file_digest(folder / "trajectory.parquet"),
            "checkpoints": packed,
            "seconds": {"train": 1.5},
            **changes,
        }
        write_json(folder / "run.json", record)
        return dict(json.loads((folder / "run.json").read_text()))

    return write


@pytest.fixture(scope="session")
def flip() -> Callable[[Path], None]:
    """A function that changes a bit near a file's end."""

    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.chmod(0o644)
        path.write_bytes(content)

    return change


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, tuple[int, int, bytes]]]:
    """A function that gives inode, time and content of all files below a folder but logs and DVC's temporary ones."""

    def look(folder: Path) -> dict[str, tuple[int, int, bytes]]:
        found = {}
        for path in folder.rglob("*"):
            name = path.relative_to(folder)
            if path.is_file() and name.parts[:2] != (".dvc", "tmp") and name.parts[0] != "logs":
                status = path.lstat()
                found[name.as_posix()] = (status.st_ino, status.st_mtime_ns, path.read_bytes())
        return found

    return look
