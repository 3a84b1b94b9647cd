"""A run's last checkpoint and that of its best epoch, in a file small enough to share."""

import re
from pathlib import Path

import pytest
import torch

from tasktrace.errors import DamagedFileError
from tasktrace.training import checkpoints
from tasktrace.training.checkpoints import EpochFiles, keep_final
from tasktrace.training.finals import final_epochs, final_path, is_final_of, read_final

EPOCHS = range(0, 10, 2)


def states(seed=0):
    """Small, of the kinds of tensors that models and methods have."""
    generator = torch.Generator().manual_seed(seed)
    return {
        epoch: {
            "encoder.0.weight": torch.randn(2, 4, 3, 3, generator=generator).to(memory_format=torch.channels_last),
            "encoder.1.num_batches_tracked": torch.tensor(epoch),
            "heads.a.bias": torch.randn(3, generator=generator, dtype=torch.float64),
            "heads.a.mask": torch.rand(5, generator=generator) > 0.5,
            "method/half": torch.randn(3, generator=generator).bfloat16(),
            "method/none": torch.zeros(0, 3),
        }
        for epoch in EPOCHS
    }


@pytest.fixture
def make_record(tmp_path):
    """A function that packs the checkpoints of a made-up run, and gives its record."""

    def make(seed=0, **spec):
        files = EpochFiles(tmp_path / ".resume/checkpoints")
        digests = {epoch: files.save(epoch, state) for epoch, state in states(seed).items()}
        packed = files.pack(digests, Path("checkpoints/digits/a/seed0"), tmp_path)
        return {"run": "digits/a/seed0", "spec": spec, "checkpoints": packed}

    return make


@pytest.mark.parametrize(
    ("kept", "spec", "expected"),
    [
        ([[0, 2, 4]], {}, [4]),
        ([[0, 2, 4]], {"best_epoch": None}, [4]),
        ([[0, 2, 4]], {"best_epoch": 2}, [2, 4]),
        ([[0, 2, 4]], {"best_epoch": 0}, [0, 4]),
        ([[0, 2, 4]], {"best_epoch": 4}, [4]),
        ([[0, 2, 4]], {"best_epoch": 3}, [4]),
        ([[3]], {"best_epoch": 3}, [3]),
        ([[0, 1], [2, 3], [4]], {"best_epoch": 1}, [1, 4]),
        ([], {"best_epoch": 1}, []),
    ],
)
def test_the_last_kept_epoch_and_the_best_one_are_final(kept, spec, expected):
    record = {"run": "a", "spec": spec, "checkpoints": [{"epochs": epochs} for epochs in kept]}
    assert final_epochs(record) == expected


@pytest.mark.parametrize("shard_bytes", [1 << 30, 1], ids=["packed", "in shards"])
def test_the_file_holds_these_epochs_and_no_others(make_record, tmp_path, monkeypatch, shard_bytes):
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", shard_bytes)
    record = make_record(best_epoch=2)
    assert keep_final(record, tmp_path)
    assert final_path(record) == Path("checkpoints/final-epochs/digits/a/seed0.safetensors")
    found = read_final(record, tmp_path)
    expected = {f"epoch{epoch:05d}/{name}": own for epoch in (2, 8) for name, own in states()[epoch].items()}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def test_a_file_that_is_there_is_left_alone(make_record, tmp_path):
    record = make_record(best_epoch=2)
    assert not is_final_of(record, tmp_path)
    assert keep_final(record, tmp_path)
    path = tmp_path / final_path(record)
    before, content = path.stat(), path.read_bytes()
    assert is_final_of(record, tmp_path)
    assert not keep_final(record, tmp_path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    path.unlink()
    keep_final(record, tmp_path)
    assert path.read_bytes() == content  # DVC names content: the same run has to give the same
    assert [own.name for own in path.parent.iterdir()] == ["seed0.safetensors"]


def test_a_run_that_was_trained_anew_gets_another_file(make_record, tmp_path):
    record = make_record()
    keep_final(record, tmp_path)
    anew = make_record(seed=1)
    assert not is_final_of(anew, tmp_path)
    with pytest.raises(DamagedFileError, match="or of another run"):
        read_final(anew, tmp_path)
    assert keep_final(anew, tmp_path)
    bias = read_final(anew, tmp_path)["epoch00008/heads.a.bias"]
    assert torch.equal(bias, states(1)[8]["heads.a.bias"])


def test_the_same_checkpoints_with_another_best_epoch_get_another_file(make_record, tmp_path):
    keep_final(make_record(best_epoch=2), tmp_path)
    record = make_record(best_epoch=4)
    assert keep_final(record, tmp_path)
    assert "epoch00004/heads.a.bias" in read_final(record, tmp_path)


def test_no_flipped_bit_passes(make_record, tmp_path):
    record = make_record()
    keep_final(record, tmp_path)
    path = tmp_path / final_path(record)
    whole, written = path.read_bytes(), read_final(record, tmp_path)
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        is_final_of(record, tmp_path)
        try:
            found = read_final(record, tmp_path)
        except DamagedFileError:
            refused += 1
        else:  # what fills up the header
            assert found.keys() == written.keys()
            assert all(torch.equal(found[name], value) for name, value in written.items())
    assert refused > len(whole) - 8


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff" * 64, "half"])
def test_what_is_no_such_file_is_named_with_the_remedy_and_written_anew(make_record, tmp_path, content):
    record = make_record()
    keep_final(record, tmp_path)
    path = tmp_path / final_path(record)
    whole = path.read_bytes()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 8] if content == "half" else content)
    assert not is_final_of(record, tmp_path)
    expected = rf"^{re.escape(str(path))}: damaged, or of another run: .+; delete it and fetch it anew \(`dvc pull"
    with pytest.raises(DamagedFileError, match=expected):
        read_final(record, tmp_path)
    assert keep_final(record, tmp_path)
    assert path.read_bytes() == whole


def test_a_packed_file_that_cannot_be_read_leaves_nothing(make_record, tmp_path):
    record = make_record()
    packed = tmp_path / record["checkpoints"][0]["path"]
    packed.write_bytes(packed.read_bytes()[:100])
    with pytest.raises(DamagedFileError, match=re.escape(str(packed))):
        keep_final(record, tmp_path)
    assert not (tmp_path / "checkpoints/final-epochs").exists()
