"""Folders of runs as their trainer leaves them, made by hand, and what is said of them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tasktrace.config.arms import SELECTED
from tasktrace.status import Asked, show_status
from tasktrace.status.remaining import Pace
from tasktrace.status.survey import survey


@pytest.fixture
def alone() -> str:
    """A run of one task in the study of the tests, which trains for 20 epochs."""
    return "digits/stl.digits1/adam/lr0.001_bs16/seed0"


@pytest.fixture
def folder_of(study) -> Callable[[str], Path]:
    """The folder of a run, which need not be there."""
    return lambda path: study.root / "results/runs" / path


@pytest.fixture
def finish(study, folder_of) -> Callable[..., Path]:
    """A function that makes the folder of a run that has finished; it returns it."""

    def write(path, seconds=60.0, outcome=None, **changes) -> Path:
        run = study.find_run(path)
        spec = study.run_spec(run)
        if run.point == SELECTED:
            spec["point"] = {"learning_rate": 0.005, "batch_size": 16}
        record = {
            "run": path,
            "outcome": outcome or {"status": "finished"},
            "spec": {**spec, **changes},
            "seconds": {"setup": 0.25 * seconds, "train": 0.75 * seconds},
            "attempts": 1,
        }
        folder = folder_of(path)
        resume = folder / ".resume"
        resume.mkdir(parents=True, exist_ok=True)
        (resume / "lock").write_text("12 on node3")
        (resume / "finished.json").write_text(json.dumps({"record": record}))
        (folder / "run.json").write_text(json.dumps(record, indent=2))
        return folder

    return write


@pytest.fixture
def say(folder_of) -> Callable[..., None]:
    """A function that says how far a run is as its trainer does, without a lock that is held."""

    def write(path, state="training", line=None, **changes) -> None:
        resume = folder_of(path) / ".resume"
        resume.mkdir(parents=True, exist_ok=True)
        (resume / "lock").touch()
        said = {"epoch": 5, "epochs": 20, "step": 0, "steps": 38, "seconds": 30.0, "attempt": 2, "time": 1763800000.0}
        (resume / "progress.json").write_text(json.dumps({**said, **changes, "state": state}))
        if line is not None:
            with (resume / "train.log").open("a") as log:
                log.write(f"2026-11-22T09:18:27Z {line}\n")

    return write


@pytest.fixture
def printed(study, capsys) -> Callable[..., list[str]]:
    """A function that returns the lines that the status prints."""

    def lines(**asked) -> list[str]:
        show_status(study, Asked(**asked))
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.fixture
def told(printed) -> Callable[..., dict]:
    """A function that returns the object that the status prints for programs."""

    def read(**asked) -> dict:
        return json.loads("\n".join(printed(as_json=True, **asked)))

    return read


@pytest.fixture
def seconds_left(study) -> Callable[[], dict[str, float | None]]:
    """A function that returns what every run will still take, by its path."""

    def read() -> dict[str, float | None]:
        found = survey(study, list(study.settings))
        pace = Pace(found)
        return {own.run.path: pace.seconds_left(own) for own in found}

    return read
