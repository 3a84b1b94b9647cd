"""Sizes of files before they are there, against files."""

import pytest

from tasktrace.planning.checkpoint_sizes import all_checkpoints_bytes, checkpoint_bytes, empty_model
from tasktrace.planning.jobs import MEASURE, SELECTED
from tasktrace.planning.workload import jobs_of_setting


def _items(study, stage):
    return [item for job in jobs_of_setting(study, "digits") if job.stage == stage for item in job.items]


def test_checkpoints_are_as_large_as_expected(finished):
    kept = 0
    for item in _items(finished.study, SELECTED):
        (entry,) = item.record["checkpoints"]
        assert item.checkpoints == len(entry["epochs"])
        assert item.checkpoints * checkpoint_bytes(item.spec) == pytest.approx(entry["size"], rel=0.02)
        kept += entry["size"]
    assert all_checkpoints_bytes(finished.study, "digits") == pytest.approx(kept, rel=0.02)


def test_a_method_that_remembers_adds_to_a_checkpoint(tiny):
    spec = tiny.run_spec(tiny.selected_runs(tiny.arms("digits")[-1])[0])
    remembering = {**spec, "method": {"name": "pcgrad", "version": 1}}
    assert checkpoint_bytes(remembering) > checkpoint_bytes(spec) + 5000


def test_a_model_without_numbers_takes_no_weights_and_no_memory(tiny):
    spec = tiny.run_spec(tiny.selected_runs(tiny.arms("digits")[0])[0])
    model = {"name": "deeplab", "version": 1, "backbone": "resnet101", "weights": "imagenet"}
    empty = empty_model({**spec, "model": model})
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert sum(parameter.numel() for parameter in empty.parameters()) > 40_000_000


@pytest.mark.parametrize("stage", [SELECTED, MEASURE])
def test_results_are_about_as_large_as_expected(finished, tiny, stage):
    there = sum(item.other_bytes for item in _items(finished.study, stage))
    expected = sum(item.other_bytes for item in _items(tiny, stage))
    assert expected == pytest.approx(there, rel=0.5)
    folders = (finished.study.root / "results/runs").rglob("selected/seed*")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    measured = [path for path in files if path.name.startswith("factors") or path.parent.name == ".measure"]
    counted = measured if stage == MEASURE else set(files) - set(measured)
    assert there == sum(path.stat().st_size for path in counted)
