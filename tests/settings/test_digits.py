import socket
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tasktrace.errors import DataError
from tasktrace.settings import digits
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import read_prepared

NOWHERE = Path("no/raw/files")
SIZES = {"train": 600, "validation": 130, "test": 130}
SPEC = {"name": "digits", "version": 1}


@pytest.fixture
def tensors():
    return digits.prepare(NOWHERE, digits.Options())


def test_no_raw_file_and_no_network_is_needed(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("digits asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    assert digits.sources(NOWHERE) == []
    path = tmp_path / "digits.safetensors"
    written = prepare(SPEC, NOWHERE, path)
    assert read_prepared(path, SPEC).content == written.content


def test_the_three_tasks_have_the_documented_sizes(tensors):
    sizes = {name: array.shape for name, array in tensors.items() if name != "inputs"}
    assert sizes == {
        f"{task.name}/{split}/{what}": (size,)
        for task in digits.TASKS
        for split, size in SIZES.items()
        for what in ("index", "target")
    }
    assert [task.name for task in digits.TASKS] == ["digits1", "digits2", "noisy_digits"]


def test_the_inputs_are_the_scans_with_17_grey_levels(tensors):
    inputs = tensors["inputs"]
    assert inputs.shape == (1797, 1, 8, 8)
    assert inputs.dtype == np.uint8
    assert (inputs.min(), inputs.max()) == (0, 16)
    np.testing.assert_array_equal(inputs[:, 0], load_digits().images)


def test_true_labels_are_the_scans_and_balanced(tensors):
    for task in ("digits1", "digits2"):
        for split, size in SIZES.items():
            target = tensors[f"{task}/{split}/target"]
            np.testing.assert_array_equal(target, load_digits().target[tensors[f"{task}/{split}/index"]])
            np.testing.assert_array_equal(np.bincount(target), [size // 10] * 10)


def test_no_scan_is_in_two_splits_or_halves(tensors):
    parts = [tensors[f"{task}/{split}/index"] for task in ("digits1", "digits2") for split in SIZES]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together) == 2 * 860


def test_the_seed_of_the_data_chooses_the_samples(tensors):
    again = digits.prepare(NOWHERE, digits.Options(seed=0))
    other = digits.prepare(NOWHERE, digits.Options(seed=1))
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, again[name])
        assert np.array_equal(array, other[name]) == (name == "inputs")


def test_options_of_the_spec_set_the_sizes(tmp_path):
    made = prepare({**SPEC, "train": 100, "validation": 20, "test": 30}, NOWHERE, tmp_path / "d.safetensors").tensors
    assert [len(made[f"digits1/{split}/index"]) for split in SIZES] == [100, 20, 30]


def test_more_samples_than_there_are_scans_is_an_error_and_leaves_no_file(tmp_path):
    with pytest.raises(DataError, match=r"class 0 has 178 samples, but parts of \[260, 2260\] need 252 of it"):
        prepare({**SPEC, "train": 1000}, NOWHERE, tmp_path / "d.safetensors")
    assert list(tmp_path.iterdir()) == []
