"""Trials in processes of their own, what is kept of them, and what they cannot do."""

import dataclasses
import json

import pytest

from tasktrace.config import Study
from tasktrace.errors import ConfigError, TasktraceError
from tasktrace.planning import calibration as calibration_module
from tasktrace.planning.calibration import Kept, calibrate, kept_trials, tried_devices
from tasktrace.planning.jobs import ANALYSIS, SWEEP
from tasktrace.planning.timings import Timings
from tasktrace.planning.workload import jobs_of_setting


def _kept(study):
    return study.root / "results/plan/digits.json"


def test_trials_tell_all_that_is_timed_of_a_run(finished):
    timings = finished.expected.timings
    for job in finished.before:
        for item in job.items:
            (known,) = (timings.shapes[shape.key] for shape in item.shapes)
            counted = {name for name, count in item.counts.items() if count}
            assert counted <= known.rates.keys()
            # A difference of two times may be none.
            assert all(known.rates[name] > 0 for name in counted - {"row"})
            assert 200 < known.main_mb < 5000
        assert 0.5 < timings.start(job) < 120
    assert finished.expected.tried == 4
    assert not finished.expected.failed


def test_trials_are_kept_and_not_made_again(finished, cpu):
    path = _kept(finished.study)
    before = path.stat().st_mtime_ns
    again = calibrate(finished.study, finished.before, cpu, Timings(), fresh=False)
    assert path.stat().st_mtime_ns == before
    assert again == kept_trials(finished.study, finished.before, cpu) == finished.expected
    assert tried_devices(finished.study.root) == ["cpu"]
    entry = next(iter(json.loads(path.read_text()).values()))
    assert (entry["label"], entry["device"], entry["threads"]) == ("train stl.digits1 bs16", "cpu", 1)


@pytest.mark.parametrize("changes", [{"threads": 2}, {"processor": "another"}, {"name": "NVIDIA H200"}])
def test_trials_on_another_device_are_other_trials(finished, cpu, changes):
    assert kept_trials(finished.study, finished.before, dataclasses.replace(cpu, **changes)).tried == 0


def test_what_was_recorded_is_not_tried(finished, cpu):
    known = finished.expected.timings
    assert calibrate(finished.study, finished.before, cpu, known, fresh=True).tried == 0


def test_a_damaged_file_of_trials_is_as_none(copied, finished, cpu):
    _kept(copied).write_text("{")
    assert kept_trials(copied, finished.before, cpu).tried == 0


def test_without_data_nothing_is_tried_and_the_setting_is_named(tiny, cpu):
    jobs = [job for job in jobs_of_setting(tiny, "digits") if job.stage != ANALYSIS]
    calibration = calibrate(tiny, jobs, cpu, Timings(), fresh=False)
    assert calibration.not_prepared == ["digits"]
    assert calibration.tried == 0
    assert not (tiny.root / "results").exists()


def test_what_cannot_be_done_is_said_and_what_failed_before_is_tried_again(copied, cpu, capfd):
    sweep = {"batch_sizes": [500, 601]}
    study = Study({**copied.config, "overrides": {"digits": {"sweep": sweep}}}, copied.root)
    jobs = [job for job in jobs_of_setting(study, "digits") if job.stage == SWEEP][:1]
    (shape,) = jobs[0].items[0].shapes
    Kept(study.root, "digits", cpu).add([(shape, {"failed": "out of memory"})])
    assert kept_trials(study, jobs, cpu).failed == {"digits: train stl.digits1 bs500": "out of memory"}
    calibration = calibrate(study, jobs, cpu, Timings(), fresh=False)
    assert calibration.tried == 1
    ((what, why),) = calibration.failed.items()
    assert what == "digits: train stl.digits1 bs601"
    assert "batch size 601 is larger than the 600 training samples" in why
    assert "digits: train stl.digits1 bs500: tried" in capfd.readouterr().err


def test_a_device_that_is_not_here_cannot_be_tried(copied, finished, cpu):
    gpu = dataclasses.replace(cpu, name="No such GPU")
    with pytest.raises((ConfigError, TasktraceError), match=r"torch sees no GPU|asked for No such GPU"):
        calibrate(copied, finished.before, gpu, Timings(), fresh=False)
    assert not list((copied.root / "results/plan").glob("tmp*"))


def test_jobs_of_the_analysis_are_tried_once_for_all(tiny, cpu, tmp_path, monkeypatch):
    monkeypatch.setattr(calibration_module, "_REPEATS", 1)
    study = Study(tiny.config, tiny.root)
    study.root = tmp_path
    jobs = [job for job in jobs_of_setting(tiny, "digits") if job.stage == ANALYSIS]
    calibration = calibrate(study, jobs, cpu, Timings(), fresh=False)
    seconds = {job.rule: calibration.timings.seconds(job.items[0]) for job in jobs}
    assert 0 < seconds["select"] == seconds["analyse"] < seconds["figure_a1"] == seconds["figure_a3"] < 60
    assert [path.name for path in (tmp_path / "results/plan").iterdir()] == ["analysis.rules.json"]
