"""Gradients of single samples compared while training, against loops, and without a trace in the training."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from tasktrace.config.declarations import declaration
from tasktrace.models import MultiTaskModel
from tasktrace.settings.preparation import prepare
from tasktrace.training.engine import Engine
from tasktrace.training.session import Job, run
from tasktrace.training.similarity import (
    KINDS,
    QUANTITIES,
    SimilarityWatch,
    Watch,
    compared,
    sample_gradients,
)
from tasktrace.training.updates import Batch, Parts

WATCHED = {"similarity": {"every": 2, "most": 3}}


@pytest.fixture(scope="module")
def traits(tmp_path_factory):
    spec = {
        "name": "digit_traits",
        "version": declaration("setting", "digit_traits").version,
        "train": 100,
        "validation": 30,
        "test": 30,
    }
    path = tmp_path_factory.mktemp("traits") / "digit_traits.safetensors"
    prepare(spec, path.parent, path)
    return spec, path


@pytest.fixture
def job(tmp_path, make_spec, traits):
    """A run of the three traits, twenty batches of five an epoch."""

    def make(folder="run", **changes):
        data, path = traits
        tasks = ("digit", "parity", "ink")
        spec = make_spec(tasks, batch_size=5, data=data, setting="digit_traits", epochs=2, **changes)
        return Job("digit_traits/grid/umtg/adam/selected/seed0", spec, path, tmp_path / folder)

    return make


def parts_with(*layers):
    torch.manual_seed(0)
    heads = {name: nn.Linear(4, 2) for name in ("a", "b", "c")}
    model = MultiTaskModel(nn.Sequential(nn.Linear(3, 4), *layers), heads).double()
    return Parts(model, list(model.heads.values()), [nn.functional.cross_entropy] * 3)


def batch_of(size=6):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(size, 3, dtype=torch.float64, generator=generator)
    return Batch(inputs, [torch.randint(2, (size,), generator=generator) for _ in range(3)], shared=True)


def by_loop(parts, batch, samples, tasks, whole_batch):
    rows = []
    for task, sample in itertools.product(tasks, samples):
        inputs = batch.inputs if whole_batch else batch.inputs[sample : sample + 1]
        place = sample if whole_batch else 0
        outputs = parts.heads[task](parts.model.encoder(inputs))[place : place + 1]
        loss = nn.functional.cross_entropy(outputs, batch.targets[task][sample : sample + 1])
        rows.append(torch.cat([own.flatten() for own in torch.autograd.grad(loss, parts.shared)]))
    return torch.stack(rows).view(len(tasks), len(samples), -1)


@pytest.mark.parametrize(("layers", "whole_batch"), [((nn.Tanh(),), False), ((nn.BatchNorm1d(4), nn.Tanh()), True)])
def test_gradients_are_those_of_single_samples_losses(layers, whole_batch):
    parts, batch = parts_with(*layers), batch_of()
    found = sample_gradients(parts, batch, [0, 2, 5], [2, 0])
    assert torch.allclose(found, by_loop(parts, batch, [0, 2, 5], [2, 0], whole_batch), rtol=1e-12)


def cosine(a, b):
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_every_pair_is_compared_once_in_every_way():
    gradients = torch.randn(3, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    gradients[1, 2, :3] = 0
    numbers = gradients.numpy()
    expected = {
        "inter_task": [
            (numbers[a, i], numbers[b, i]) for i in range(4) for a, b in itertools.combinations(range(3), 2)
        ],
        "inter_sample": [
            (numbers[t, i], numbers[t, j]) for t in range(3) for i, j in itertools.combinations(range(4), 2)
        ],
        "inter_task_averaged": list(itertools.combinations(numbers.mean(axis=1), 2)),
        "inter_sample_averaged": list(itertools.combinations(numbers.mean(axis=0), 2)),
    }
    found = compared(gradients).numpy()
    for kind, pairs in expected.items():
        own = found[found[:, 0] == KINDS.index(kind), 1:]
        by_pair = [
            (
                cosine(a, b),
                2 * np.linalg.norm(a) * np.linalg.norm(b) / (a @ a + b @ b),
                np.mean(a * b < 0),
                a @ b,
            )
            for a, b in pairs
        ]
        assert np.allclose(sorted(map(tuple, own)), sorted(by_pair))


def test_the_statistics_of_an_epoch_are_over_all_of_its_pairs():
    parts = parts_with(nn.Tanh())
    watch = SimilarityWatch(Watch(every=2, most=8), parts, seed=0)
    batches = [batch_of(4) for _ in range(3)]
    for step, batch in enumerate(batches):
        watch.look(batch, 0, step)
    rows = {row.quantity: row for row in watch.finish(1, 3)}
    pairs = np.concatenate(
        [compared(sample_gradients(parts, batches[s], [0, 1, 2, 3], [0, 1, 2])).numpy() for s in (0, 2)]
    )
    cosines = pairs[pairs[:, 0] == 0, 1]
    assert rows["inter_task.cosine.mean"].value == pytest.approx(cosines.mean())
    assert rows["inter_task.cosine.std"].value == pytest.approx(cosines.std())
    assert rows["inter_task.cosine.low"].value == pytest.approx(np.quantile(cosines, 0.025))
    assert rows["inter_task.cosine.high"].value == pytest.approx(np.quantile(cosines, 0.975))
    assert rows["inter_task.cosine.mean_negative"].value == pytest.approx(cosines[cosines < 0].mean())
    assert {(row.epoch, row.step, row.task, row.split) for row in rows.values()} == {(1, 3, "", "train")}
    assert len(rows) == len(KINDS) * len(QUANTITIES) * 6
    assert watch.finish(2, 6) == []


def test_more_than_so_many_samples_or_tasks_are_drawn_and_the_same_for_the_same_seed():
    parts, batch = parts_with(nn.Tanh()), batch_of(20)

    def values(seed, step=0):
        watch = SimilarityWatch(Watch(every=1, most=2), parts, seed)
        watch.look(batch, 0, step)
        return watch.state_dict()["values"]

    assert len(values(0)) == 2 + 2 + 1 + 1
    assert torch.equal(values(0), values(0))
    assert not torch.equal(values(0), values(1))
    assert not torch.equal(values(0), values(0, step=1))


def test_running_statistics_and_generators_are_left_as_they_were():
    parts, batch = parts_with(nn.BatchNorm1d(4), nn.Dropout(0.5)), batch_of()
    state = {name: value.clone() for name, value in parts.model.state_dict().items()}
    random = torch.get_rng_state()
    SimilarityWatch(Watch(every=1, most=8), parts, 0).look(batch, 0, 0)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, state[name]) for name, value in parts.model.state_dict().items())
    assert all(parameter.grad is None for parameter in parts.model.parameters())


def test_watching_changes_nothing_in_the_training(job):
    plain, watched = job("plain"), job("watched", **WATCHED)
    run(plain)
    run(watched)
    before, after = (pd.read_parquet(own.folder / "trajectory.parquet") for own in (plain, watched))
    extra = after[after["task"] == ""]
    assert set(extra["epoch"]) == {1, 2}
    assert extra["value"].notna().any()
    pd.testing.assert_frame_equal(after.drop(extra.index).reset_index(drop=True), before)


def test_a_watched_run_that_was_killed_ends_with_the_same_bytes(job, monkeypatch):
    whole, killed = job("whole", **WATCHED), job("killed", **WATCHED)
    run(whole)
    step, left = Engine.step, iter(range(12))

    def interrupted(engine, number):
        if next(left, None) is None:
            raise KeyboardInterrupt
        step(engine, number)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "step", interrupted)
        patched.setattr("tasktrace.training.session.time.monotonic", itertools.count(step=1000.0).__next__)
        with pytest.raises(KeyboardInterrupt):
            run(killed)
    run(killed)
    name = "trajectory.parquet"
    assert (killed.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_a_zero_gradient_has_no_cosine_and_counts_nowhere():
    gradients = torch.zeros(2, 2, 3, dtype=torch.float64)
    gradients[0] = 1.0
    found = compared(gradients)
    inter_task = found[found[:, 0] == 0, 1]
    assert math.isnan(float(inter_task[0]))
