"""Fixtures that several test files share."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import yaml

from tasktrace.config import Study, declarations
from tasktrace.config.loading import merged
from tasktrace.config.study import TRAINING_VERSION
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import Prepared, read_prepared

REPOSITORY = Path(__file__).resolve().parent.parent

hypothesis.settings.register_profile("tasktrace", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("tasktrace")


# The study of the tests, whatever the shipped one grows to.
_METHODS = {"umtg": {"method": "umtg"}}
_DIGITS = {
    "methods": ["umtg"],
    "training": {"epochs": 60, "checkpoint_every": 1},
    "measuring": {"measures": ["sharpness", "fisher", "coherence", "conflict"], "every": 1},
    "sweep": {"learning_rates": [0.001, 0.005], "batch_sizes": [16, 64], "epochs": 20, "seed": 0},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A copy of the workflow and its configuration, one method and a small grid, as the current folder."""
    folder = tmp_path / "project"
    for name in ("workflow", "config"):
        shutil.copytree(REPOSITORY / name, folder / name)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    _update(folder / "config/config.yaml", methods=_METHODS, settings=["digits", "fashion"])
    _update(folder / "config/settings/digits.yaml", **_DIGITS)
    _update(folder / "config/settings/fashion.yaml", methods=["umtg"])
    monkeypatch.chdir(folder)
    return folder


def _update(path, **values):
    content = {**yaml.safe_load(path.read_text()), **values}
    content.pop("experiments", None)  # study B's grid has studies of its own in the tests
    content.pop("resources", None)  # and so have packed runs
    path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))


@pytest.fixture
def configure(project):
    """A function that puts values on top of a file below the copy's config/, mappings merged key by key."""

    def change(file, **values):
        path = project / "config" / file
        content = merged(yaml.safe_load(path.read_text()), values)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    return change


@pytest.fixture
def torch_as_it_was():
    """Training sets torch up for the whole process; give other tests what they would have found without it."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.fixture
def study(project):
    """The study as shipped."""
    return Study.load()


@pytest.fixture
def add_component(tmp_path, monkeypatch):
    """A function that adds a module to a copy of a kind's components, which the configuration then reads."""

    def add(kind, name, source):
        folder = tmp_path / "components" / kind
        if not folder.exists():
            shutil.copytree(declarations._FOLDERS[kind], folder, ignore=shutil.ignore_patterns("__pycache__"))
            monkeypatch.setitem(declarations._FOLDERS, kind, folder)
        (folder / f"{name}.py").write_text(source)
        _forget_declarations()

    yield add
    _forget_declarations()


def _forget_declarations():
    for cached in (declarations.available, declarations.declaration, declarations._declared_statements):
        cached.cache_clear()


@pytest.fixture(scope="session")
def data_spec() -> dict:
    """The spec of a few of the embedded digits."""
    version = declarations.declaration("setting", "digits").version
    return {"name": "digits", "version": version, "train": 300, "validation": 60, "test": 60}


@pytest.fixture(scope="session")
def prepared_file(tmp_path_factory, data_spec) -> Path:
    path = tmp_path_factory.mktemp("prepared") / "digits.safetensors"
    prepare(data_spec, path.parent, path)
    return path


@pytest.fixture(scope="session")
def prepared(prepared_file, data_spec) -> Prepared:
    return read_prepared(prepared_file, data_spec)


_OPTIMIZERS = {
    "adam": {"name": "adam", "version": 1},
    "sgd": {"name": "sgd", "version": 1},
    "sgdm": {"name": "sgd", "version": 1, "momentum": 0.9},
}


@pytest.fixture(scope="session")
def make_spec(data_spec) -> Callable[..., dict]:
    """A run's resolved spec: two tasks, three epochs of nine steps, unless told otherwise; ``options`` the method's."""

    def make(
        tasks=("digits1", "digits2"),
        method="umtg",
        optimizer="adam",
        learning_rate=0.01,
        batch_size=32,
        options=None,
        **changes,
    ) -> dict:
        alone = len(tasks) == 1
        spec = {
            "training": TRAINING_VERSION,
            "setting": "digits",
            "group": f"stl.{tasks[0]}" if alone else "mtl.some",
            "tasks": list(tasks),
            "data": data_spec,
            "model": {"name": "small_cnn", "version": 1, "channels": 4, "features": 16},
            "method": None if alone else {"name": method, "version": 1, **(options or {})},
            "optimizer": _OPTIMIZERS[optimizer] if isinstance(optimizer, str) else optimizer,
            "point": {"learning_rate": learning_rate, "batch_size": batch_size},
            "epochs": 3,
            "checkpoint_every": 1,
            "seed": 0,
        }
        return {**spec, **changes}

    return make


