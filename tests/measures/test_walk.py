"""Which samples a pass sees, whose gradients it gives, and how often it computes them."""

import sys
import types
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tasktrace.errors import ConfigError
from tasktrace.measures import coherence, conflict
from tasktrace.measures import walk as walk_module
from tasktrace.measures.base import Pass
from tasktrace.measures.coherence import from_norms
from tasktrace.measures.walk import walk
from tasktrace.training.objectives import LOSSES
from tasktrace.training.updates.jacobian import TaskJacobian

TRIO = ("digits1", "digits2", "noisy_digits")
TWINS = ("digits2", "noisy_digits")


@pytest.fixture
def seen(monkeypatch):
    """The batches that went through the model, filled by every pass."""
    batches, fill = [], TaskJacobian.fill

    def filling(jacobian, batch):
        batches.append(batch)
        return fill(jacobian, batch)

    monkeypatch.setattr(TaskJacobian, "fill", filling)
    return batches


def pixels(batches, task):
    """A task's inputs in all batches, each as a tuple of numbers."""
    inputs = torch.cat([batch.own()[task] for batch in batches])
    return [tuple(own.flatten().tolist()) for own in inputs]


def test_batches_are_disjoint_and_of_the_tasks_training_data(train, make_spec, seen, kept):
    run = train(make_spec(TRIO)).run
    kept(run, batch_size=30, batches=20)
    assert len(seen) == 10
    for number, task in enumerate(run.tasks):
        found = pixels(seen, number)
        inputs, targets = run.inputs(task, torch.arange(300))
        assert sorted(found) == sorted(tuple(own.flatten().tolist()) for own in inputs)
        label_of = {tuple(own.flatten().tolist()): int(label) for own, label in zip(inputs, targets, strict=True)}
        labels = torch.cat([batch.targets[number] for batch in seen]).tolist()
        assert labels == [label_of[own] for own in found]


def test_the_order_is_not_that_of_the_data(train, make_spec):
    run = train(make_spec(TRIO)).run
    orders = [run.rows(task, 300).tolist() for task in run.tasks]
    assert all(sorted(order) == list(range(300)) for order in orders)
    assert len({tuple(order) for order in [*orders, range(300)]}) == 4
    assert run.rows(run.tasks[0], 50).tolist() == orders[0][:50]


def test_alone_and_together_with_any_seed_a_task_is_seen_on_the_same_samples(train, make_spec, seen, kept):
    specs = [
        make_spec(TRIO),
        make_spec(TRIO, seed=5),
        make_spec(("digits2", "digits1")),
        make_spec(("digits2",)),
        make_spec(("digits2",), batch_size=16, seed=2),
    ]
    found = []
    for spec in specs:
        seen.clear()
        run = train(spec).run
        seen.clear()
        kept(run, batch_size=40)
        found.append(pixels(seen, spec["tasks"].index("digits2")))
        assert len(found[-1]) == 120
    assert all(own == found[0] for own in found)


def test_tasks_that_share_their_inputs_see_the_same_samples(train, make_spec, seen, kept):
    run = train(make_spec(TWINS), shared=True).run
    seen.clear()
    kept(run)
    assert all(batch.shared for batch in seen)
    assert all(batch.inputs.shape == (32, 1, 8, 8) for batch in seen)
    for number, task in enumerate(run.tasks):
        targets = run.data.targets[task.name, "train"][run.rows(task, 96)]
        assert torch.equal(torch.cat([batch.targets[number] for batch in seen]), targets)
    assert torch.equal(run.rows(run.tasks[0], 96), run.rows(run.tasks[1], 96))


def plain_gradients(run, task, inputs, targets):
    """The encoder's and the head's, from one pass of its own."""
    index = [own.name for own in run.tasks].index(task.name)
    head, encoder = run.parts.heads[index], run.parts.model.encoder
    loss = LOSSES[task.loss](head(encoder(inputs)), targets)
    gradients = torch.autograd.grad(loss, [*encoder.parameters(), *head.parameters()])
    count = len(list(encoder.parameters()))
    return gradients[:count], gradients[count:]


