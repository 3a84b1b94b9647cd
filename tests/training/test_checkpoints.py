"""Checkpoints are found again, whole, in few files, and damage is named."""

import dataclasses
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tasktrace.errors import DamagedFileError
from tasktrace.files import file_digest
from tasktrace.training import checkpoints
from tasktrace.training.checkpoints import EpochFiles, keep_final, kept_epochs, load_checkpoint, verify
from tasktrace.training.evaluation import evaluate
from tasktrace.training.finals import final_path
from tasktrace.training.session import _is_kept, run
from tasktrace.training.trajectory import Row

EPOCHS = range(0, 10, 2)


def states():
    generator = torch.Generator().manual_seed(0)
    return {
        epoch: {
            "encoder.0.weight": torch.randn(16, 4, 3, 3, generator=generator).to(memory_format=torch.channels_last),
            "encoder.1.num_batches_tracked": torch.tensor(epoch),
            "heads.a.bias": torch.randn(10, generator=generator, dtype=torch.float64),
        }
        for epoch in EPOCHS
    }


@pytest.fixture
def saved(tmp_path):
    files = EpochFiles(tmp_path / ".resume" / "checkpoints")
    return files, {epoch: files.save(epoch, state) for epoch, state in states().items()}


@pytest.fixture
def record(saved, tmp_path):
    files, digests = saved
    packed = files.pack(digests, tmp_path.relative_to(tmp_path) / "checkpoints/a/seed0", tmp_path)
    return {"run": "a/seed0", "spec": {}, "checkpoints": packed}


def assert_every_epoch_is_found(record, root):
    for epoch, state in states().items():
        loaded = load_checkpoint(record, epoch, root)
        assert loaded.keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(loaded[name], value)
            assert loaded[name].dtype == value.dtype


def flip(path, place=-3):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_one_packed_file_holds_every_epoch(record, tmp_path):
    packed = tmp_path / "checkpoints/a/seed0.safetensors"
    assert record["checkpoints"] == [
        {
            "path": "checkpoints/a/seed0.safetensors",
            "epochs": list(EPOCHS),
            "sha256": file_digest(packed),
            "size": packed.stat().st_size,
        }
    ]
    assert_every_epoch_is_found(json.loads(json.dumps(record)), tmp_path)


@pytest.mark.parametrize(
    ("files_per_shard", "expected"), [(2.5, [[0, 2], [4, 6], [8]]), (0.5, [[0], [2], [4], [6], [8]])]
)
def test_shards_are_numbered_and_hold_every_epoch(saved, tmp_path, monkeypatch, files_per_shard, expected):
    files, digests = saved
    size = (tmp_path / ".resume/checkpoints/epoch00000.safetensors").stat().st_size
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", int(files_per_shard * size))
    packed = files.pack(digests, tmp_path.relative_to(tmp_path) / "checkpoints/seed0", tmp_path)
    count = len(expected)
    assert [entry["epochs"] for entry in packed] == expected
    assert [entry["path"] for entry in packed] == [
        f"checkpoints/seed0.{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)
    ]
    assert all((tmp_path / entry["path"]).stat().st_size == entry["size"] for entry in packed)
    assert_every_epoch_is_found({"run": "seed0", "spec": {}, "checkpoints": packed}, tmp_path)


def test_a_damaged_shard_costs_its_own_epochs_alone(saved, tmp_path, monkeypatch):
    files, digests = saved
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", 1)
    packed = files.pack(digests, tmp_path.relative_to(tmp_path) / "seed0", tmp_path)
    flip(tmp_path / packed[1]["path"])
    record = {"run": "seed0", "spec": {}, "checkpoints": packed}
    assert load_checkpoint(record, 0, tmp_path)["encoder.1.num_batches_tracked"].item() == 0
    with pytest.raises(DamagedFileError, match=re.escape(packed[1]["path"])):
        load_checkpoint(record, 2, tmp_path)
    with pytest.raises(DamagedFileError, match=re.escape(packed[1]["path"])):
        verify(packed, tmp_path)


def test_a_damaged_file_is_named_with_both_hashes(record, tmp_path):
    path = tmp_path / record["checkpoints"][0]["path"]
    written = record["checkpoints"][0]["sha256"]
    flip(path)
    with pytest.raises(DamagedFileError) as raised:
        load_checkpoint(record, 4, tmp_path)
    message = str(raised.value)
    assert str(path) in message
    assert written in message
    assert file_digest(path) in message
    assert file_digest(path) != written
    assert "dvc pull checkpoints.dvc" in message


def test_a_truncated_file_is_damaged(record, tmp_path):
    path = tmp_path / record["checkpoints"][0]["path"]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match="damaged checkpoint"):
        load_checkpoint(record, 4, tmp_path)


