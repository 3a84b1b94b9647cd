"""Trials of what the tiny study has not: watched runs, refitted heads, corrupted pictures, and work that takes long."""

import json
import subprocess
import sys
import time

import pytest

from tasktrace.config.corruptions import NAMES
from tasktrace.config.declarations import declaration
from tasktrace.corruption_transfer.data import write_corrupted
from tasktrace.corruption_transfer.job import RefitJob, refit
from tasktrace.planning.trials import measuring, stopwatch, training
from tasktrace.planning.trials.bench import Bench
from tasktrace.planning.trials.corrupting import try_corrupting
from tasktrace.planning.trials.measuring import try_measuring
from tasktrace.planning.trials.refitting import try_refitting
from tasktrace.planning.trials.training import evaluation_seconds
from tasktrace.settings.preparation import prepare
from tasktrace.training.device import configure
from tasktrace.training.session import Job, run

TASKS = ("digit", "parity", "ink")
LIKE = 4
"""On a machine at work a time of a processor may be so many times another."""


@pytest.fixture(scope="module")
def data():
    version = declaration("setting", "digit_traits").version
    return {"name": "digit_traits", "version": version, "train": 300, "validation": 60, "test": 100}


@pytest.fixture(scope="module")
def file(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("traits") / "digit_traits.safetensors"
    prepare(data, path.parent, path)
    return path


@pytest.fixture
def make(make_spec, data):
    """A function that makes the spec of a run on three tasks of the same scans."""
    return lambda **changes: make_spec(TASKS, **{"setting": "digit_traits", "data": data, **changes})


@pytest.fixture
def bench(file, data, tmp_path):
    return Bench.of(file, data, configure("cpu", 1), tmp_path)


@pytest.fixture
def hurried(monkeypatch):
    """Whatever is tried takes too long."""
    for module in (stopwatch, training, measuring):
        monkeypatch.setattr(module, "TOO_LONG", 1e-6)


@pytest.fixture
def corruption(data):
    return {"version": 1, "data": data, "tasks": list(TASKS), "names": ["contrast", "fog", "frost"], "test": 80}


def test_a_watched_run_takes_longer(bench, make, work_counted):
    def epoch(spec, group):
        return training._epoch(bench, bench.engine(spec)[0], group)

    assert epoch(make(similarity={"every": 5, "most": 8}), 5) > 1.5 * epoch(make(), 1)


def test_a_refitting_takes_as_long_as_its_trial_says(bench, make, file, corruption, tmp_path, work_counted):
    optimizer = {"name": "sgd", "version": 1, "momentum": 0.9}
    asked = {"version": 1, "corruption": corruption, "optimizer": optimizer, "learning_rate": 0.01}
    asked = {**asked, "batch_size": 20, "epochs": 10}
    spec = make(best_epoch=1, checkpoint_every=0, epochs=1)
    expected = try_refitting(bench, spec, asked)["rates"]
    run(Job("run", spec, file, tmp_path, "cpu"))
    folder = tmp_path / "corrupted"
    write_corrupted(corruption, bench.prepared, 16, folder)
    taken = refit(RefitJob("run", asked, file, tmp_path, "cpu", corrupted=folder))["seconds"]
    assert expected["setup"] + expected["refit"] == pytest.approx(taken, rel=0.01)


def test_corrupting_takes_about_as_long_as_its_trial_says(bench, corruption, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    corruption = {**corruption, "names": list(NAMES)}
    expected = try_corrupting(bench, corruption, 16)["rates"]["job"]
    taken = bench.watch.seconds(lambda: write_corrupted(corruption, bench.prepared, 16, tmp_path / "corrupted"))
    assert taken / LIKE < expected < taken * LIKE


def test_of_what_takes_long_a_part_is_tried_and_scaled(bench, make, hurried, monkeypatch, work_counted):
    options = {"samples": 200, "batch_size": 50}
    measures = {
        "fisher": {"name": "fisher", "version": 1, **options},
        "coherence": {"name": "coherence", "version": 1, "batches": 10},
    }
    spec = make()
    engine, _ = bench.engine(spec)

    def found(own):
        return evaluation_seconds(own, engine), try_measuring(own, spec, measures)["rates"]["checkpoint"]

    parts = found(bench)
    monkeypatch.undo()
    wholes = found(Bench(bench.prepared, 0.0, bench.device, bench.folder))
    assert parts == pytest.approx(wholes, rel=0.01)


def test_an_evaluation_in_part_leaves_the_data_as_it_is(bench, make, hurried):
    engine, _ = bench.engine(make())
    rows, targets = dict(engine.data.rows), dict(engine.data.targets)
    evaluation_seconds(bench, engine)
    assert engine.data.rows.keys() == rows.keys()
    assert all(engine.data.rows[key] is rows[key] and engine.data.targets[key] is targets[key] for key in rows)


def test_a_process_of_trials_says_what_is_wrong_with_its_data(file, data, tmp_path):
    asked = {"device": "cpu", "threads": 1, "prepared": str(file), "data": {**data, "train": 200}, "trials": []}
    command = [sys.executable, "-m", "tasktrace.planning.trials"]
    question = json.dumps({**asked, "folder": str(tmp_path)})
    done = subprocess.run(command, input=question, capture_output=True, text=True, check=True)
    ready, failed = map(json.loads, done.stdout.splitlines())
    assert ready == {"ready": "cpu"}
    assert "but the configuration asks for" in failed["failed"]
