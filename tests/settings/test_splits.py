import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.errors import DataError
from tasktrace.settings.splits import balanced_parts


@st.composite
def drawable(draw):
    """Labels in random order, and sizes of parts that they suffice for."""
    per_class = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4).filter(any))
    extra = draw(st.lists(st.integers(0, 5), min_size=1, max_size=5))
    names = draw(st.lists(st.integers(-100, 100), min_size=len(extra), max_size=len(extra), unique=True))
    labels = np.repeat(names, [sum(per_class) + count for count in extra])
    order = draw(st.permutations(range(len(labels))))
    return labels[order], [count * len(extra) for count in per_class if count]


def draw_parts(labels, sizes, seed=0):
    return balanced_parts(labels, sizes, np.random.default_rng(seed))


@given(drawable(), st.integers(0, 1000))
def test_parts_have_the_exact_sizes_the_same_number_of_every_class_and_no_common_sample(case, seed):
    labels, sizes = case
    parts = draw_parts(labels, sizes, seed)
    assert [len(part) for part in parts] == sizes
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    classes = np.unique(labels)
    for part in parts:
        assert part.dtype == np.int64
        found, counts = np.unique(labels[part], return_counts=True)
        np.testing.assert_array_equal(found, classes)
        assert set(counts) == {len(part) // len(classes)}


@given(drawable(), st.integers(0, 1000))
def test_the_same_seed_gives_the_same_parts(case, seed):
    labels, sizes = case
    for first, second in zip(draw_parts(labels, sizes, seed), draw_parts(labels, sizes, seed), strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_other_parts():
    labels = np.arange(200) % 10
    drawn = [tuple(draw_parts(labels, [100], seed)[0]) for seed in range(5)]
    assert all(set(first) != set(second) for first, second in itertools.combinations(drawn, 2))


def test_all_samples_can_be_used_up():
    labels = np.arange(60) % 3
    parts = draw_parts(labels, [30, 21, 9])
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(60))


def test_the_classes_of_a_part_are_mixed():
    labels = np.sort(np.arange(1000) % 2)
    (part,) = draw_parts(labels, [1000])
    changes = np.count_nonzero(np.diff(labels[part]))
    assert abs(changes - 500) < 5 * np.sqrt(250)


def test_every_sample_is_drawn_equally_often():
    labels = np.arange(20) % 2
    counts = np.zeros(20)
    for seed in range(400):
        counts[draw_parts(labels, [10], seed)[0]] += 1
    assert np.all(np.abs(counts - 200) < 5 * np.sqrt(100))


def test_a_size_that_is_no_multiple_of_the_classes_is_refused():
    with pytest.raises(DataError) as caught:
        draw_parts(np.arange(100) % 10, [20, 25])
    assert str(caught.value) == "a part of 25 samples cannot hold 10 classes equally; take a multiple"


def test_a_class_with_too_few_samples_is_named():
    labels = np.array([3] * 10 + [7] * 5)
    with pytest.raises(DataError) as caught:
        draw_parts(labels, [8, 4])
    assert str(caught.value) == "class 7 has 5 samples, but parts of [8, 4] need 6 of it"


@pytest.mark.parametrize("sizes", [[-10], [-10, 30]])
def test_a_negative_size_is_refused(sizes):
    with pytest.raises(DataError, match=str(min(sizes))):
        draw_parts(np.arange(100) % 10, sizes)
