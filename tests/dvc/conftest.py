"""The tiny study under a real DVC, in a real git repository, with a folder as its remote."""

import dataclasses
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

VERSIONED = ("dvc.yaml", ".dvcignore", "data.dvc", ".gitignore")


@dataclasses.dataclass
class Workstation:
    """A clone on one machine.

    Attributes:
        project: The clone, with Snakemake and the verbs.
    """

    project: object

    def __post_init__(self) -> None:
        # State of DVC that tells a file's content from its inode belongs to this machine and to no other test.
        identity = {f"GIT_{role}_{what}": "tests" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        self.project.environment |= {
            **identity,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "DVC_SITE_CACHE_DIR": str(self.folder.with_name(f"{self.folder.name}-site")),
        }

    @property
    def folder(self) -> Path:
        return self.project.folder

    def run(self, *command: str, check: bool = True) -> str:
        """What a command says; it must succeed, or where ``check`` is false, fail."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.project.environment, capture_output=True, text=True, check=False
        )
        output = done.stdout + done.stderr
        assert (done.returncode == 0) == check, output
        return output

    def dvc(self, *arguments: str, check: bool = True) -> str:
        return self.run("dvc", *arguments, check=check)

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def tasktrace(self, *arguments: str, check: bool = True) -> str:
        return self.run("tasktrace", *arguments, check=check)

    def reproduce(self) -> dict[str, int] | None:
        """Jobs per rule that ``dvc repro`` ran; None where it did not even call Snakemake."""
        before = set(self.folder.glob(".snakemake/log/*"))
        output = self.dvc("repro")
        (log,) = set(self.folder.glob(".snakemake/log/*")) - before or (None,)
        assert ("didn't change, skipping" in output) == (log is None)
        return jobs_of(log.read_text()) if log else None

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Results")

    def clone(self, folder: Path) -> "Workstation":
        """What another machine has after ``git clone``."""
        self.git("clone", "--quiet", str(self.folder), str(folder))
        return Workstation(type(self.project)(folder))

    def copy(self, folder: Path) -> "Workstation":
        """The same elsewhere, cache and all."""
        return Workstation(self.project.copy(folder))


def jobs_of(log: str) -> dict[str, int]:
    """Jobs per rule that a log of Snakemake says were finished."""
    rules = re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", log, flags=re.MULTILINE)
    return {rule: rules.count(rule) for rule in rules}


def _set_up(project) -> Workstation:
    for name in VERSIONED:
        shutil.copy(REPOSITORY / name, project.folder)
    (project.folder / ".dvc/plots").mkdir(parents=True)
    for name in ("config", ".gitignore", "plots/bars.json"):
        shutil.copy(REPOSITORY / ".dvc" / name, project.folder / ".dvc" / name)
    project.edit("config/settings/digits.yaml", lambda block: block.pop("experiments"))
    linked = project.folder / "config/data.yaml"
    linked.unlink()
    linked.symlink_to("../data.dvc")
    station = Workstation(project)
    station.git("init", "--quiet")
    station.commit()
    return station


@pytest.fixture
def fresh(copy_tiny_study, tmp_path):
    """A clone of the tiny study, nothing run."""
    return _set_up(copy_tiny_study(tmp_path / "fresh"))


@pytest.fixture(scope="session")
def undisturbed(copy_tiny_study, tmp_path_factory):
    """The tiny study after ``dvc repro``, its lock committed; not to be changed."""
    station = _set_up(copy_tiny_study(tmp_path_factory.mktemp("dvc") / "station"))
    assert station.reproduce()["train"] == 6
    station.commit()
    return station


@pytest.fixture
def reproduced(undisturbed, tmp_path):
    """A copy of it."""
    return undisturbed.copy(tmp_path / "station")


@pytest.fixture
def remote(tmp_path):
    """A folder to be pushed to."""
    folder = tmp_path / "remote"
    folder.mkdir()
    return folder


@pytest.fixture
def pushed(reproduced, remote):
    """The same after ``tasktrace archive`` and ``dvc push``, all of it committed."""
    reproduced.dvc("remote", "add", "--default", "store", str(remote))
    reproduced.tasktrace("archive")
    reproduced.commit()
    reproduced.dvc("push")
    return reproduced


@pytest.fixture
def contents():
    """A function that gives the content of all files of a clone that git or DVC knows, by path."""

    def read(station) -> dict[str, bytes]:
        folders = ("results", "data", "checkpoints/final-epochs", ".snakemake/metadata")
        mine = (".resume", ".refit", "lock")  # of one machine
        return {
            str(path.relative_to(station.folder)): path.read_bytes()
            for folder in folders
            for path in (station.folder / folder).rglob("*")
            if path.is_file() and not set(path.relative_to(station.folder).parts) & set(mine)
        }

    return read
