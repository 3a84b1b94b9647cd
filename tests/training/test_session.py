"""A run from its spec to its folder: what it writes, when it trains again, and how it ends when it diverges."""

import dataclasses
import fcntl
import json
from importlib.metadata import version

import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional

from tasktrace.cli import main
from tasktrace.config.declarations import declaration
from tasktrace.errors import BusyError, ConfigError, DataError
from tasktrace.files import digest, file_digest
from tasktrace.models import build_model
from tasktrace.settings import digits
from tasktrace.settings.prepared import prepared_content, write_prepared
from tasktrace.training.data import Order
from tasktrace.training.finished import Finished, find_finished, keep_finished
from tasktrace.training.session import run


@pytest.fixture
def untrained(before_step):
    """A context in which a step would be an error."""

    def trains(_engine):
        pytest.fail("a step was taken")

    return before_step(0, 0, trains)


def trajectory(job):
    return pq.read_table(job.folder / "trajectory.parquet").to_pylist()


def test_the_record_says_what_was_done(make_job, make_spec, prepared):
    job = make_job(make_spec())
    record = run(job)
    assert json.loads((job.folder / "run.json").read_text()) == record
    assert record["run"] == job.path
    assert record["outcome"] == {"status": "finished"}
    assert record["spec"] == job.spec
    assert record["spec_digest"] == digest(job.spec)
    assert record["data"] == prepared.content
    assert record["steps_per_epoch"] == 9
    convolutions = (9 * 4 + 4) + (9 * 4 * 8 + 8)
    assert record["parameters"] == convolutions + (32 * 16 + 16) + 2 * (16 * 10 + 10)
    assert record["trajectory"] == file_digest(job.folder / "trajectory.parquet")
    assert record["attempts"] == 1
    assert record["device"] == "cpu"
    assert record["versions"]["torch"] == version("torch")


def test_the_trajectory_holds_every_epoch(make_job, make_spec):
    job = make_job(make_spec())
    run(job)
    rows = trajectory(job)
    assert [row["epoch"] for row in rows] == [0] * 12 + [1] * 14 + [2] * 14 + [3] * 14
    assert {(row["epoch"], row["step"]) for row in rows} == {(0, 0), (1, 9), (2, 18), (3, 27)}
    first, last = rows[0], next(row for row in rows if row["epoch"] == 3 and row["split"] == "train")
    assert last["value"] < first["value"]


def test_the_batch_loss_is_the_mean_over_the_epochs_steps(make_job, make_spec, make_engine):
    job = make_job(make_spec(epochs=2))
    run(job)
    engine = make_engine(job.spec)
    for epoch in range(2):
        engine.begin_epoch(epoch)
        for step in range(engine.steps):
            engine.step(step)
    expected = [sum(column) / 9 for column in zip(*engine.losses.tolist(), strict=True)]
    found = [row["value"] for row in trajectory(job) if row["epoch"] == 2 and row["quantity"] == "batch_loss"]
    assert found == pytest.approx(expected, rel=1e-12)


def test_alone_and_together_have_the_same_epochs_and_steps(make_job, make_spec):
    places = []
    for number, tasks in enumerate([("digits1",), ("digits1", "digits2")]):
        job = make_job(make_spec(tasks))
        job = dataclasses.replace(job, path=f"{job.path}{number}")
        run(job)
        places.append({(row["epoch"], row["step"]) for row in trajectory(job)})
    assert places[0] == places[1]


def test_the_same_spec_gives_the_same_bytes_and_another_seed_others(make_job, make_spec, uninterrupted, results):
    job = make_job(make_spec())
    torch.manual_seed(77)
    run(job)
    assert results(job) == uninterrupted(job)
    other = uninterrupted(make_job(make_spec(seed=1)))
    assert all(content != other[path] for path, content in results(job).items())


def test_a_finished_run_emits_its_files_again_without_training(make_job, make_spec, results, untrained, capsys):
    job = make_job(make_spec())
    record, before = run(job), results(job)
    (job.folder / "run.json").unlink()
    (job.folder / "trajectory.parquet").unlink()
    capsys.readouterr()
    with untrained:
        assert run(job) == record
    assert json.loads((job.folder / "run.json").read_text()) == record
    assert results(job) == before
    assert "finished before; its files are as they were" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["flipped", "deleted"])
