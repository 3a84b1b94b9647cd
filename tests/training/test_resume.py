"""A run that was killed ends as if nothing had happened, byte for byte."""

import dataclasses
import json
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import torch

from tasktrace.errors import BusyError
from tasktrace.training import finished, session
from tasktrace.training.resume import Progress, ResumeFolder
from tasktrace.training.session import Job, run
from tasktrace.training.trajectory import Row

PROGRAM = "from tasktrace.cli import main; raise SystemExit(main())"
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
KILLS = 3


def states(job):
    return sorted((job.folder / ".resume").glob("epoch*.state"))


def place(path):
    """Epoch and step of a resume state, from its name."""
    return tuple(map(int, re.match(r"epoch(\d+)-step(\d+)\.", path.name).groups()))


def continued(log):
    """The places from which the attempts in a log continued."""
    return [tuple(map(int, found)) for found in re.findall(r"continuing from epoch (\d+), step (\d+)", log)]


@dataclasses.dataclass
class Killed:
    """What was seen of a run that was killed several times and then came to its end."""

    job: Job
    newest: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    logs: list[str] = dataclasses.field(default_factory=list)
    statuses: list[int] = dataclasses.field(default_factory=list)
    pids: list[int] = dataclasses.field(default_factory=list)
    busy: str = ""


@pytest.fixture(scope="module")
def killed(tmp_path_factory, prepared_file, make_spec) -> Killed:
    root = tmp_path_factory.mktemp("killed")
    spec = make_spec(epochs=150, checkpoint_every=5)
    seen = Killed(Job("digits/group/adam/point/seed0", spec, prepared_file, root, "cpu"))
    command = [
        *(sys.executable, "-c", PROGRAM, "train", f"results/runs/{seen.job.path}"),
        *("--spec", json.dumps(spec), "--data", str(prepared_file)),
        *("--device", "cpu", "--save-minutes", "0.0003"),
    ]
    for attempt in range(KILLS + 1):
        with (root / f"log{attempt}").open("w") as log, subprocess.Popen(command, cwd=root, stderr=log) as process:
            seen.pids.append(process.pid)
            if attempt < KILLS:
                _wait_for_epoch(seen.job, seen.newest[-1][0] + 6 if seen.newest else 6, process)
                if attempt == 0:
                    seen.busy = _refusal(seen.job)
                time.sleep(random.uniform(0, 0.05))
                process.send_signal(signal.SIGKILL)
            seen.statuses.append(process.wait(timeout=120))
        seen.logs.append((root / f"log{attempt}").read_text())
        if attempt < KILLS:
            seen.newest.append(place(states(seen.job)[-1]))
    return seen


def _wait_for_epoch(job, epoch, process):
    deadline = time.monotonic() + 60
    while not any(place(path)[0] >= epoch for path in states(job)):
        assert process.poll() is None, "the process ended before it was killed"
        assert time.monotonic() < deadline, "the process made no progress"
        time.sleep(0.002)


def _refusal(job):
    try:
        run(job)
    except BusyError as error:
        return str(error)
    return "nothing"


def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(killed, uninterrupted, results):
    assert killed.statuses == [-signal.SIGKILL] * KILLS + [0]
    assert results(killed.job) == uninterrupted(killed.job)


def test_every_attempt_continued_from_the_newest_state(killed):
    assert [continued(log) for log in killed.logs] == [[], *([found] for found in killed.newest)]
    assert killed.newest == sorted(set(killed.newest))
    assert killed.newest[0] >= (6, 0)


def test_every_attempt_is_counted(killed):
    record = json.loads((killed.job.folder / "run.json").read_text())
    assert record["attempts"] == KILLS + 1
    assert record["outcome"] == {"status": "finished"}


def test_nothing_of_the_killed_attempts_stays(killed):
    assert {path.name for path in (killed.job.folder / ".resume").iterdir()} == {
        "finished.json",
        "lock",
        "train.log",
        "trajectory.parquet",
    }
    assert {path.name for path in killed.job.folder.iterdir()} == {".resume", "run.json", "trajectory.parquet"}
    assert list(killed.job.root.rglob("*.tmp")) == []


def test_a_second_process_is_refused_while_the_first_trains(killed):
    """That the attempts after it trained shows that a killed process leaves no lock."""
    assert killed.busy.startswith(f"{killed.job.folder}: process {killed.pids[0]} on ")
    assert "is training this run" in killed.busy


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
@pytest.mark.parametrize("save_minutes", [0.0, 5.0], ids=["saved every step", "saved every epoch"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "sgdm"])
def test_interrupted_within_and_between_epochs(
    make_job, make_spec, interrupt, uninterrupted, results, capsys, optimizer, save_minutes, device
):
    spec = make_spec(("digits1", "noisy_digits"), optimizer=optimizer)
    job = make_job(spec, save_minutes=save_minutes, device=device)
    for at in [(0, 3), (1, 0), (1, 7), (2, 0), (2, 8)]:
        interrupt(job, *at)
    record = run(job)
    from_steps = [(0, 3), (1, 0), (1, 7), (2, 0), (2, 8)]
    from_epochs = [(1, 0), (1, 0), (2, 0), (2, 0)]
    found = continued(capsys.readouterr().err)
    if save_minutes:
        assert found == from_epochs
    else:
        assert found == from_steps
        assert record["attempts"] == 6
    assert results(job) == uninterrupted(job)
    assert len(results(job)) == 2


@pytest.mark.usefixtures("own_models")
@pytest.mark.parametrize("model", ["with_dropout", "with_batch_norm"])
def test_layers_that_draw_or_remember_are_resumed_too(make_job, make_spec, interrupt, uninterrupted, results, model):
    job = make_job(make_spec(model={"name": model, "version": 1}), save_minutes=0.0)
    interrupt(job, 1, 4)
    torch.manual_seed(123)
    run(job)
    assert results(job) == uninterrupted(job)


