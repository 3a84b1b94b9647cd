import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.settings.halves import HalfNames, halved

NAMES = HalfNames("left", "right", "noisy")
SPLITS = ("train", "validation", "test")


def make(seed, classes=10, per_class=(40, 10, 10), shuffle=0):
    """Tensors of halves of labels in random order, the last of which are the test pool."""
    train, validation, test = per_class
    rng = np.random.default_rng(shuffle)
    pool = rng.permutation(np.tile(np.arange(classes), 2 * (train + validation) + 3))
    test_pool = rng.permutation(np.tile(np.arange(classes), 2 * test + 1))
    labels = np.concatenate([pool, test_pool])
    pools = {"train": np.arange(len(pool)), "test": np.arange(len(pool), len(labels))}
    sizes = dict(zip(SPLITS, (count * classes for count in per_class), strict=True))
    return labels, pools, sizes, halved(labels, pools, sizes, NAMES, seed)


CASES = st.builds(
    make,
    st.integers(0, 1000),
    st.integers(2, 5),
    st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4)),
    st.integers(0, 1000),
)


@given(CASES)
def test_every_task_has_every_split_at_its_size_recorded_by_index(case):
    _, pools, sizes, tensors = case
    expected = {
        f"{task}/{split}/{what}"
        for task, split, what in itertools.product(("left", "right", "noisy"), SPLITS, ("index", "target"))
    }
    assert tensors.keys() == expected
    for name, array in tensors.items():
        _, split, what = name.split("/")
        assert array.shape == (sizes[split],)
        assert array.dtype == np.int64
        if what == "index":
            assert np.isin(array, pools["test" if split == "test" else "train"]).all()


@given(CASES)
def test_halves_and_splits_have_no_common_sample(case):
    *_, tensors = case
    parts = [tensors[f"{task}/{split}/index"] for task in ("left", "right") for split in SPLITS]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)


@given(CASES)
def test_the_halves_have_their_own_labels_balanced(case):
    labels, _, sizes, tensors = case
    classes = len(np.unique(labels))
    for task, split in itertools.product(("left", "right"), SPLITS):
        target = tensors[f"{task}/{split}/target"]
        np.testing.assert_array_equal(target, labels[tensors[f"{task}/{split}/index"]])
        np.testing.assert_array_equal(np.bincount(target, minlength=classes), sizes[split] // classes)


@given(CASES)
def test_the_noisy_task_has_the_inputs_of_the_second_and_its_labels_permuted_within_each_split(case):
    *_, tensors = case
    for split in SPLITS:
        np.testing.assert_array_equal(tensors[f"noisy/{split}/index"], tensors[f"right/{split}/index"])
        np.testing.assert_array_equal(
            np.sort(tensors[f"noisy/{split}/target"]), np.sort(tensors[f"right/{split}/target"])
        )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("split", SPLITS)
def test_noisy_labels_say_nothing_about_the_true_ones(seed, split):
    *_, tensors = make(seed, per_class=(400, 400, 400))
    true, noisy = tensors[f"right/{split}/target"], tensors[f"noisy/{split}/target"]
    table = np.zeros((10, 10))
    np.add.at(table, (true, noisy), 1)
    expected = len(true) / 100
    chi_squared = ((table - expected) ** 2 / expected).sum()  # mean 81, variance 162 for independent labels
    assert abs(chi_squared - 81) < 5 * np.sqrt(162)
    assert abs(np.mean(true == noisy) - 0.1) < 5 * np.sqrt(0.09 / len(true))


def test_the_permutations_of_two_splits_of_one_size_differ():
    *_, tensors = make(0)
    assert np.any(tensors["noisy/validation/target"] != tensors["noisy/test/target"])


@given(st.integers(0, 1000))
def test_the_same_seed_gives_the_same_tensors(seed):
    *_, first = make(seed)
    *_, second = make(seed)
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name])


def test_another_seed_changes_samples_and_noise():
    *_, first = make(0)
    *_, second = make(1)
    for name, array in first.items():
        assert np.any(array != second[name]), name
    for split in SPLITS:
        assert set(first[f"left/{split}/index"]) != set(second[f"left/{split}/index"])


def test_another_size_of_the_test_leaves_training_and_validation_as_they_were():
    labels, pools, sizes, tensors = make(0)
    smaller = halved(labels, pools, {**sizes, "test": 50}, NAMES, 0)
    for name, array in tensors.items():
        if "/test/" not in name:
            np.testing.assert_array_equal(array, smaller[name])
