"""An attempt that has to end before its run does saves, says so, and is continued."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tasktrace.cli import main
from tasktrace.errors import TasktraceError
from tasktrace.training.ending import Ending, StoppedError
from tasktrace.training.job import RunJob, work_through
from tasktrace.training.session import run

PROGRAM = "from tasktrace.cli import main; raise SystemExit(main())"


class After(Ending):
    """Ends an attempt after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self._left = steps

    @property
    def reason(self):
        self._left -= 1
        return "enough" if self._left <= 0 else None


def progress(job):
    return json.loads((job.folder / ".resume/progress.json").read_text())


def lines(job):
    """The kept lines of a run without their times."""
    return [line.partition(" ")[2] for line in (job.folder / ".resume/train.log").read_text().splitlines()]


def test_nothing_ends_an_attempt_without_a_limit():
    assert Ending().reason is None
    Ending().close()


@pytest.mark.parametrize(("minutes", "margin"), [(120, 3), (20, 2), (1, 0.1)])
def test_the_margin_is_three_minutes_or_a_tenth_of_a_short_limit(monkeypatch, minutes, margin):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ending = Ending(minutes)
    now[0] += 60 * (minutes - margin) - 1
    assert ending.reason is None
    now[0] += 2
    assert ending.reason == f"the time limit of {minutes} min is near"
    with pytest.raises(StoppedError, match="the next attempt continues"):
        ending.close()


def test_sigterm_asks_for_the_end_and_is_handled_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with Ending().listening() as ending:
        os.kill(os.getpid(), signal.SIGTERM)
        assert ending.reason == "told to end by SIGTERM"
        assert signal.getsignal(signal.SIGTERM) == before
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("steps", [[4], [9], [1, 12, 3]])
def test_a_run_that_ended_in_time_and_continued_has_the_bytes_of_an_uninterrupted_one(
    make_job, make_spec, results, uninterrupted, steps
):
    job = make_job(make_spec())
    for number in steps:
        with pytest.raises(StoppedError):
            run(job, After(number))
        assert progress(job)["state"] == "stopped"
        assert not (job.folder / "run.json").exists()
    record = run(job)
    assert record["attempts"] == len(steps) + 1
    assert results(job) == uninterrupted(job)


def test_how_far_a_run_is_can_be_read_while_it_trains(make_job, make_spec, before_step):
    job = make_job(make_spec())
    seen = {}
    with before_step(2, 3, lambda _engine: seen.update(progress(job))):
        run(job)
    assert {name: seen[name] for name in ("state", "epoch", "epochs", "step", "steps", "attempt")} == {
        "state": "training",
        "epoch": 2,
        "epochs": 3,
        "step": 0,
        "steps": 9,
        "attempt": 1,
    }
    assert seen["seconds"] > 0
    assert abs(seen["time"] - time.time()) < 60
    assert not (job.folder / ".resume/progress.json").exists()


def test_the_log_holds_all_attempts(make_job, make_spec):
    job = make_job(make_spec())
    with pytest.raises(StoppedError):
        run(job, After(12))
    run(job)
    said = [line.partition(":")[0] for line in lines(job)]
    assert said == [
        "epoch 0/3",
        "epoch 1/3",
        "enough; the next attempt continues",
        "continuing from epoch 1, step 3",
        "epoch 2/3",
        "epoch 3/3",
    ]


def test_why_an_attempt_failed_is_its_last_line(make_job, make_spec, before_step):
    job = make_job(make_spec())

    def fail(_engine):
        raise ZeroDivisionError("no way\nat all")

    with before_step(1, 0, fail), pytest.raises(TasktraceError):
        run(job)
    assert lines(job)[-1] == f"failed: {job.path}: no update at epoch 2, step 1: no way at all"
    assert progress(job) | {"state": "failed", "epoch": 1} == progress(job)


def test_a_run_told_to_end_by_sigterm_saves_and_ends_with_status_75(make_spec, prepared_file, tmp_path):
    spec = make_spec(epochs=100_000, checkpoint_every=0)
    folder = tmp_path / "results/runs/digits/a/seed0"
    command = [sys.executable, "-c", PROGRAM, "train", str(folder), "--spec", json.dumps(spec)]
    with subprocess.Popen([*command, "--data", str(prepared_file), "--device", "cpu"], cwd=tmp_path) as process:
        deadline = time.monotonic() + 60
        while not list(folder.glob(".resume/epoch*.state")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 75
    assert "told to end by SIGTERM; the next attempt continues" in (folder / ".resume/train.log").read_text()


def test_a_limit_ends_the_process_with_status_75_unless_nothing_enforces_it(
    make_spec, prepared_file, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "results/runs/digits/a/seed0", "--data", str(prepared_file), "--device", "cpu"]
    arguments += ["--spec", json.dumps(make_spec()), "--minutes", "0.0001"]
    assert main(arguments) == 75
    assert "the time limit of 0.0001 min is near; the next attempt continues" in capsys.readouterr().err
    assert main([*arguments, "--minutes", "0"]) == 0


def test_runs_of_one_process_have_the_bytes_of_runs_alone(
    make_spec, prepared_file, tmp_path, monkeypatch, uninterrupted, make_job, results
):
    monkeypatch.chdir(tmp_path)
    specs = [make_spec(seed=seed) for seed in (0, 1)]
    folders = [f"results/runs/digits/a/seed{seed}" for seed in (0, 1)]
    arguments = ["train", *folders, "--data", str(prepared_file), "--device", "cpu", "--spec", json.dumps(specs)]
    assert main(arguments) == 0
    for seed, spec in enumerate(specs):
        alone = uninterrupted(make_job(spec))
        own = [tmp_path / folders[seed] / "trajectory.parquet", *(tmp_path / "checkpoints").rglob(f"seed{seed}*")]
        assert sorted(path.read_bytes() for path in own if path.is_file()) == sorted(alone.values())


def test_as_many_specs_as_runs_are_needed(make_spec, prepared_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "results/runs/digits/a/seed0", "results/runs/digits/a/seed1", "--data", str(prepared_file)]
    assert main([*arguments, "--spec", json.dumps(make_spec())]) == 1
    assert "expected one spec per run, in a list; found 1 for 2 runs" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def jobs(tmp_path, *names):
    return [RunJob(name, {}, tmp_path / "data") for name in names]


def test_a_job_that_fails_keeps_no_other_from_being_done(tmp_path, capsys):
    done = []

    def work(job):
        if job.path == "a":
            raise TasktraceError("bad options")
        if job.path == "b":
            raise RuntimeError("out of memory")
        done.append(job.path)

    with pytest.raises(TasktraceError) as raised:
        work_through(jobs(tmp_path, "a", "b", "c", "d"), work)
    assert done == ["c", "d"]
    assert str(raised.value).splitlines() == [
        "2 of 4 runs failed, the others are done:",
        "a: bad options",
        "b: RuntimeError: out of memory",
    ]
    assert "RuntimeError: out of memory" in capsys.readouterr().err


def test_the_end_of_the_process_is_the_end_of_all_its_jobs(tmp_path):
    done = []

    def work(job):
        done.append(job.path)
        raise StoppedError("enough")

    with pytest.raises(StoppedError):
        work_through(jobs(tmp_path, "a", "b"), work)
    assert done == ["a"]


def test_a_single_job_fails_as_it_does_alone(tmp_path):
    def work(_job):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        work_through(jobs(tmp_path, "a"), work)
