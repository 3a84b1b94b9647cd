"""What makes two pieces of work alike."""

import dataclasses

import pytest

from tasktrace.config import Study
from tasktrace.config.arms import Run
from tasktrace.corruption_transfer.data import write_corrupted
from tasktrace.measures.session import _chosen
from tasktrace.planning.prepared_sizes import corrupted_bytes, task_kinds
from tasktrace.planning.shapes import (
    checkpoint_key,
    kept_checkpoints,
    measure_shape,
    measured_checkpoints,
    train_counts,
    train_shape,
)
from tasktrace.settings.preparation import prepare
from tasktrace.training.session import _is_kept

KINDS = {"digits1": ["cross_entropy", 10, 600], "digits2": ["cross_entropy", 10, 600], "noisy_digits": ["other"]}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 5},
        {"learning_rate": 1.0},
        {"optimizer": "sgd"},
        {"epochs": 7},
        {"checkpoint_every": 0},
        {"tasks": ("digits2", "digits1")},
        {"model": {"name": "small_cnn", "version": 1, "channels": 4, "features": 16, "weights": "imagenet"}},
    ],
)
def test_what_changes_no_step_changes_no_shape(make_spec, changes):
    assert train_shape(make_spec(**changes), KINDS).key == train_shape(make_spec(), KINDS).key


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 16},
        {"method": "mgda"},
        {"options": {"scale": "mean"}},
        {"tasks": ("digits1", "noisy_digits")},
        {"tasks": ("digits1",)},
        {"model": {"name": "small_cnn", "version": 1}},
        {"data": {"name": "digits", "version": 1}},
        {"similarity": {"every": 5, "most": 8}},
        {"augmentation": "scale_crop_flip"},
        {"jacobian": "chunked"},
        {"precision": "bf16"},
    ],
)
def test_what_changes_a_step_changes_the_shape(make_spec, changes):
    assert train_shape(make_spec(**changes), KINDS).key != train_shape(make_spec(), KINDS).key


def test_measuring_depends_on_the_measures_and_on_the_method(make_spec):
    shape = measure_shape(make_spec(), {"fisher": {"name": "fisher", "version": 1}}, KINDS)
    assert shape.key != measure_shape(make_spec(), {"fisher": {"name": "fisher", "version": 2}}, KINDS).key
    assert shape.key != measure_shape(make_spec(method="mgda"), shape.depends["measures"], KINDS).key
    assert shape.key != train_shape(make_spec(), KINDS).key


def test_a_checkpoint_is_as_large_at_every_point(make_spec):
    assert checkpoint_key(make_spec(batch_size=16), KINDS) == checkpoint_key(make_spec(), KINDS)
    assert checkpoint_key(make_spec(tasks=("digits1",)), KINDS) != checkpoint_key(make_spec(), KINDS)


@pytest.mark.parametrize("epochs", [1, 2, 5, 12])
@pytest.mark.parametrize("kept", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("measured", [1, 2, 4, 30])
def test_checkpoints_are_counted_as_runs_keep_and_measure_them(make_spec, epochs, kept, measured):
    spec = make_spec(epochs=epochs, checkpoint_every=kept)
    there = [epoch for epoch in range(epochs + 1) if _is_kept(epoch, spec)]
    assert kept_checkpoints(spec) == len(there)
    assert measured_checkpoints(spec, measured) == len(_chosen(there, measured))


def test_a_run_of_a_sweep_keeps_nothing_and_one_that_is_refitted_its_best_epoch(make_spec):
    assert kept_checkpoints(make_spec(checkpoint_every=0)) == 0
    assert measured_checkpoints(make_spec(checkpoint_every=0), 1) == 0
    assert kept_checkpoints(make_spec(checkpoint_every=0, best_epoch=None)) == 1


def test_a_run_evaluates_its_initial_model_too(make_spec):
    counts = train_counts(make_spec(epochs=3))
    assert counts == {"setup": 1, "epoch": 3, "evaluation": 4, "state": 3, "row": 6, "checkpoint": 4}


def test_tasks_with_as_many_samples_are_of_one_kind(finished, tiny):
    kinds = task_kinds(finished.study, "digits")
    assert kinds["digits1"] == kinds["digits2"] == ["cross_entropy", 10, "accuracy", 600, 130, 130]
    alone = next(arm for arm in finished.study.arms("digits") if len(arm.tasks) == 1)
    other = dataclasses.replace(alone, tasks=("digits2",), group="stl.digits2")
    specs = [finished.study.run_spec(Run(arm, "lr0.1_bs16", 0)) for arm in (alone, other)]
    first, second = (train_shape(spec, kinds) for spec in specs)
    assert first.key == second.key
    assert task_kinds(tiny, "digits")["digits1"] == "digits1"


def test_corrupted_pictures_are_as_large_as_they_become(project, study):
    corruption = {"methods": ["umtg"], "optimizer": "adam", "leave_out": ["snow", "frost"], "test": 50}
    refit = {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 50, "epochs": 1}
    grid = {
        "tasks": ["digits1", "digits2"],
        "methods": {"umtg": ["adam"]},
        "learning_rates": [0.05],
        "batch_size": 16,
        "epochs": 1,
        "alone": {"optimizers": ["adam"], "learning_rates": [0.05]},
        "corruption": {**corruption, "refit": refit},
    }
    changed = Study({**study.config, "overrides": {"digits": {"experiments": grid}}})
    assert corrupted_bytes(changed, "digits") is None
    prepared = prepare(changed.data_spec("digits"), project, project / "data/prepared/digits.safetensors")
    folder = project / "corrupted"
    write_corrupted(changed.corruption_spec("digits"), prepared, 16, folder)
    there = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    assert corrupted_bytes(changed, "digits") == pytest.approx(there, rel=0.05)