def test_a_finished_run_without_its_checkpoint_trains_again_and_says_why(make_job, make_spec, results, capsys, damage):
    job = make_job(make_spec())
    record, before = run(job), results(job)
    path = job.root / record["checkpoints"][0]["path"]
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    capsys.readouterr()
    run(job)
    log = capsys.readouterr().err
    why = {"deleted": "this checkpoint file is absent", "flipped": "damaged checkpoint"}[damage]
    assert f"{path}: {why}" in log
    assert "; training again" in log
    assert "epoch 3/3" in log
    assert results(job) == before


@pytest.fixture
def restored(make_job, make_spec):
    """A job on a run that another machine trained, and its record; its checkpoints are here."""
    job = make_job(make_spec())
    record = run(job)
    keep_finished(job.folder / ".resume", Finished(record, is_restored=True), job.folder / "trajectory.parquet")
    return job, record


def test_a_restored_run_emits_its_files_again_without_its_checkpoints(restored, untrained, capsys):
    job, record = restored
    trajectory = (job.folder / "trajectory.parquet").read_bytes()
    (job.root / record["checkpoints"][0]["path"]).unlink()
    for name in ("run.json", "trajectory.parquet"):
        (job.folder / name).unlink()
    capsys.readouterr()
    with untrained:
        for _ in range(2):
            assert run(job) == record
    assert json.loads((job.folder / "run.json").read_text()) == record
    assert (job.folder / "trajectory.parquet").read_bytes() == trajectory
    assert "finished before; its files are as they were" in capsys.readouterr().err
    assert not list((job.root / "checkpoints").rglob("*.safetensors"))


def test_a_restored_run_leaves_alone_what_another_packed_in_its_place(restored, make_job, make_spec, untrained):
    job, record = restored
    pulled = job.root / "pulled.parquet"
    pulled.write_bytes((job.folder / "trajectory.parquet").read_bytes())
    run(make_job(make_spec(learning_rate=0.02)))
    path = job.root / record["checkpoints"][0]["path"]
    packed = path.read_bytes()
    assert file_digest(path) != record["checkpoints"][0]["sha256"]
    keep_finished(job.folder / ".resume", Finished(record, is_restored=True), pulled)
    with untrained:
        assert run(job) == record
    assert (job.folder / "trajectory.parquet").read_bytes() == pulled.read_bytes()
    assert path.read_bytes() == packed


def test_a_restored_run_of_another_spec_is_trained_and_is_this_machines_own(
    restored, make_job, make_spec, uninterrupted, results, capsys
):
    job = make_job(make_spec(learning_rate=0.02))
    record = run(job)
    assert results(job) == uninterrupted(job)
    assert not find_finished(job.folder / ".resume", digest(job.spec), print).is_restored
    (job.root / record["checkpoints"][0]["path"]).unlink()
    run(job)
    assert "this checkpoint file is absent" in capsys.readouterr().err
    assert results(job) == uninterrupted(job)


@pytest.mark.parametrize("damage", ["flipped", "deleted"])
def test_a_finished_run_without_its_kept_trajectory_trains_again_and_says_why(
    make_job, make_spec, results, capsys, damage
):
    job = make_job(make_spec())
    run(job)
    before = results(job)
    kept = job.folder / ".resume/trajectory.parquet"
    if damage == "deleted":
        kept.unlink()
    else:
        kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    capsys.readouterr()
    run(job)
    assert f"{kept}: absent or damaged; training again" in capsys.readouterr().err
    assert results(job) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [(b'"record"', b'"recorD"'), (b'"spec"', b'"speb"'), (b'"checkpoints"', b'"checkpointz"'), (b"}", b"")],
)
def test_a_damaged_record_of_a_finished_run_is_told_and_trained_again(make_job, make_spec, results, capsys, old, new):
    job = make_job(make_spec())
    run(job)
    before = results(job)
    path = job.folder / ".resume/finished.json"
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    capsys.readouterr()
    run(job)
    log = capsys.readouterr().err
    assert f"{path}: damaged" in log
    assert "epoch 3/3" in log
    assert results(job) == before


def test_a_finished_run_of_another_spec_is_trained_anew(make_job, make_spec, uninterrupted, results):
    run(make_job(make_spec(learning_rate=0.02)))
    job = make_job(make_spec())
    run(job)
    assert results(job) == uninterrupted(job)


