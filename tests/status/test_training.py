"""Real training processes, looked at while they are at work and afterwards."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasktrace.config import Study
from tasktrace.settings.preparation import prepare
from tasktrace.training.session import Job, run


@pytest.fixture
def prepared_digits(configure):
    """The study of the tests, its runs short, and the digits prepared for it."""
    configure("settings/digits.yaml", sweep={"epochs": 2}, data={"train": 100, "validation": 30, "test": 30})
    path = Path("data/prepared/digits.safetensors")
    prepare(Study.load().data_spec("digits"), path.parent / "raw", path)
    return path


@pytest.fixture
def study(prepared_digits):
    return Study.load()


def test_a_run_that_trains_is_under_way_until_it_is_killed(study, told, alone, prepared_digits):
    endless = json.dumps({**study.run_spec(study.find_run(alone)), "epochs": 1000000})
    verb = [sys.executable, "-c", "import sys; from tasktrace.cli import main; sys.exit(main())", "train", alone]
    arguments = ["--spec", endless, "--data", str(prepared_digits), "--device", "cpu"]
    with subprocess.Popen([*verb, *arguments], stderr=subprocess.DEVNULL) as training:
        try:
            until = time.monotonic() + 60
            while not names_its_process(found := own(told(), alone)) and time.monotonic() < until:
                time.sleep(0.1)
            assert found["state"] == "under_way"
            assert found["holder"]["process"] == training.pid
            assert found["holder"]["host"] == os.uname().nodename
            assert found["holder"]["since"] == pytest.approx(time.time(), abs=60)
        finally:
            training.kill()
    assert own(told(), alone)["state"] == "stopped"


def test_a_run_that_has_trained_has_finished_and_tells_how_long_the_others_take(
    study, told, alone, prepared_digits, torch_as_it_was
):
    record = run(Job(alone, study.run_spec(study.find_run(alone)), prepared_digits, device="cpu"))
    found = told(settings=("digits",))
    assert own(found, alone)["state"] == "finished"
    assert own(found, alone)["seconds"] == pytest.approx(sum(record["seconds"].values()))
    assert (found["counts"]["done"], found["counts"]["waiting"]) == (1, 34)
    other = own(found, alone.replace("lr0.001", "lr0.005"))
    assert other["seconds_left"] == pytest.approx(sum(record["seconds"].values()))


def names_its_process(found):
    return found["holder"] is not None and found["holder"]["process"] is not None


def own(found, path):
    return next(own for own in found["runs"] if own["path"] == path)
