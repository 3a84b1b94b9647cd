"""A step is what an obvious implementation of it does, and a group trains under the same conditions as its tasks."""

import copy
import dataclasses

import pytest
import torch
from torch.nn import functional

from tasktrace.config.declarations import declaration
from tasktrace.methods import build
from tasktrace.models import build_model
from tasktrace.training.data import Order

TASKS = ("digits1", "digits2", "noisy_digits")
STEPS = 5
TOLERANCE = 2e-6

# A large eps keeps Adam's update from magnifying the rounding of gradients near zero.
SPECS = {
    "adam": ({"name": "adam", "version": 1, "eps": 1e-2, "weight_decay": 1e-3}, 0.01),
    "sgd": ({"name": "sgd", "version": 1}, 0.05),
    "sgdm": ({"name": "sgd", "version": 1, "momentum": 0.9, "weight_decay": 1e-3}, 0.05),
}


def plain_optimizer(name, parameters):
    spec, rate = SPECS[name]
    if name == "adam":
        return torch.optim.Adam(parameters, lr=rate, eps=spec["eps"], weight_decay=spec["weight_decay"], foreach=False)
    momentum, decay = spec.get("momentum", 0.0), spec.get("weight_decay", 0.0)
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, foreach=False)


def pixels_and_targets(prepared, task, positions):
    rows = torch.from_numpy(prepared.tensors[f"{task}/train/index"])[positions]
    pixels = torch.from_numpy(prepared.tensors["inputs"])[rows].float()
    mean, std = torch.tensor(prepared.mean).view(1, -1, 1, 1), torch.tensor(prepared.std).view(1, -1, 1, 1)
    return (pixels - mean) / std, torch.from_numpy(prepared.tensors[f"{task}/train/target"])[positions]


def obvious_training(spec, prepared, optimizer_name, heads_scaled=False):
    """One gradient per task and step, combined by the method; the model and every step's losses."""
    declared = declaration("setting", "digits").tasks
    model = build_model(spec["model"], [declared[name] for name in spec["tasks"]], spec["seed"])
    model.train()
    count = len(spec["tasks"])
    method = build("umtg", count, scale=(spec["method"] or {}).get("scale", "sum"))
    shared = list(model.encoder.parameters())
    optimizer = plain_optimizer(optimizer_name, list(model.parameters()))
    size = spec["point"]["batch_size"]
    orders = {task: Order(task, 300, size, spec["seed"]).batches(0, STEPS) for task in spec["tasks"]}
    history = []
    for step in range(STEPS):
        losses, rows = [], []
        for task in spec["tasks"]:
            inputs, targets = pixels_and_targets(prepared, task, orders[task][step])
            head = list(model.heads[task].parameters())
            loss = functional.cross_entropy(model(inputs, task), targets)
            gradients = torch.autograd.grad(loss, shared + head)
            rows.append(torch.cat([gradient.flatten() for gradient in gradients[: len(shared)]]))
            for parameter, gradient in zip(head, gradients[len(shared) :], strict=True):
                parameter.grad = gradient / count if heads_scaled else gradient
            losses.append(loss.detach())
        combined = method.combine(torch.stack(rows), torch.stack(losses))
        for parameter, part in zip(shared, combined.split([one.numel() for one in shared]), strict=True):
            parameter.grad = part.view_as(parameter)
        optimizer.step()
        history.append(torch.stack(losses))
    return model, torch.stack(history)


def trained(engine):
    engine.begin_epoch(0)
    for step in range(STEPS):
        engine.step(step)
    return engine


def distance(model, other):
    """Largest difference between two models' parameters."""
    own, others = dict(model.named_parameters()), dict(other.named_parameters())
    assert own.keys() == others.keys()
    return max((own[name] - others[name]).abs().max().item() for name in own)


def spec_of(make_spec, count, optimizer, scale="sum", **changes):
    own, rate = SPECS[optimizer]
    return make_spec(TASKS[:count], optimizer=own, learning_rate=rate, options={"scale": scale}, **changes)


@pytest.mark.parametrize("scale", ["sum", "mean"])
@pytest.mark.parametrize("optimizer", SPECS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_steps_equal_the_obvious_ones(prepared, make_spec, make_engine, count, optimizer, scale):
    spec = spec_of(make_spec, count, optimizer, scale)
    engine = trained(make_engine(spec))
    model, losses = obvious_training(spec, prepared, optimizer)
    assert distance(engine.model, model) < TOLERANCE
    assert torch.allclose(engine.losses[:STEPS], losses, rtol=1e-5)
    start = build_model(spec["model"], engine.tasks, spec["seed"])
    assert distance(engine.model, start) > 1000 * TOLERANCE


@pytest.mark.parametrize("optimizer", SPECS)
@pytest.mark.parametrize("count", [2, 3])
def test_the_tolerance_tells_a_step_that_scales_the_heads_too(prepared, make_spec, make_engine, count, optimizer):
    spec = spec_of(make_spec, count, optimizer, "mean")
    engine = trained(make_engine(spec))
    wrong, _ = obvious_training(spec, prepared, optimizer, heads_scaled=True)
    assert distance(engine.model, wrong) > 100 * TOLERANCE


@pytest.mark.parametrize("scale", ["sum", "mean"])
@pytest.mark.usefixtures("own_models")
def test_with_batch_norm_each_task_is_normalised_by_its_own_batch(prepared, make_spec, make_engine, scale):
    spec = spec_of(make_spec, 2, "sgd", scale, model={"name": "with_batch_norm", "version": 1})
    engine = trained(make_engine(spec))
    model, losses = obvious_training(spec, prepared, "sgd")
    assert distance(engine.model, model) < 10 * TOLERANCE
    assert torch.allclose(engine.losses[:STEPS], losses, rtol=1e-4)
    own, plain = engine.model.encoder[1], model.encoder[1]
    assert torch.allclose(own.running_mean, plain.running_mean, atol=1e-5)
    assert torch.allclose(own.running_var, plain.running_var, rtol=1e-4)
    assert own.num_batches_tracked.item() == 2 * STEPS


@pytest.mark.parametrize("method", ["umtg", "pcgrad", "mgda_ub"])
@pytest.mark.parametrize("tasks", [("digits1", "digits2"), ("digits2", "digits1")])
@pytest.mark.usefixtures("own_models")
def test_running_statistics_move_by_a_tenth_to_each_task_s_batch_in_the_group_s_order(
    prepared, make_spec, make_engine, tasks, method
):
    spec = make_spec(tasks, method, model={"name": "with_batch_norm", "version": 1})
    engine = make_engine(spec)
    convolution, norm = copy.deepcopy(engine.model.encoder[0]), engine.model.encoder[1]
    engine.begin_epoch(0)
    engine.step(0)
    mean, variance = torch.zeros(4), torch.ones(4)
    for task in tasks:
        positions = Order(task, 300, 32, spec["seed"]).batches(0, 1)[0]
        entering = convolution(pixels_and_targets(prepared, task, positions)[0]).transpose(0, 1).flatten(1).detach()
        mean = 0.9 * mean + 0.1 * entering.mean(dim=1)
        variance = 0.9 * variance + 0.1 * entering.var(dim=1, correction=1)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, variance)
    assert norm.num_batches_tracked.item() == 2