@pytest.mark.parametrize(("tasks", "shared"), [(TRIO, False), (TWINS, True), (("digits1",), False)])
def test_gradients_are_those_of_every_task_alone(train, make_spec, in_memory_order, tasks, shared, kept):
    run = train(make_spec(tasks), shared).run
    found = kept(run)
    assert found.begun == (list(tasks), 32, [300] * len(tasks))
    assert len(found.shared) == 3
    for number in range(3):
        for row, task in enumerate(run.tasks):
            inputs, targets = run.inputs(task, run.rows(task, 300)[32 * number : 32 * (number + 1)])
            encoder, head = plain_gradients(run, task, inputs, targets)
            torch.testing.assert_close(found.shared[number][row], in_memory_order(encoder))
            torch.testing.assert_close(found.heads[number][row], in_memory_order(head))
        assert (found.combined[number] is None) == (len(tasks) == 1)


@pytest.mark.parametrize(("tasks", "shared"), [(TRIO, False), (TWINS, True)])
@pytest.mark.parametrize("method", ["umtg", "mgda_ub", "uw"])
def test_gradients_that_something_left_in_the_parameters_play_no_part(train, make_spec, method, tasks, shared, kept):
    run = train(make_spec(tasks, method), shared).run
    expected = kept(run)
    for parameter in run.parts.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    found = kept(run)
    for number in range(3):
        torch.testing.assert_close(found.shared[number], expected.shared[number], rtol=0, atol=0)
        torch.testing.assert_close(found.heads[number], expected.heads[number], rtol=0, atol=0)
        torch.testing.assert_close(found.combined[number], expected.combined[number], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in run.parts.model.parameters())


@dataclass(frozen=True)
class _NoOptions:
    """For a model of the test's own."""


def _encoder(_options):
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, 8)
    return nn.Sequential(*layers), 8


def test_the_model_is_in_eval_mode_and_stays_as_it_was(train, make_spec, in_memory_order, monkeypatch, kept):
    module = types.ModuleType("tasktrace.models.normalised")
    module.Options, module.build_encoder = _NoOptions, _encoder
    monkeypatch.setitem(sys.modules, module.__name__, module)
    run = train(make_spec(TRIO, model={"name": "normalised", "version": 1})).run
    before = {name: value.clone() for name, value in run.parts.model.state_dict().items()}
    found = kept(run)
    after = run.parts.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert float(before["encoder.1.running_mean"].abs().max()) > 1e-3
    inputs, targets = run.inputs(run.tasks[0], run.rows(run.tasks[0], 32))
    expected = in_memory_order(plain_gradients(run, run.tasks[0], inputs, targets)[0])
    torch.testing.assert_close(found.shared[0][0], expected)
    run.parts.model.train()
    otherwise = in_memory_order(plain_gradients(run, run.tasks[0], inputs, targets)[0])
    assert float((otherwise - expected).norm()) > 0.1 * float(expected.norm())


@pytest.mark.parametrize(("tasks", "shared"), [(TRIO, False), (TWINS, True)])
def test_one_gradient_per_task_and_batch_however_many_measures(train, make_spec, seen, monkeypatch, tasks, shared):
    run = train(make_spec(tasks), shared).run
    measures = [
        coherence.Measure(coherence.Options(batches=4)),
        coherence.Measure(coherence.Options(batches=4, parameters="encoder")),
        conflict.Measure(conflict.Options(batches=4)),
    ]
    backward, calls = torch.autograd.grad, []
    monkeypatch.setattr(torch.autograd, "grad", lambda *args, **given: calls.append(1) or backward(*args, **given))
    seen.clear()
    together = walk(run, measures[0].walk, measures)
    assert len(seen) == 4
    assert len(calls) == 4 * len(tasks)
    monkeypatch.undo()
    alone = [walk(run, own.walk, [own])[0] for own in measures]
    assert repr(together) == repr(alone)  # NaN equals NaN


def test_coherence_of_a_trained_model_is_that_of_plain_gradients(train, make_spec, in_memory_order):
    run = train(make_spec(TRIO)).run
    (found,) = walk(run, Pass(20, 5), [coherence.Measure(coherence.Options(batch_size=20, batches=5))])
    for task, quantities in zip(run.tasks, found, strict=True):
        batches = []
        for positions in run.rows(task, 100).split(20):
            encoder, head = plain_gradients(run, task, *run.inputs(task, positions))
            batches.append(in_memory_order([*encoder, *head]).double())
        rows = torch.stack(batches)
        small, big = rows.square().sum(dim=1).mean(), rows.mean(dim=0).square().sum()
        expected = from_norms(small, big, 20, 5, 300)
        assert [own.value for own in quantities[:3]] == pytest.approx(expected.tolist(), rel=1e-4, nan_ok=True)


