"""Fixtures that several test files share."""

import shutil
from pathlib import Path

import hypothesis
import pytest
import yaml

from tasktrace.config import Study, declarations
from tasktrace.config.loading import merged

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
