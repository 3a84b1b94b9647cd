"""What trials foretell and what plans say of finished runs, against the work that training and measuring then did."""

import json

import pytest

from tasktrace.planning.jobs import MEASURE
from tasktrace.planning.plan import Asked, make_plan


def test_trials_foretell_what_training_and_measuring_take(counted, jobs_on_runs):
    done = [(job.stage, item) for job in jobs_on_runs(counted.study) for item in job.items]
    for stage, item in done:
        # Of a run no activity is recorded that has the initial model's evaluation.
        less = 0 if stage == MEASURE else counted.trials.shapes[item.shapes[0].key].rates["evaluation"]
        taken = sum(item.record["seconds"].values())
        # Sharpness is iterated until it is known, sooner or later.
        tolerance = 0.05 if stage == MEASURE else 0.001
        assert counted.trials.seconds(item) - less == pytest.approx(taken, rel=tolerance)
    assert len(done) == 12


def test_what_runs_took_is_what_they_are_expected_to_take(counted):
    (setting,) = make_plan(counted.study, Asked(["digits"], "cpu")).to_json()["settings"]
    stages = {own["stage"]: own["all"] for own in setting["stages"]}
    records = [json.loads(path.read_text()) for path in (counted.study.root / "results").rglob("run.json")]
    taken = sum(sum(record["seconds"].values()) for record in records)
    expected = sum(stages[name]["device_seconds"] for name in ("sweep", "selected"))
    first = sum(record["seconds"]["evaluate"] / record["spec"]["epochs"] for record in records)
    assert expected == pytest.approx(taken + first, rel=0.001)
    assert stages["selected"]["main_mb"] == max(record["peak_mb"]["main"] for record in records)
    sizes = [entry["size"] for record in records for entry in record["checkpoints"]]
    assert stages["selected"]["checkpoint_bytes"] == pytest.approx(sum(sizes), rel=0.01)
