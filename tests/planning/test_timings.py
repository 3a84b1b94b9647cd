"""What finished runs tell of how long others take."""

import dataclasses
import json

import pytest

from tasktrace.planning.jobs import MEASURE, SELECTED, SWEEP
from tasktrace.planning.timings import Known, recorded
from tasktrace.planning.workload import jobs_of_setting

HEADER = "s\th:m:s\tmax_rss\tmax_vms\n"


@pytest.fixture
def rewrite(copied):
    """A function that changes the records of the finished runs of a stage, in a copy of the study."""

    def change(pattern, **values):
        for path in (copied.root / "results/runs").rglob(pattern):
            path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


@pytest.fixture
def found(copied, cpu, jobs_on_runs):
    """A function that gives the copy's jobs and what they tell."""

    def find(device=cpu):
        jobs = jobs_on_runs(copied)
        return jobs, recorded(jobs, device, copied.root)

    return find


def _items(jobs, stage):
    return [item for job in jobs if job.stage == stage for item in job.items]


def test_a_run_takes_as_long_as_those_that_were_recorded(rewrite, found):
    seconds = {"setup": 1.0, "train": 60.0, "evaluate": 12.0, "save": 6.0}
    rewrite("lr*/seed*/run.json", seconds=seconds)
    rewrite("selected/seed*/run.json", seconds={name: value * 8 / 6 for name, value in seconds.items()})
    jobs, timings = found()
    sweep, selected = _items(jobs, SWEEP)[0], _items(jobs, SELECTED)[0]
    # Six epochs, and an evaluation of the initial model. The selected runs' checkpoints make a save cheaper.
    saves = 6.0 / 6, 8.0 / (8 + 9)
    assert timings.seconds(sweep) == pytest.approx((1 + 8 / 6) / 2 + 60 + 12 * 7 / 6 + 6 * sum(saves) / 2)
    assert timings.seconds(selected) == pytest.approx((1 + 8 / 6) / 2 + 80 + 2 * 9 + (8 + 9) * sum(saves) / 2)
    assert timings.runs == 8


def test_runs_without_a_setup_have_none(rewrite, found):
    rewrite("lr*/seed*/run.json", seconds={"train": 60.0})
    rewrite("selected/seed*/run.json", seconds={"train": 80.0})
    jobs, timings = found()
    assert timings.seconds(_items(jobs, SWEEP)[0]) == pytest.approx(60.0)


def test_measuring_takes_as_long_for_each_checkpoint(rewrite, found):
    rewrite("factors.json", seconds={"fisher": 3.0, "sharpness": 6.0})
    jobs, timings = found()
    item = _items(jobs, MEASURE)[0]
    assert item.counts["checkpoint"] == 3
    assert timings.seconds(item) == pytest.approx(9.0)
    assert timings.seconds(dataclasses.replace(item, counts={"checkpoint": 30})) == pytest.approx(90.0)


@pytest.mark.parametrize("changes", [{"device": "NVIDIA H200"}, {"threads": 2}])
def test_runs_on_another_device_tell_nothing(rewrite, found, changes):
    rewrite("run.json", **changes)
    jobs, timings = found()
    assert timings.seconds(_items(jobs, SWEEP)[0]) is None
    assert timings.seconds(_items(jobs, MEASURE)[0]) is not None
    assert timings.runs == 0


def test_runs_on_the_gpu_that_is_asked_for_tell(rewrite, found, cpu):
    rewrite("run.json", device="NVIDIA H200", threads=4)
    jobs, timings = found(dataclasses.replace(cpu, name="NVIDIA H200"))
    assert timings.seconds(_items(jobs, SWEEP)[0]) is not None


def test_a_run_that_diverged_tells_nothing_of_its_epochs(rewrite, found):
    rewrite("run.json", outcome={"status": "diverged", "epoch": 1, "step": 1, "task": "digits1"})
    jobs, timings = found()
    assert timings.seconds(_items(jobs, SWEEP)[0]) is None


def test_a_shape_that_may_come_at_several_points_takes_their_mean(rewrite, found):
    jobs, timings = found()
    first, second = _items(jobs, SWEEP)[0], _items(jobs, SWEEP)[-1]
    assert first.shapes[0].key != second.shapes[0].key
    both = dataclasses.replace(first, shapes=(*first.shapes, *second.shapes))
    assert timings.seconds(both) == pytest.approx((timings.seconds(first) + timings.seconds(second)) / 2)
    unknown = dataclasses.replace(first.shapes[0], depends={})
    assert timings.seconds(dataclasses.replace(first, shapes=(*first.shapes, unknown))) is None


def test_the_start_of_a_job_is_what_its_benchmark_has_beside_its_runs(copied, rewrite, found):
    rewrite("run.json", seconds={"train": 10.0})
    jobs, timings = found()
    assert all(timings.start(job) is None for job in jobs)
    job = next(job for job in jobs if job.stage == SWEEP)
    assert job.benchmark.name == "lr0.002_bs16_seed0_to_lr0.005_bs16_seed0.tsv"
    benchmark = copied.root / "results/benchmarks" / job.benchmark
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text(f"{HEADER}23.5\t0:00:23\t700.0\t1.0\n")
    jobs, timings = found()
    assert {job.rule for job in jobs if timings.start(job) == 3.5} == {"train"}
    rewrite("lr*/seed*/run.json", attempts=2)
    assert found()[1].starts == {}


def test_a_benchmark_tells_of_jobs_that_are_not_about_runs(copied, cpu):
    benchmark = copied.root / "results/benchmarks/prepare/digits.tsv"
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text(f"{HEADER}2.5\t0:00:02\t100.0\t1.0\n")
    jobs = jobs_of_setting(copied, "digits")
    (item,) = jobs[0].items
    timings = recorded(jobs, cpu, copied.root)
    assert timings.seconds(item) == 2.5
    assert timings.peak(item) == (pytest.approx(104.9, abs=0.1), None)
    benchmark.write_text(f"{HEADER}2.5\t0:00:02\t-\t1.0\n")
    assert recorded(jobs, cpu, copied.root).peak(item) == (None, None)
    benchmark.write_text("")
    assert recorded(jobs, cpu, copied.root).seconds(item) is None


def test_the_peak_is_the_largest_that_was_recorded(rewrite, found):
    rewrite("lr*/seed*/run.json", peak_mb={"main": 500.0, "device": 7.0})
    rewrite("selected/seed0/run.json", peak_mb={"main": 600.0, "device": 0.0})
    rewrite("selected/seed1/run.json", peak_mb={})
    jobs, timings = found()
    assert timings.peak(_items(jobs, SWEEP)[0]) == (600.0, 7.0)


def test_what_a_run_packs_at_its_end_adds_to_the_peak_of_a_trial():
    known = Known({}, 800.0, None, checkpoint_bytes=50_000_000, shard_bytes=1_000_000_000)
    assert known.main_of(0) == 800.0
    assert known.main_of(2) == 900.0
    assert known.main_of(100) == 1800.0
    assert Known({}).main_of(2) is None
