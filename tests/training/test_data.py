"""Each task goes through its own data, pass after pass, in an order that can be found again."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasktrace.errors import ConfigError
from tasktrace.settings.prepared import SPLITS, Prepared
from tasktrace.training.data import DeviceData, EpochBatches, Order, steps_per_epoch

CPU = torch.device("cpu")


def passes(order, count):
    """The samples of the first passes, in the order in which they are used."""
    per_pass = order.batches_per_pass
    return [order.batches(number * per_pass, per_pass).flatten().tolist() for number in range(count)]


@pytest.mark.parametrize(("size", "batch_size"), [(30, 7), (30, 10), (30, 30), (1, 1)])
def test_a_pass_visits_each_used_sample_once(size, batch_size):
    order = Order("digits1", size, batch_size, seed=3)
    assert order.batches_per_pass == size // batch_size
    for visited in passes(order, 4):
        assert len(visited) == size // batch_size * batch_size
        assert len(set(visited)) == len(visited)
        assert set(visited) <= set(range(size))


def test_samples_left_out_of_one_pass_are_used_in_others():
    visited = passes(Order("digits1", 11, 4, seed=0), 20)
    assert len({frozenset(one) for one in visited}) > 1
    assert set().union(*visited) == set(range(11))


def test_passes_tasks_and_seeds_have_orders_of_their_own():
    orders = [passes(Order(task, 100, 10, seed), 3) for task, seed in (("a", 0), ("b", 0), ("a", 1))]
    assert len({tuple(one) for order in orders for one in order}) == 9


def test_the_order_depends_on_seed_task_and_pass_alone():
    torch.manual_seed(1)
    first = passes(Order("a", 100, 10, seed=5), 2)
    torch.manual_seed(2)
    again = Order("a", 100, 10, seed=5)
    assert again.batches(10, 10).flatten().tolist() == first[1]
    assert again.batches(0, 10).flatten().tolist() == first[0]


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    first=st.integers(0, 60),
    count=st.integers(1, 30),
)
def test_any_stretch_of_batches_agrees_with_one_long_enumeration(size, batch_size, first, count):
    if size < batch_size:
        with pytest.raises(ConfigError):
            Order("a", size, batch_size, seed=0)
        return
    order = Order("a", size, batch_size, seed=0)
    visited = passes(order, (first + count) // order.batches_per_pass + 1)
    everything = torch.tensor(visited).view(-1, batch_size)
    assert torch.equal(order.batches(first, count), everything[first : first + count])


def test_a_batch_larger_than_the_data_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"batch size 33 is larger than the 32 training samples of task 'digits1'"):
        Order("digits1", 32, 33, seed=0)


def test_normalised_inputs_have_zero_mean_and_unit_variance_over_all_training_inputs(prepared):
    data = DeviceData(prepared, ["digits1", "digits2"], CPU)
    used = np.unique(np.concatenate([prepared.tensors[f"{task}/train/index"] for task in ("digits1", "digits2")]))
    values = data.normalised(torch.from_numpy(used)).double()
    assert values.shape == (600, 1, 8, 8)
    assert abs(values.mean().item()) < 1e-6
    assert values.std(correction=0).item() == pytest.approx(1.0, abs=1e-6)


def test_normalising_leaves_the_stored_pixels_alone(prepared):
    data = DeviceData(prepared, ["digits1"], CPU)
    before = data.inputs.clone()
    data.normalised(torch.arange(5))
    assert torch.equal(data.inputs, before)
    assert data.inputs.dtype == torch.uint8


@pytest.fixture
def tokens():
    """Six sequences of four tokens, the last ones padding, with a class each."""
    inputs = np.array([[0, 100 + row, 2, 1] for row in range(6)], dtype=np.int32)
    split = {"index": np.arange(6), "target": np.arange(6) % 2}
    tensors = {f"own/{name}/{part}": array for name in SPLITS for part, array in split.items()}
    return Prepared({"inputs": inputs, **tensors}, [], [], "")


@pytest.fixture
def maps():
    """Eight inputs, each with a class map and a depth map of its own number, in different orders."""
    rng = np.random.default_rng(0)
    tensors = {"inputs": rng.integers(0, 256, (8, 3, 2, 2), dtype=np.uint8)}
    for task, dtype in (("classes", np.int8), ("depth", np.float32)):
        rows = rng.permutation(8)
        for split in SPLITS:
            tensors[f"{task}/{split}/index"] = rows
            tensors[f"{task}/{split}/target"] = np.broadcast_to(rows[:, None, None], (8, 2, 2)).astype(dtype)
    return Prepared(tensors, [100.0] * 3, [50.0] * 3, "")


def test_tokens_reach_the_model_as_they_are(tokens):
    data = DeviceData(tokens, ["own"], CPU)
    found = data.normalised(torch.tensor([4, 0]))
    assert found.dtype == torch.int64
    assert found.tolist() == [[0, 104, 2, 1], [0, 100, 2, 1]]
    assert data.inputs.dtype == torch.int32


@pytest.mark.parametrize("batch_size", [1, 3])
def test_maps_of_targets_stay_with_their_inputs_and_in_their_type(maps, batch_size):
    data = DeviceData(maps, ["classes", "depth"], CPU)
    orders = data.orders(batch_size, seed=0)
    batches = EpochBatches(data, orders, epoch=1, steps=5)
    for step in range(5):
        rows, targets = batches.step(step)
        assert [own.dtype for own in targets] == [torch.int8, torch.float32]
        for place, own in enumerate(targets):
            assert own.shape == (batch_size, 2, 2)
            assert own[:, 1, 0].tolist() == rows[batch_size * place : batch_size * (place + 1)].tolist()


def test_an_epoch_holds_each_tasks_own_samples_with_their_targets(prepared):
    tasks = ["digits1", "noisy_digits"]
    data = DeviceData(prepared, tasks, CPU)
    orders = {task: Order(task, 300, 32, seed=0) for task in tasks}
    batches = EpochBatches(data, orders, epoch=1, steps=9)
    assert batches.rows.shape == (9, 64)
    for position, task in enumerate(tasks):
        label = dict(
            zip(prepared.tensors[f"{task}/train/index"], prepared.tensors[f"{task}/train/target"], strict=True)
        )
        rows = batches.rows[:, 32 * position : 32 * (position + 1)]
        assert len(set(rows.flatten().tolist())) == 288
        expected = torch.tensor([[label[row] for row in step] for step in rows.tolist()])
        found = torch.stack([batches.step(step)[1][position] for step in range(9)])
        assert torch.equal(found, expected)


def test_epochs_follow_each_other_in_the_order_whatever_a_tasks_size(prepared):
    """A task with fewer samples starts its next pass within the epoch, and the next epoch goes on from there."""
    data = DeviceData(prepared, ["digits1"], CPU)
    order = Order("digits1", 130, 32, seed=0)
    rows = [EpochBatches(data, {"digits1": order}, epoch, steps=9).rows for epoch in range(3)]
    expected = data.rows["digits1", "train"][order.batches(0, 27)]
    assert torch.equal(torch.cat(rows), expected)
    assert order.batches_per_pass == 4


def test_the_largest_task_of_the_setting_gives_the_steps_of_an_epoch(prepared):
    assert steps_per_epoch(prepared, 32) == 9
    short = {**prepared.tensors, "digits1/train/index": prepared.tensors["digits1/train/index"][:64]}
    assert steps_per_epoch(dataclasses.replace(prepared, tensors=short), 32) == 9
    assert steps_per_epoch(prepared, 1000) == 1


def test_every_split_is_loaded_as_prepared(prepared):
    data = DeviceData(prepared, ["digits2"], CPU)
    for split in SPLITS:
        assert np.array_equal(data.rows["digits2", split], prepared.tensors[f"digits2/{split}/index"])
        assert np.array_equal(data.targets["digits2", split], prepared.tensors[f"digits2/{split}/target"])


def test_a_task_that_was_not_prepared_is_named(prepared):
    with pytest.raises(ConfigError, match=r"has no task notmnist, it has digits1, digits2, noisy_digits; let the "):
        DeviceData(prepared, ["digits1", "notmnist"], torch.device("cpu"))
