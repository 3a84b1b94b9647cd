"""A tiny study in a folder of its own, run once by the real Snakefile."""

import pytest


@pytest.fixture
def fresh(copy_repository, tmp_path):
    """The repository's study, nothing run."""
    return copy_repository(tmp_path / "fresh")


@pytest.fixture
def unpacked(fresh):
    """The repository's study, nothing run, a job for every run."""
    for path in (fresh.folder / "config/settings").glob("*.yaml"):
        fresh.edit(f"config/settings/{path.name}", lambda block: block.pop("resources", None))
    return fresh


@pytest.fixture(scope="session")
def _finished(copy_tiny_study, tmp_path_factory):
    project = copy_tiny_study(tmp_path_factory.mktemp("study") / "tiny")
    project.snakemake("--cores", "2", "--scheduler", "greedy", "all")
    return project


@pytest.fixture
def finished(_finished, tmp_path):
    """A copy of the finished tiny study."""
    return _finished.copy(tmp_path / "finished")
