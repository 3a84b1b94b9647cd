"""The evaluation covers whole splits, in eval mode, to float64."""

import copy
import math

import pytest
import torch

from tasktrace.settings.prepared import SPLITS
from tasktrace.training.evaluation import evaluate

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