@pytest.mark.parametrize(("batch_size", "batches", "expected"), [(0, 20, 9), (0, 4, 4), (150, 20, 2), (1, 3, 3)])
def test_there_are_as_many_batches_as_asked_for_or_as_the_data_has(
    train, make_spec, batch_size, batches, expected, kept
):
    run = train(make_spec(TRIO)).run
    assert len(kept(run, batch_size, batches).shared) == expected


def test_the_smallest_task_limits_the_batches(train, make_spec, kept):
    run = train(make_spec(TRIO)).run
    run.data.rows["digits2", "train"] = run.data.rows["digits2", "train"][:70]
    found = kept(run)
    assert found.begun[2] == [300, 70, 300]
    assert len(found.shared) == 2


def test_fewer_samples_than_two_batches_are_refused_with_the_remedy(train, make_spec, kept):
    run = train(make_spec(TRIO)).run
    expected = "two batches of 151 samples are needed, and a task has 300 training samples; set a smaller batch_size"
    with pytest.raises(ConfigError, match=expected):
        kept(run, batch_size=151)


def test_a_pass_goes_through_own_inputs_of_each_task_in_turn(train, make_spec):
    run = train(make_spec(TRIO)).run
    batch = next(walk_module._batches(run, 10, 2))
    assert batch.inputs.shape == (30, 1, 8, 8)
    for task, inputs in zip(run.tasks, batch.own(), strict=True):
        assert torch.equal(inputs, run.inputs(task, run.rows(task, 10))[0])


def test_every_checkpoint_is_measured_with_its_own_weights(train, make_spec, kept):
    run = train(make_spec(TRIO)).run
    trained = kept(run).shared
    run.load(0)
    initial = kept(run).shared
    assert not torch.allclose(initial[0], trained[0], rtol=1e-2)
    run.load(1)
    assert all(torch.equal(one, other) for one, other in zip(kept(run).shared, trained, strict=True))


def test_a_subject_is_a_task_at_the_checkpoint_on_the_same_samples(train, make_spec):
    run = train(make_spec(TRIO)).run
    subject, again = (run.subject(run.tasks[1], 40) for _ in range(2))
    inputs, targets = run.inputs(run.tasks[1], run.rows(run.tasks[1], 40))
    assert torch.equal(subject.sample.inputs, inputs)
    assert torch.equal(subject.sample.targets, targets)
    assert (len(subject.sample), subject.sample.population) == (40, 300)
    assert not subject.model.training
    assert torch.equal(subject.model(inputs), run.parts.heads[1](run.parts.model.encoder(inputs)))
    draws = [torch.rand(4, generator=own.generator("noise")) for own in (subject, again)]
    assert torch.equal(*draws)
    others = [subject.generator("labels"), run.subject(run.tasks[0], 40).generator("noise")]
    run.load(0)
    others.append(run.subject(run.tasks[1], 40).generator("noise"))
    assert not any(torch.equal(torch.rand(4, generator=own), draws[0]) for own in others)
    assert len(run.subject(run.tasks[1], 1000).sample) == 300


def test_a_sample_goes_through_whole_batches(train, make_spec):
    run = train(make_spec(TRIO)).run
    sample = run.subject(run.tasks[0], 50).sample
    batches = list(sample.batches(16))
    assert [len(targets) for _, targets in batches] == [16, 16, 16]
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), sample.inputs[:48])
    assert torch.equal(torch.cat([targets for _, targets in batches]), sample.targets[:48])


def test_a_tasks_model_names_the_encoders_parameters_first(train, make_spec):
    run = train(make_spec(TRIO)).run
    model = run.subject(run.tasks[2], 10).model
    whole, encoder = model.chosen("model"), model.chosen("encoder")
    assert list(whole) == [*encoder, "head.weight", "head.bias"]
    assert all(whole[name] is own for name, own in encoder.items())
    assert dict(model.named_parameters()).keys() == whole.keys()
