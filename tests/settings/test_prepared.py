import json
import stat
import struct
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import canonical_json
from tasktrace.settings import prepared
from tasktrace.settings.prepared import read_prepared, write_prepared

SPEC = {"name": "digits", "version": 1, "train": 4}
INPUTS = np.arange(10 * 2 * 2 * 2, dtype=np.uint8).reshape(10, 2, 2, 2)


def make_tensors():
    rows = {"left": {"train": [3, 0, 5, 1], "validation": [2, 4], "test": [9, 8]}}
    rows["right"] = {"train": [6, 0, 1, 3], "validation": [7, 2], "test": [8, 9]}
    tensors = {"inputs": INPUTS}
    for task, splits in rows.items():
        for split, index in splits.items():
            tensors[f"{task}/{split}/index"] = np.array(index, dtype=np.int64)
            tensors[f"{task}/{split}/target"] = np.array(index, dtype=np.int64) % 2
    return tensors


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "prepared" / "digits.safetensors"
    write_prepared(file, make_tensors(), SPEC)
    return file


def start_of_data(content):
    """Offset of the first array in a safetensors file: 8 bytes of length, then the header."""
    return 8 + struct.unpack("<Q", content[:8])[0]


def is_same(first, second):
    if (first.mean, first.std, first.content) != (second.mean, second.std, second.content):
        return False
    if first.tensors.keys() != second.tensors.keys():
        return False
    pairs = [(array, second.tensors[name]) for name, array in first.tensors.items()]
    return all(one.dtype == other.dtype and np.array_equal(one, other) for one, other in pairs)


def test_what_was_written_is_read_back(tmp_path):
    path = tmp_path / "new" / "digits.safetensors"
    tensors = make_tensors()
    written = write_prepared(path, tensors, SPEC)
    assert written.tensors is tensors
    assert is_same(written, read_prepared(path, SPEC))
    assert sorted(path.parent.iterdir()) == [path.with_suffix(".json"), path]


def test_the_file_is_plain_safetensors(path):
    found = load_file(path)
    for name, array in make_tensors().items():
        np.testing.assert_array_equal(found[name], array)


def test_the_normalisation_is_that_of_the_inputs_that_some_task_trains_on(path):
    used = INPUTS[[0, 1, 3, 5, 6]].astype(float)
    found = read_prepared(path, SPEC)
    np.testing.assert_allclose(found.mean, [used[:, 0].mean(), used[:, 1].mean()], rtol=1e-15)
    np.testing.assert_allclose(found.std, [used[:, 0].std(), used[:, 1].std()], rtol=1e-15)


def test_preparing_twice_gives_the_same_bytes(tmp_path, path):
    other = tmp_path / "other.safetensors"
    backwards = dict(reversed(list(make_tensors().items())))
    write_prepared(other, backwards, SPEC)
    assert other.read_bytes() == path.read_bytes()


def test_the_content_is_of_arrays_types_shapes_and_names(tmp_path):
    def content(**changes):
        return write_prepared(tmp_path / "x.safetensors", {**make_tensors(), **changes}, SPEC).content

    value = make_tensors()["left/test/target"]
    found = [
        content(),
        content(**{"left/test/target": value[::-1].copy()}),
        content(**{"left/test/target": value.astype(np.int32)}),
        content(**{"left/test/target": value[:, None]}),
        content(**{"left/tests/target": value}),
    ]
    assert len(set(found)) == len(found)
    assert content() == found[0]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    script = (
        "from pathlib import Path\nimport numpy as np\nfrom tasktrace.settings.prepared import write_prepared\n"
        "tensors = {'inputs': np.eye(2, dtype=np.uint8)[:, None], 'a/train/index': np.arange(2)}\n"
        "write_prepared(Path('x.safetensors'), tensors, {})\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, umask=umask, check=True)
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == mode


@pytest.mark.parametrize("mask", [0x01, 0x80])
def test_a_flipped_bit_in_any_byte_of_the_arrays_is_noticed(path, mask):
    content = path.read_bytes()
    start = start_of_data(content)
    assert len(content) - start == sum(array.nbytes for array in make_tensors().values())
    for offset in range(start, len(content)):
        damaged = bytearray(content)
        damaged[offset] ^= mask
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError) as caught:
            read_prepared(path, SPEC)
        assert str(caught.value).startswith(f"{path}: damaged prepared data: its content has sha256 ")
        assert str(caught.value).endswith(f"delete it and run `snakemake --cores 1 {path}`")