def test_interrupted_in_an_evaluation(make_job, make_spec, uninterrupted, results, monkeypatch):
    job = make_job(make_spec())
    evaluate = session.evaluate

    def fails(engine, epoch):
        if epoch == 2:
            raise OSError("the evaluation ends here")
        return evaluate(engine, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(session, "evaluate", fails)
        with pytest.raises(OSError, match="ends here"):
            run(job)
    assert run(job)["attempts"] == 2
    assert results(job) == uninterrupted(job)


def test_interrupted_while_finishing_costs_no_training(
    make_job, make_spec, uninterrupted, results, before_step, monkeypatch
):
    """The states may go only when what replaces them is there."""
    job = make_job(make_spec())

    def fails(*_arguments):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(finished, "write_json", fails)
        with pytest.raises(OSError, match="no space left"):
            run(job)
    trained = []
    with before_step(0, 0, trained.append):
        run(job)
    assert trained == []
    assert results(job) == uninterrupted(job)


def test_seconds_add_up_over_attempts(make_job, make_spec, interrupt):
    job = make_job(make_spec(), save_minutes=0.0)
    interrupt(job, 1, 4)
    before = (
        ResumeFolder(job.folder / ".resume", session.digest(job.spec), print)
        .load(session.read_prepared(job.prepared, job.spec["data"]).content)[1]
        .seconds
    )
    after = run(job)["seconds"]
    assert before.keys() == {"setup", "train", "evaluate", "save"}
    assert all(after[activity] >= round(before[activity], 3) > 0 for activity in before)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_in_tensors(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 16
    path.write_bytes(content)


def flip_in_header(path):
    content = bytearray(path.read_bytes())
    content[2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncate, flip_in_tensors, flip_in_header, empty])
def test_a_damaged_newest_state_gives_way_to_the_one_before(
    make_job, make_spec, interrupt, uninterrupted, results, capsys, damage
):
    job = make_job(make_spec(), save_minutes=0.0)
    interrupt(job, 1, 4)
    older, newest = states(job)
    assert (place(older), place(newest)) == ((1, 3), (1, 4))
    damage(newest)
    assert run(job)["attempts"] == 2
    log = capsys.readouterr().err
    assert f"{newest}: damaged resume state, not used" in log
    assert continued(log) == [(1, 3)]
    assert results(job) == uninterrupted(job)


@pytest.mark.parametrize("damage", [truncate, flip_in_tensors])
def test_with_all_states_damaged_a_run_starts_over(
    make_job, make_spec, interrupt, uninterrupted, results, capsys, damage
):
    job = make_job(make_spec(), save_minutes=0.0)
    interrupt(job, 1, 4)
    damaged = states(job)
    for path in damaged:
        damage(path)
    capsys.readouterr()
    run(job)
    log = capsys.readouterr().err
    assert [path.name for path in damaged if f"{path}: damaged resume state, not used" in log] == [
        path.name for path in damaged
    ]
    assert "the start" in log
    assert continued(log) == []
    assert "epoch 0/3" in log
    assert results(job) == uninterrupted(job)


def test_a_state_of_another_spec_is_discarded(make_job, make_spec, interrupt, uninterrupted, results, capsys):
    other = make_job(make_spec(learning_rate=0.02), save_minutes=0.0)
    interrupt(other, 1, 4)
    newest = states(other)[-1]
    job = make_job(make_spec())
    run(job)
    log = capsys.readouterr().err
    assert f"{newest}: belongs to a run with other options; starting from the beginning" in log
    assert continued(log) == []
    assert results(job) == uninterrupted(job)
    assert results(job) != uninterrupted(other)


STATE = {"a": torch.arange(6, dtype=torch.float64).view(2, 3).T, "b": torch.tensor(7)}


def test_a_saved_state_comes_back_whole(tmp_path):
    folder = ResumeFolder(tmp_path / ".resume", "digest", print)
    progress = Progress(4, 17, [Row(0, 0, "digits1", "train", "loss", 0.1)], {0: "ab", 10: "cd"}, {"train": 0.25}, 3)
    folder.save(STATE, progress)
    tensors, found = folder.load("")
    assert found == progress
    assert tensors.keys() == STATE.keys()
    assert all(torch.equal(tensors[name], value) for name, value in STATE.items())


def test_the_last_two_states_are_kept_in_the_order_of_training(tmp_path):
    folder = ResumeFolder(tmp_path / ".resume", "digest", print)
    for at in [(8, 9), (9, 0), (9, 10), (10, 2), (10, 11)]:
        folder.save(STATE, Progress(*at))
    kept = sorted(tmp_path.glob(".resume/*"))
    assert [place(path) for path in kept] == [(10, 2), (10, 11)]
    _, newest = folder.load("")
    assert (newest.epoch, newest.step) == (10, 11)


def test_an_empty_folder_has_no_state(tmp_path):
    folder = ResumeFolder(tmp_path / ".resume", "digest", print)
    assert folder.load("") is None
    assert folder.finished() is None


def test_clearing_leaves_the_lock_alone(tmp_path):
    folder = ResumeFolder(tmp_path / ".resume", "digest", print)
    folder.save(STATE, Progress())
    (folder.folder / "checkpoints").mkdir()
    (folder.folder / "checkpoints/epoch00000.safetensors").touch()
    (folder.folder / ".state.safetensors.12.tmp").touch()
    (folder.folder / "lock").write_text("12")
    folder.clear()
    assert [path.name for path in folder.folder.iterdir()] == ["lock"]