_HOLD = """
import fcntl, sys, time
lock = open(sys.argv[1], "a+")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write("4711 on elsewhere")
lock.flush()
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def held_elsewhere() -> Callable[[Path], AbstractContextManager[None]]:
    """A context in which another process, ``4711 on elsewhere``, holds a lock; it ends killed."""

    @contextmanager
    def held(lock: Path) -> Iterator[None]:
        lock.parent.mkdir(parents=True)
        with subprocess.Popen([sys.executable, "-c", _HOLD, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
            try:
                assert holder.stdout.readline() == "held\n"
                yield
            finally:
                holder.kill()

    return held


@dataclass
class Project:
    """A copy of the repository's workflow, configuration and source, to be run and changed.

    Attributes:
        folder: Where it is.
        environment: The environment of its commands; its own source comes before the installed one.
    """

    folder: Path
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        scripts = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.folder / "src"),
        }

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run Snakemake to its end."""
        done = subprocess.run(
            ["snakemake", *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        if check and done.returncode:
            logs = [path.read_text() for path in self.folder.glob("logs/**/*.log") if "rror" in path.read_text()]
            raise AssertionError("\n".join([done.stdout, done.stderr, *logs]))
        return done

    def tasktrace(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type a verb."""
        command = ["tasktrace", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def planned(self, *arguments: str) -> dict[str, int]:
        """Jobs per rule that a dry run announces."""
        output = self.snakemake("-n", *arguments).stdout
        if "Job stats:" not in output:
            assert "Nothing to be done" in output, output
            return {}
        table = output.split("Job stats:")[-1].split("\n\n")[0]
        counts = dict(re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE))
        return {rule: int(count) for rule, count in counts.items() if rule != "total"}

    def edit(self, path: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a YAML file."""
        content = yaml.safe_load((self.folder / path).read_text())
        change(content)
        (self.folder / path).write_text(yaml.safe_dump(content, sort_keys=False))

    def append(self, path: str, text: str) -> None:
        """Add a line to a file."""
        with (self.folder / path).open("a") as stream:
            stream.write(text)

    def copy(self, folder: Path) -> "Project":
        """The same project elsewhere, with its results, their times and Snakemake's records."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def _cut(project: Project) -> None:
    """Cut the study to one group and method, two epochs and two seeds; one point of the sweep diverges."""

    def study(config: dict[str, Any]) -> None:
        config["settings"] = ["digits"]
        config["seeds"] = [0, 1]
        config["measures"]["sharpness"] |= {"samples": 128, "iterations": 4}
        config["studies"] = {"toy": {"iterations": 20}, "invariance": {"epochs": 2}}

    def digits(block: dict[str, Any]) -> None:
        del block["groups"]["with_noisy"]
        del block["resources"]  # a run, a job: what is planned is counted in runs
        block["methods"] = ["umtg"]
        block["training"]["epochs"] = 2
        block["measuring"]["every"] = 1
        block["sweep"] = {"learning_rates": [0.005, 1.0e30], "batch_sizes": [64], "epochs": 1, "seed": 0}
        block["figures"]["a1"]["groups"] = ["with_digits2"]

    project.edit("config/config.yaml", study)
    project.edit("config/settings/digits.yaml", digits)


@pytest.fixture(scope="session")
def copy_repository() -> Callable[[Path], Project]:
    """A function that copies the repository's study to a folder, nothing run."""
    return _copied


@pytest.fixture(scope="session")
def copy_tiny_study() -> Callable[[Path], Project]:
    """The same, cut to a study of half a minute."""

    def copy(folder: Path) -> Project:
        project = _copied(folder)
        _cut(project)
        return project

    return copy


def _copied(folder: Path) -> Project:
    folder.mkdir(parents=True)
    for name in ("config", "workflow", "src"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(REPOSITORY / "Snakefile", folder)
    return Project(folder)