def test_a_flipped_bit_in_any_byte_of_the_header_is_noticed_or_harmless(path):
    whole = read_prepared(path, SPEC)
    content = path.read_bytes()
    unnoticed = []
    for offset in range(start_of_data(content)):
        damaged = bytearray(content)
        damaged[offset] ^= 0x01
        path.write_bytes(damaged)
        try:
            found = read_prepared(path, SPEC)
        except (DamagedFileError, DataError) as error:
            assert str(path) in str(error)  # noqa: PT017 (either error will do, and so the loop looks at both)
        except Exception as error:
            unnoticed.append(f"{offset}: {error!r}")
        else:
            if not is_same(found, whole):
                unnoticed.append(f"{offset}: read as if whole")
    assert unnoticed == []


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_noticed(path, kept):
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DamagedFileError) as caught:
        read_prepared(path, SPEC)
    assert str(caught.value).startswith(f"{path}: damaged prepared data (")
    assert str(caught.value).endswith(f"delete it and run `snakemake --cores 1 {path}`")


def test_a_safetensors_file_of_someone_else_is_no_prepared_data(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "x.safetensors"
    for metadata in (None, {"format": "np"}, {"tasktrace": json.dumps({"spec": SPEC})}):
        save_file(make_tensors(), path, metadata=metadata)
        with pytest.raises(DamagedFileError, match=f"{path}: damaged prepared data"):
            read_prepared(path, SPEC)


def test_data_of_another_spec_are_refused_with_both_specs(path):
    other = {**SPEC, "train": 6}
    with pytest.raises(DataError) as caught:
        read_prepared(path, other)
    assert str(caught.value) == (
        f"{path}: prepared from {canonical_json(SPEC)}, but the configuration asks for {canonical_json(other)}; "
        f"run `snakemake --cores 1 {path}`"
    )


def test_absent_data_are_reported_with_the_command(tmp_path):
    path = tmp_path / "data" / "digits.safetensors"
    with pytest.raises(DataError) as caught:
        read_prepared(path, SPEC)
    assert str(caught.value) == f"{path}: no prepared data; run `snakemake --cores 1 {path}`"


def test_nothing_half_written_stays_when_writing_fails(tmp_path, path, monkeypatch):
    before = path.read_bytes()

    def fill_the_disk(tensors, temporary, metadata):
        temporary.write_bytes(before[: len(before) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepared, "save_file", fill_the_disk)
    absent = tmp_path / "absent" / "digits.safetensors"
    for target in (path, absent):
        with pytest.raises(OSError, match="No space left"):
            write_prepared(target, make_tensors(), {**SPEC, "train": 6})
    assert sorted(path.parent.iterdir()) == [path.with_suffix(".json"), path]
    assert path.read_bytes() == before
    assert list(absent.parent.iterdir()) == []


def test_the_normalisation_of_many_pixels_is_that_of_few(monkeypatch):
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (2500, 3, 5, 4), dtype=np.uint8)
    inputs[:, 1] //= 3
    tensors = {"inputs": inputs, "a/train/index": np.arange(0, 2500, 2), "b/train/index": np.arange(100)}
    few = prepared._normalisation(tensors)
    monkeypatch.setattr(prepared, "_FEW_PIXELS", 0)
    many = prepared._normalisation(tensors)
    np.testing.assert_allclose(many, few, rtol=1e-14)
