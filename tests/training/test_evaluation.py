"""The evaluation covers whole splits, in eval mode, to float64."""

import copy
import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tasktrace.errors import ConfigError
from tasktrace.models import MultiTaskModel
from tasktrace.settings.prepared import SPLITS, Prepared
from tasktrace.tasks import Task
from tasktrace.training import tallies
from tasktrace.training.data import DeviceData
from tasktrace.training.evaluation import evaluate
from tasktrace.training.objectives import LOSSES, metric_value

TASKS = ("digits1", "noisy_digits")


@pytest.fixture
def engine(make_spec, make_engine):
    engine = make_engine(make_spec(TASKS))
    engine.begin_epoch(0)
    for step in range(engine.steps):
        engine.step(step)
    return engine


def whole_split(engine, prepared, task, split):
    """Float64 outputs for a split in one batch, from the prepared file's arrays, and its targets."""
    model = copy.deepcopy(engine.model).double().eval()
    pixels = torch.from_numpy(prepared.tensors["inputs"][prepared.tensors[f"{task}/{split}/index"]]).double()
    inputs = (pixels - prepared.mean[0]) / prepared.std[0]
    with torch.no_grad():
        return model(inputs, task), torch.from_numpy(prepared.tensors[f"{task}/{split}/target"])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("task", TASKS)
def test_loss_and_metric_are_those_of_the_whole_split(engine, prepared, task, split):
    found = {row.quantity: row.value for row in evaluate(engine, 1) if (row.task, row.split) == (task, split)}
    outputs, targets = whole_split(engine, prepared, task, split)
    logarithms = [
        output[target].item() - math.log(output.exp().sum().item())
        for output, target in zip(outputs, targets, strict=True)
    ]
    right = sum(int(output.argmax()) == target for output, target in zip(outputs, targets.tolist(), strict=True))
    assert found["loss"] == pytest.approx(-sum(logarithms) / len(logarithms), rel=1e-6)
    assert found["metric"] == pytest.approx(right / len(targets), rel=1e-12)
    assert len(targets) == {"train": 300}.get(split, 60)


def test_rows_name_the_epoch_the_steps_and_every_quantity_once(engine):
    rows = evaluate(engine, 4)
    assert {(row.epoch, row.step) for row in rows} == {(4, 36)}
    expected = [(task, split, name) for task in TASKS for split in SPLITS for name in ("loss", "metric")]
    assert [(row.task, row.split, row.quantity) for row in rows] == expected


def test_a_tiny_loss_is_not_rounded_to_nothing(engine, prepared):
    """In float32 the loss of a sample is a multiple of 1e-7; averages near that need more."""
    with torch.no_grad():
        for parameter in engine.model.heads["digits1"].parameters():
            parameter.zero_()
        engine.model.heads["digits1"].bias[3] = 22.0
    targets = engine.data.targets["digits1", "train"]
    engine.data.targets["digits1", "train"] = torch.full_like(targets, 3)
    loss = evaluate(engine, 0)[0].value
    assert loss == pytest.approx(math.log1p(9 * math.exp(-22.0)), rel=1e-6)


@pytest.mark.usefixtures("own_models")
@pytest.mark.parametrize("model", ["with_dropout", "with_batch_norm"])
def test_evaluation_draws_nothing_and_changes_nothing(make_spec, make_engine, model):
    engine = make_engine(make_spec(model={"name": model, "version": 1}))
    engine.begin_epoch(0)
    engine.step(0)
    before = {name: value.clone() for name, value in engine.state_dict().items()}
    first = evaluate(engine, 1)
    assert evaluate(engine, 1) == first
    for name, value in engine.state_dict().items():
        assert torch.equal(value.nan_to_num(), before[name].nan_to_num()), name


@pytest.mark.usefixtures("own_models")
def test_training_mode_is_back_after_an_evaluation(make_spec, make_engine):
    engine = make_engine(make_spec(model={"name": "with_dropout", "version": 1}))
    evaluate(engine, 0)
    engine.begin_epoch(0)
    assert all(module.training for module in engine.model.modules())


# Tasks with a target per pixel, and tasks that share their inputs

SEGMENTATION = Task(name="seg", outputs=4, metric="mean_iou", more_metrics=("pixel_accuracy",))
DEPTH = Task(name="depth", outputs=1, loss="l1", metric="absolute_error", more_metrics=("relative_error",))
NORMALS = Task(
    name="normals", outputs=3, loss="cosine", metric="mean_angle", more_metrics=("median_angle", "within_30")
)
SIMILARITY = Task(name="similarity", outputs=1, loss="mse", metric="pearson", more_metrics=("spearman",))
SMILE = Task(name="smile", outputs=1, loss="binary_cross_entropy", metric="f1", more_metrics=("balanced_accuracy",))
DENSE, SINGLE = (SEGMENTATION, DEPTH, NORMALS), (SIMILARITY, SMILE)
DENSE_NAMES = {task.name for task in DENSE}


