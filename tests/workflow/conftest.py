"""A tiny study in a folder of its own, run once by the real Snakefile."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


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


def tiny(project: Project) -> None:
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


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """The repository's study, nothing run."""
    return _copied(tmp_path / "fresh")


@pytest.fixture
def unpacked(fresh: Project) -> Project:
    """The repository's study, nothing run, a job for every run."""
    for path in (fresh.folder / "config/settings").glob("*.yaml"):
        fresh.edit(f"config/settings/{path.name}", lambda block: block.pop("resources", None))
    return fresh


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = _copied(tmp_path_factory.mktemp("study") / "tiny")
    tiny(project)
    project.snakemake("--cores", "2", "--scheduler", "greedy", "all")
    return project


@pytest.fixture
def finished(_finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished tiny study."""
    return _finished.copy(tmp_path / "finished")


def _copied(folder: Path) -> Project:
    folder.mkdir(parents=True)
    for name in ("config", "workflow", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", folder)
    return Project(folder)