def test_an_absent_file_is_named_with_the_remedy(record, tmp_path):
    path = tmp_path / record["checkpoints"][0]["path"]
    path.unlink()
    with pytest.raises(DamagedFileError, match=rf"{re.escape(str(path))}: .*absent; fetch it \(`dvc pull"):
        load_checkpoint(record, 4, tmp_path)


def test_an_epoch_that_was_not_kept_is_told_with_those_that_were(record, tmp_path):
    with pytest.raises(KeyError, match=re.escape("no checkpoint of epoch 3; this run kept [0, 2, 4, 6, 8]")):
        load_checkpoint(record, 3, tmp_path)
    with pytest.raises(KeyError, match="this run kept none"):
        load_checkpoint({"checkpoints": []}, 3, tmp_path)


@pytest.mark.parametrize("damage", ["flipped", "absent"])
def test_a_damaged_epoch_file_is_named_at_packing(saved, tmp_path, damage):
    files, digests = saved
    path = tmp_path / ".resume/checkpoints/epoch00004.safetensors"
    flip(path) if damage == "flipped" else path.unlink()
    found = file_digest(path) if damage == "flipped" else "nothing"
    with pytest.raises(DamagedFileError) as raised:
        files.pack(digests, tmp_path.relative_to(tmp_path) / "checkpoints/seed0", tmp_path)
    for expected in (str(path), f"sha256 {digests[4]} was written", f"{found} was found", str(tmp_path / ".resume")):
        assert expected in str(raised.value)
    assert not (tmp_path / "checkpoints").exists()


def test_a_damaged_epoch_file_stops_a_run_at_its_end(make_job, make_spec, interrupt):
    job = make_job(make_spec())
    interrupt(job, 2, 4)
    path = job.folder / ".resume/checkpoints/epoch00001.safetensors"
    flip(path)
    with pytest.raises(DamagedFileError, match=re.escape(str(path))):
        run(job)
    assert not (job.folder / "run.json").exists()


def test_the_final_checkpoint_reproduces_the_last_evaluation_exactly(make_job, make_spec, make_engine):
    job = make_job(make_spec())
    record = run(job)
    engine = make_engine(dict(job.spec, seed=7))
    engine.model.load_state_dict(load_checkpoint(record, 3, job.root))
    table = pq.read_table(job.folder / "trajectory.parquet").to_pylist()
    rows = [Row(**row) for row in table if row["epoch"] == 3 and row["quantity"] != "batch_loss"]
    assert evaluate(engine, 3) == rows
    assert len(rows) == 12


def test_every_kept_checkpoint_is_the_model_of_its_own_epoch(make_job, make_spec, make_engine):
    job = make_job(make_spec(epochs=5, checkpoint_every=2))
    record = run(job)
    assert [entry["epochs"] for entry in record["checkpoints"]] == [[0, 2, 4, 5]]
    table = pq.read_table(job.folder / "trajectory.parquet").to_pylist()
    engine = make_engine(job.spec)
    assert load_checkpoint(record, 0, job.root).keys() == engine.model.state_dict().keys()
    for name, value in engine.model.state_dict().items():
        assert torch.equal(load_checkpoint(record, 0, job.root)[name], value)
    for epoch in (0, 2, 4, 5):
        engine.model.load_state_dict(load_checkpoint(record, epoch, job.root))
        rows = [Row(**row) for row in table if row["epoch"] == epoch and row["quantity"] != "batch_loss"]
        assert evaluate(engine, epoch) == rows


def test_a_run_may_keep_no_checkpoints(make_job, make_spec):
    job = make_job(make_spec(checkpoint_every=0))
    assert run(job)["checkpoints"] == []
    assert not (job.root / "checkpoints").exists()


def test_a_run_in_shards_finishes_and_is_not_trained_again(make_job, make_spec, monkeypatch, capsys):
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", 1)
    job = make_job(make_spec())
    record = run(job)
    assert [entry["epochs"] for entry in record["checkpoints"]] == [[0], [1], [2], [3]]
    assert run(job) == record
    assert "finished before" in capsys.readouterr().err


def test_files_of_an_earlier_run_with_other_shards_do_not_stay(make_job, make_spec, monkeypatch):
    """They would be versioned with the checkpoints although no record names them."""
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "SHARD_BYTES", 1)
        run(make_job(make_spec()))
    job = make_job(make_spec(seed=1))
    neighbour = dataclasses.replace(job, path=f"{job.path}1")
    kept = run(neighbour)["checkpoints"] + run(job)["checkpoints"]
    found = {path.relative_to(job.root).as_posix() for path in (job.root / "checkpoints").rglob("*.safetensors")}
    assert found == {entry["path"] for entry in kept}