class _Averaged(nn.Module):
    """Outputs (n, O) from features (n, D, H, W)."""

    def __init__(self, outputs):
        super().__init__()
        self.layer = nn.Linear(5, outputs)

    def forward(self, features):
        return self.layer(features.mean(dim=(2, 3)))


def _targets(task, samples, rng):
    if task.loss == "binary_cross_entropy":
        return rng.integers(0, 2, samples)
    if task.loss == "mse":
        return rng.normal(size=samples).astype(np.float32)
    unknown = rng.random((samples, 4, 6)) < 0.2
    if task.loss == "cross_entropy":
        return np.where(unknown, -1, rng.integers(0, 4, (samples, 4, 6))).astype(np.int8)
    if task.loss == "l1":
        return np.where(unknown, np.nan, rng.uniform(1, 9, (samples, 4, 6))).astype(np.float32)
    return np.where(unknown[:, None], np.nan, rng.normal(size=(samples, 3, 4, 6))).astype(np.float32)


@pytest.fixture
def own_engine():
    """A function: what an evaluation needs of an engine, for any tasks, on random 4 x 6 pictures."""

    def make(tasks, shared=True) -> SimpleNamespace:
        rng = np.random.default_rng(0)
        tensors = {"inputs": rng.integers(0, 256, (23, 3, 4, 6), dtype=np.uint8)}
        for task in tasks:
            for split, rows in zip(SPLITS, (range(13), range(13, 17), range(17, 23)), strict=True):
                tensors[f"{task.name}/{split}/index"] = np.array(rows)
                tensors[f"{task.name}/{split}/target"] = _targets(task, len(rows), rng)
        prepared = Prepared(tensors, [128.0] * 3, [70.0] * 3, "")
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            heads = {
                task.name: nn.Conv2d(5, task.outputs, 1) if task.name in DENSE_NAMES else _Averaged(task.outputs)
                for task in tasks
            }
            model = MultiTaskModel(nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh()), heads)
        data = DeviceData(prepared, [task.name for task in tasks], torch.device("cpu"), shared)
        return SimpleNamespace(tasks=list(tasks), data=data, model=model, steps=3)

    return make


def by_name(engine):
    return {(row.task, row.split, row.quantity): row.value for row in evaluate(engine, 1)}


@pytest.mark.parametrize("tasks", [DENSE, SINGLE, (*DENSE, *SINGLE)])
def test_chunks_of_a_split_are_the_whole_split(own_engine, monkeypatch, tasks):
    monkeypatch.setattr(tallies, "_CHUNK", 3)  # 13 samples: the last chunk is smaller
    engine = own_engine(tasks)
    found = by_name(engine)
    for task in tasks:
        for split in SPLITS:
            with torch.no_grad():
                outputs = engine.model(engine.data.normalised(engine.data.rows[task.name, split]), task.name).double()
            targets = engine.data.targets[task.name, split]
            expected = [
                LOSSES[task.loss](outputs, targets),
                *(metric_value(own, outputs, targets) for own in task.metrics),
            ]
            for quantity, value in zip(("loss", "metric", *task.more_metrics), expected, strict=True):
                assert math.isfinite(value)
                # The outputs are single precision, and a convolution of more samples may round another way.
                assert found[task.name, split, quantity] == pytest.approx(float(value), rel=1e-6, abs=1e-6)


def test_large_inputs_go_through_the_model_a_few_at_a_time(own_engine, monkeypatch):
    engine, seen = own_engine(DENSE), []
    engine.model.encoder.register_forward_hook(lambda _module, inputs, _outputs: seen.append(len(inputs[0])))
    evaluate(engine, 0)
    assert seen == [13, 4, 6]
    seen.clear()
    monkeypatch.setattr(tallies, "_PIXELS", 5 * 24 + 7)
    evaluate(engine, 0)
    assert seen == [5, 5, 3, 4, 5, 1]
    seen.clear()
    monkeypatch.setattr(tallies, "_PIXELS", 1)
    evaluate(engine, 0)
    assert seen == [1] * 23


def test_shared_inputs_are_encoded_once_for_all_tasks_with_the_same_results(own_engine):
    tasks, passes = (*SINGLE, *DENSE), []
    results = {}
    for shared in (True, False):
        engine = own_engine(tasks, shared)
        engine.model.encoder.register_forward_hook(lambda *_, shared=shared: passes.append(shared))
        results[shared] = evaluate(engine, 2)
    assert (passes.count(True), passes.count(False)) == (3, 15)
    assert results[True] == results[False]
    names = [row.task for row in results[True]]
    assert names == [task.name for task in tasks for _ in SPLITS for _ in ("loss", *task.metrics)]


def test_a_metric_that_a_map_has_not_is_refused(own_engine):
    engine = own_engine([dataclasses.replace(SEGMENTATION, metric="accuracy")])
    with pytest.raises(ConfigError, match="metric 'accuracy' is not one of maps"):
        evaluate(engine, 0)