def test_the_losses_of_steps_not_yet_taken_are_not_numbers(make_spec, make_engine):
    engine = trained(make_engine(make_spec()))
    assert engine.losses.shape == (9, 2)
    assert torch.isfinite(engine.losses[:STEPS]).all()
    assert torch.isnan(engine.losses[STEPS:]).all()


def test_alone_and_together_take_the_same_number_of_steps(prepared, make_spec, make_engine):
    uneven = dataclasses.replace(
        prepared,
        tensors={
            **prepared.tensors,
            "digits1/train/index": prepared.tensors["digits1/train/index"][:70],
            "digits1/train/target": prepared.tensors["digits1/train/target"][:70],
        },
    )
    groups = [("digits1",), ("digits2",), ("digits1", "digits2"), TASKS]
    engines = [make_engine(make_spec(group), uneven) for group in groups]
    assert [engine.steps for engine in engines] == [9, 9, 9, 9]
    small = trained(engines[0])
    assert torch.isfinite(small.losses[:STEPS]).all()


def test_a_task_starts_and_is_ordered_alike_alone_and_in_any_group(make_spec, make_engine):
    groups = [("digits2",), ("digits1", "digits2"), ("digits2", "noisy_digits")]
    engines = [make_engine(make_spec(group)) for group in groups]
    rows = []
    for engine, group in zip(engines, groups, strict=True):
        engine.begin_epoch(1)
        position = group.index("digits2")
        rows.append(engine._batches.rows[:, 32 * position : 32 * (position + 1)])
        for part in (engine.model.encoder, engine.model.heads["digits2"]):
            first = engines[0].model.encoder if part is engine.model.encoder else engines[0].model.heads["digits2"]
            for own, others in zip(part.parameters(), first.parameters(), strict=True):
                assert torch.equal(own, others)
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


def test_the_order_of_the_tasks_changes_no_more_than_rounding(make_spec, make_engine):
    one = trained(make_engine(make_spec(("digits1", "digits2"), optimizer="sgd")))
    other = trained(make_engine(make_spec(("digits2", "digits1"), optimizer="sgd")))
    assert distance(one.model, other.model) < TOLERANCE


@pytest.mark.parametrize("optimizer", ["adam", "sgdm"])
def test_restored_moments_have_the_strides_of_their_parameters(make_spec, make_engine, optimizer):
    spec = make_spec(optimizer=optimizer)
    engine = trained(make_engine(spec))
    restored = make_engine(spec)
    restored.load_state_dict(copied(engine))
    assert any(not parameter.is_contiguous() for parameter in restored.model.parameters())
    moments = 0
    for parameter, before in zip(restored.model.parameters(), engine.model.parameters(), strict=True):
        assert parameter.stride() == before.stride()
        for key, value in restored.update.optimizers[0].state[parameter].items():
            assert torch.equal(value, engine.update.optimizers[0].state[before][key])
            if value.shape == parameter.shape:
                assert value.stride() == parameter.stride()
                moments += 1
    assert moments == {"adam": 20, "sgdm": 10}[optimizer]


@pytest.mark.usefixtures("own_models")
@pytest.mark.parametrize("model", ["small_cnn", "with_dropout", "with_batch_norm"])
def test_a_restored_engine_takes_the_same_steps(make_spec, make_engine, model):
    spec = make_spec(model={"name": model, "version": 1})
    engine = trained(make_engine(spec))
    state = copied(engine)
    finished = copied(engine, steps=range(STEPS, 9))
    restored = make_engine(spec)
    restored.load_state_dict(state)
    restored.begin_epoch(0)
    again = copied(restored, steps=range(STEPS, 9))
    assert finished.keys() == again.keys()
    for name, value in finished.items():
        assert torch.equal(value, again[name]), name
    assert any(not torch.equal(value, state[name]) for name, value in finished.items() if name.startswith("model/"))


def copied(engine, steps=()):
    """The engine's state after some more steps, laid out as a file would return it."""
    for step in steps:
        engine.step(step)
    return {name: value.detach().clone().contiguous() for name, value in engine.state_dict().items()}