def test_what_a_process_killed_while_packing_left_is_removed(make_job, make_spec):
    job = make_job(make_spec())
    stale = job.root / "checkpoints" / f"{job.path}.x"
    stale = stale.with_name(f".{stale.stem}.safetensors.4194305.tmp")
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"part of a checkpoint")
    run(job)
    assert [path.name for path in stale.parent.iterdir()] == ["seed0.safetensors"]


def test_the_checkpoint_of_the_best_epoch_is_the_model_of_that_epoch(make_job, make_spec, make_engine):
    job = make_job(make_spec(checkpoint_every=0, best_epoch=2))
    record = run(job)
    assert kept_epochs(record) == [2]
    engine = make_engine(job.spec)
    engine.model.load_state_dict(load_checkpoint(record, 2, job.root))
    table = pq.read_table(job.folder / "trajectory.parquet").to_pylist()
    rows = [Row(**row) for row in table if row["epoch"] == 2 and row["quantity"] != "batch_loss"]
    assert evaluate(engine, 2) == rows


@pytest.mark.parametrize(
    ("every", "best", "expected"), [(0, None, []), (0, 0, [0]), (2, 1, [0, 1, 2, 3]), (2, 2, [0, 2, 3]), (0, 3, [3])]
)
def test_the_best_epoch_adds_at_most_one_to_those_that_are_due(make_spec, every, best, expected):
    spec = make_spec(checkpoint_every=every, best_epoch=best)
    assert [epoch for epoch in range(spec["epochs"] + 1) if _is_kept(epoch, spec)] == expected


@pytest.fixture
def finals_alone(record, tmp_path):
    """The record of a run of which only the last and the best epoch are here."""
    record["spec"]["best_epoch"] = 2
    keep_final(record, tmp_path)
    (tmp_path / record["checkpoints"][0]["path"]).unlink()
    return record


@pytest.mark.parametrize("epoch", [2, 8])
def test_final_epochs_are_found_where_the_packed_file_is_elsewhere(finals_alone, tmp_path, epoch):
    loaded, expected = load_checkpoint(finals_alone, epoch, tmp_path), states()[epoch]
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_an_epoch_that_is_not_final_needs_the_packed_file(finals_alone, tmp_path):
    path = tmp_path / finals_alone["checkpoints"][0]["path"]
    with pytest.raises(DamagedFileError, match=f"{re.escape(str(path))}: this checkpoint file is absent"):
        load_checkpoint(finals_alone, 4, tmp_path)
    with pytest.raises(KeyError, match="no checkpoint of epoch 3"):
        load_checkpoint(finals_alone, 3, tmp_path)


def test_a_damaged_file_of_final_epochs_is_named(finals_alone, tmp_path):
    path = tmp_path / final_path(finals_alone)
    flip(path)
    with pytest.raises(DamagedFileError, match=f"{re.escape(str(path))}: damaged"):
        load_checkpoint(finals_alone, 8, tmp_path)


def test_final_epochs_are_found_where_another_run_was_packed_in_the_same_place(record, saved, tmp_path):
    """As where an older run was pulled, and a newer one was trained here."""
    keep_final(record, tmp_path)
    files, digests = saved
    bias = torch.full((10,), 7.0)
    digests[8] = files.save(8, {**states()[8], "heads.a.bias": bias})
    newer = {**record, "checkpoints": files.pack(digests, Path("checkpoints/a/seed0"), tmp_path)}
    assert torch.equal(load_checkpoint(record, 8, tmp_path)["heads.a.bias"], states()[8]["heads.a.bias"])
    path = tmp_path / record["checkpoints"][0]["path"]
    with pytest.raises(DamagedFileError, match=f"{re.escape(str(path))}: damaged checkpoint, or another run's"):
        load_checkpoint(record, 4, tmp_path)
    assert torch.equal(load_checkpoint(newer, 8, tmp_path)["heads.a.bias"], bias)


def test_the_shards_that_are_here_are_read_beside_the_final_epochs(saved, tmp_path, monkeypatch):
    files, digests = saved
    monkeypatch.setattr(checkpoints, "SHARD_BYTES", 1)
    packed = files.pack(digests, tmp_path.relative_to(tmp_path) / "checkpoints/seed0", tmp_path)
    record = {"run": "seed0", "spec": {"best_epoch": 2}, "checkpoints": packed}
    keep_final(record, tmp_path)
    for entry in packed:
        if entry["epochs"] in ([2], [4], [8]):
            (tmp_path / entry["path"]).unlink()
    for epoch in (0, 2, 6, 8):
        assert load_checkpoint(record, epoch, tmp_path)["encoder.1.num_batches_tracked"].item() == epoch
    with pytest.raises(DamagedFileError, match=re.escape(packed[2]["path"])):
        load_checkpoint(record, 4, tmp_path)