def test_an_emitted_trajectory_replaces_the_old_one_whole(make_job, make_spec):
    """A file written in place would be a part of one for a moment, and for good if the process died in it."""
    job = make_job(make_spec())
    run(job)
    whole = (job.folder / "trajectory.parquet").read_bytes()
    inode = (job.folder / "trajectory.parquet").stat().st_ino
    run(job)
    assert (job.folder / "trajectory.parquet").read_bytes() == whole
    assert (job.folder / "trajectory.parquet").stat().st_ino != inode


# SGD with weight decay multiplies the weights by 1 - 100 * 0.04 = -3 a step, so that they overflow in a few epochs.
EXPLODING = {"name": "sgd", "version": 1, "weight_decay": 0.04}


def place_found_by_a_plain_loop(spec, prepared):
    """Epoch, step (from 1) and task of the first loss that is not finite."""
    declared = declaration("setting", "digits").tasks
    model = build_model(spec["model"], [declared[name] for name in spec["tasks"]], spec["seed"])
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=spec["point"]["learning_rate"],
        weight_decay=spec["optimizer"].get("weight_decay", 0.0),
        foreach=False,
    )
    orders = {task: Order(task, 300, 32, spec["seed"]) for task in spec["tasks"]}
    pixels = (torch.from_numpy(prepared.tensors["inputs"]).float() - prepared.mean[0]) / prepared.std[0]
    for number in range(9 * spec["epochs"]):
        optimizer.zero_grad()
        for task in spec["tasks"]:
            chosen = orders[task].batches(number, 1)[0]
            rows = torch.from_numpy(prepared.tensors[f"{task}/train/index"])[chosen]
            targets = torch.from_numpy(prepared.tensors[f"{task}/train/target"])[chosen]
            loss = functional.cross_entropy(model(pixels[rows], task), targets)
            if not torch.isfinite(loss):
                return {"epoch": number // 9 + 1, "step": number % 9 + 1, "task": task}
            loss.backward()
        optimizer.step()
    return None


@pytest.mark.parametrize("tasks", [("digits1",), ("digits1", "digits2")])
@pytest.mark.parametrize(("optimizer", "rate"), [(EXPLODING, 100.0), ("sgd", 1e30)], ids=["exploding", "huge rate"])
def test_a_diverged_run_ends_at_the_place_of_the_first_non_finite_loss(
    make_job, make_spec, prepared, tasks, optimizer, rate
):
    job = make_job(make_spec(tasks, optimizer=optimizer, learning_rate=rate, epochs=9))
    expected = place_found_by_a_plain_loop(job.spec, prepared)
    record = run(job)
    assert record["outcome"] == {"status": "diverged", **expected}
    assert {row["epoch"] for row in trajectory(job)} == set(range(expected["epoch"]))
    assert [entry["epochs"] for entry in record["checkpoints"]] == [list(range(expected["epoch"]))]
    assert expected["epoch"] == (1 if optimizer == "sgd" else pytest.approx(3, abs=2))
    assert all(torch.isfinite(torch.tensor(row["value"])) for row in trajectory(job))


def test_a_diverged_run_is_a_result_and_not_a_failure(make_spec, prepared_file, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["train", "results/runs/digits/a/seed0", "--data", str(prepared_file), "--device", "cpu"]
    spec = make_spec(optimizer=EXPLODING, learning_rate=100.0, epochs=9)
    assert main([*arguments, "--spec", json.dumps(spec)]) == 0
    record = json.loads((tmp_path / "results/runs/digits/a/seed0/run.json").read_text())
    assert record["outcome"]["status"] == "diverged"
    assert "diverged: " in capsys.readouterr().err
    (tmp_path / "results/runs/digits/a/seed0/run.json").unlink()
    assert main([*arguments, "--spec", json.dumps(spec)]) == 0
    assert json.loads((tmp_path / "results/runs/digits/a/seed0/run.json").read_text()) == record


def poison(task):
    """Make a task's outputs infinite, and with them its loss not a number."""

    def act(engine):
        with torch.no_grad():
            engine.model.heads[task].bias.fill_(torch.inf)

    return act


@pytest.mark.parametrize("task", ["digits1", "digits2"])
@pytest.mark.parametrize("step", [0, 4, 8])
def test_the_place_names_the_task_whose_loss_was_not_finite(make_job, make_spec, before_step, task, step):
    job = make_job(make_spec())
    with before_step(1, step, poison(task)):
        record = run(job)
    assert record["outcome"] == {"status": "diverged", "epoch": 2, "step": step + 1, "task": task}
    assert {row["epoch"] for row in trajectory(job)} == {0, 1}


@pytest.mark.parametrize("task", ["digits1", "digits2"])
def test_an_evaluation_that_is_not_finite_is_put_down_to_the_epochs_last_step(make_job, make_spec, task, monkeypatch):
    from tasktrace.training import session

    evaluate = session.evaluate

    def after_poison(engine, epoch):
        if epoch == 2:
            poison(task)(engine)
        return evaluate(engine, epoch)

    monkeypatch.setattr(session, "evaluate", after_poison)
    job = make_job(make_spec())
    assert run(job)["outcome"] == {"status": "diverged", "epoch": 2, "step": 9, "task": task}
    assert {row["epoch"] for row in trajectory(job)} == {0, 1}


def test_a_run_interrupted_after_it_diverged_ends_alike(
    make_job, make_spec, prepared, interrupt, uninterrupted, results
):
    spec = make_spec(optimizer=EXPLODING, learning_rate=100.0, epochs=9)
    expected = place_found_by_a_plain_loop(spec, prepared)
    assert expected["step"] < 9
    job = make_job(spec, save_minutes=0.0)
    interrupt(job, expected["epoch"] - 1, expected["step"])
    assert run(job)["outcome"] == {"status": "diverged", **expected}
    assert results(job) == uninterrupted(job)


def test_a_held_lock_is_refused_and_a_dead_holders_is_not(make_job, make_spec, held_elsewhere, uninterrupted, results):
    job = make_job(make_spec())
    lock = job.folder / ".resume/lock"
    with held_elsewhere(lock), pytest.raises(BusyError) as raised:
        run(job)
    assert str(raised.value).startswith(f"{job.folder}: process 4711 on elsewhere is training this run")
    assert lock.read_text() == "4711 on elsewhere"
    run(job)
    assert results(job) == uninterrupted(job)


def test_the_lock_is_let_go_after_an_error(make_job, make_spec, interrupt):
    job = make_job(make_spec())
    interrupt(job, 0, 2)
    with (job.folder / ".resume/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_data_of_another_spec_is_refused_before_anything_is_written(make_job, make_spec, data_spec):
    job = make_job(make_spec(data={**data_spec, "train": 290}))
    with pytest.raises(DataError, match="prepared from"):
        run(job)
    assert {path.name for path in job.folder.iterdir()} == {".resume"}


def test_a_gpu_that_is_not_there_is_refused(make_job, make_spec):
    if torch.cuda.is_available():
        pytest.skip("torch sees a GPU")
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        run(make_job(make_spec(), device="cuda"))


def test_a_run_logs_each_of_its_epochs_once(make_job, make_spec, capsys):
    job = make_job(make_spec())
    run(job)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"epoch {epoch}/3" for epoch in range(4)]


@pytest.fixture
def with_other_data(tmp_path, data_spec):
    """A function that gives a job data that was prepared from other raw files under the same spec."""

    def change(job):
        options = {name: value for name, value in data_spec.items() if name not in ("name", "version")}
        tensors = digits.prepare(tmp_path, digits.Options(**options))
        tensors["inputs"] = tensors["inputs"][::-1].copy()
        write_prepared(tmp_path / "other.safetensors", tensors, data_spec)
        return dataclasses.replace(job, prepared=tmp_path / "other.safetensors")

    return change


def test_a_finished_run_is_trained_again_on_other_data(make_job, make_spec, with_other_data, results, capsys):
    """The spec says what the data was made from; the raw files may have changed nevertheless."""
    job = make_job(make_spec())
    before = run(job), results(job)
    other = with_other_data(job)
    record = run(other)
    assert record["data"] == prepared_content(other.prepared) != before[0]["data"]
    assert results(other) != before[1]
    assert "other data than this run was trained on; training again" in capsys.readouterr().err


def test_an_interrupted_run_starts_again_on_other_data(
    make_job, make_spec, interrupt, with_other_data, results, tmp_path, capsys
):
    job = make_job(make_spec(), save_minutes=0.0)
    interrupt(job, 1, 4)
    other = with_other_data(job)
    run(other)
    assert "other data than the run began with; starting from the beginning" in capsys.readouterr().err
    fresh = dataclasses.replace(other, root=tmp_path / "fresh")
    run(fresh)
    assert results(other) == results(fresh)
