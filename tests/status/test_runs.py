"""Where one run stands, by what its folder holds."""

import fcntl
import json
import os
import time

import pytest

from tasktrace.config.study import identity
from tasktrace.status import runs
from tasktrace.status.runs import Progress, last_line, read_extra, read_standing

SAID = {"state": "training", "epoch": 5, "epochs": 20, "step": 0, "steps": 38, "seconds": 3.0, "attempt": 1, "time": 1}

FOREIGN = {
    "empty": b"",
    "cut": b'{"state": "training", "epo',
    "no mapping": b"[1, 2]",
    "no utf-8": b"\xff",
    "no numbers": b'{"state": "training", "time": 1763800000.0}',
    "a text": json.dumps({**SAID, "epoch": "5"}).encode(),
    "not finite": json.dumps({**SAID, "seconds": float("nan")}).encode(),
    "infinite": json.dumps({**SAID, "time": float("inf")}).encode(),
    "negative": json.dumps({**SAID, "step": -1}).encode(),
    "no steps": json.dumps({**SAID, "steps": 0}).encode(),
    "more than all": json.dumps({**SAID, "epoch": 21}).encode(),
}


@pytest.fixture
def standing(study, folder_of):
    """A function that reads where a run of the study stands."""
    return lambda path: read_standing(folder_of(path), identity(study.run_spec(study.find_run(path))))


def everything(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


def test_a_run_that_has_no_folder_waits_and_gets_none(standing, alone, folder_of):
    assert standing(alone).state == "waiting"
    assert not folder_of(alone).parent.exists()


def test_an_empty_folder_waits(standing, alone, folder_of):
    folder_of(alone).mkdir(parents=True)
    assert standing(alone).state == "waiting"
    assert list(folder_of(alone).iterdir()) == []


def test_a_finished_run_says_how_long_it_took(standing, alone, finish):
    finish(alone, seconds=80.0)
    found = standing(alone)
    assert (found.state, found.seconds, found.progress, found.holder) == ("finished", 80.0, None, None)


def test_a_diverged_run_says_where(standing, alone, finish):
    finish(alone, outcome={"status": "diverged", "epoch": 3, "step": 7, "task": "digits1"})
    found = standing(alone)
    assert (found.state, found.place) == ("diverged", {"epoch": 3, "step": 7, "task": "digits1"})


def test_a_run_at_the_selected_point_is_the_studys_whatever_point_was_selected(standing, finish):
    path = "digits/stl.digits1/adam/selected/seed1"
    finish(path)
    assert standing(path).state == "finished"


def test_a_run_that_was_trained_with_other_options_is_outdated(standing, alone, finish):
    finish(alone, epochs=19)
    assert standing(alone).state == "outdated"


@pytest.mark.parametrize("content", ["", "[]", '{"outc', '{"outcome": {"status": "finished"}}', "null"])
def test_a_damaged_record_is_to_be_looked_after(standing, alone, finish, content):
    (finish(alone) / "run.json").write_text(content)
    found = standing(alone)
    assert found.state == "failed"
    assert found.fault == f"results/runs/{alone}/run.json: damaged; delete it and train the run again"


def test_an_outcome_that_there_is_not_is_damage(standing, alone, finish):
    finish(alone, outcome={"status": "abandoned"})
    assert standing(alone).state == "failed"


def test_what_cannot_be_read_is_said(standing, alone, folder_of):
    (folder_of(alone) / "run.json").mkdir(parents=True)
    found = standing(alone)
    assert found.state == "failed"
    assert "cannot be read" in found.fault
    assert "run.json" in found.fault


def test_a_run_is_under_way_as_long_as_another_process_holds_its_lock(standing, alone, folder_of, say, held_elsewhere):
    lock = folder_of(alone) / ".resume/lock"
    with held_elsewhere(lock):
        say(alone, step=19)
        found = standing(alone)
        assert found.state == "under_way"
        assert (found.holder.process, found.holder.host) == (4711, "elsewhere")
        assert found.holder.since == pytest.approx(time.time(), abs=60)
        assert found.progress == Progress(5, 20, 19, 38, 30.0, 2, 1763800000.0)
        assert found.progress.trained == 5.5
    found = standing(alone)
    assert (found.state, found.was_killed, found.holder) == ("stopped", True, None)
    assert found.progress.epoch == 5


def test_a_run_that_has_not_said_anything_yet_is_under_way(standing, alone, folder_of, held_elsewhere):
    with held_elsewhere(folder_of(alone) / ".resume/lock"):
        found = standing(alone)
    assert (found.state, found.progress) == ("under_way", None)


def test_a_lock_that_says_nothing_is_held_by_somebody(standing, alone, folder_of):
    lock = folder_of(alone) / ".resume/lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        holder = standing(alone).holder
    assert (holder.process, holder.host) == (None, None)


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_progress_that_cannot_be_read_costs_the_numbers_only(standing, alone, folder_of, say, held_elsewhere, content):
    with held_elsewhere(folder_of(alone) / ".resume/lock"):
        say(alone)
        (folder_of(alone) / ".resume/progress.json").write_bytes(content)
        under_way = standing(alone)
    assert (under_way.state, under_way.progress) == ("under_way", None)
    stopped = standing(alone)
    assert (stopped.state, stopped.progress) == ("stopped", None)


def test_a_run_that_ended_itself_in_time_is_stopped(standing, alone, say):
    say(alone, "stopped")
    found = standing(alone)
    assert (found.state, found.was_killed) == ("stopped", False)


def test_a_run_that_ended_with_an_error_has_failed(standing, alone, say):
    say(alone, "failed")
    assert standing(alone).state == "failed"


def test_a_run_that_failed_before_it_began_has_failed(standing, alone, folder_of):
    resume = folder_of(alone) / ".resume"
    resume.mkdir(parents=True)
    (resume / "progress.json").write_text(json.dumps({"state": "failed", "time": 1763800000.0}))
    found = standing(alone)
    assert (found.state, found.progress) == ("failed", None)


def test_a_run_that_left_only_its_lock_was_stopped(standing, alone, folder_of):
    resume = folder_of(alone) / ".resume"
    resume.mkdir(parents=True)
    (resume / "lock").write_text("12 on node3")
    assert standing(alone).state == "stopped"


def test_a_finished_run_whose_record_was_taken_away_is_as_good_as_done(standing, alone, finish):
    (finish(alone) / "run.json").unlink()
    assert standing(alone).state == "finished"
    (finish(alone, epochs=19) / "run.json").unlink()
    assert standing(alone).state == "waiting"


def test_what_a_finished_run_keeps_beside_its_record_does_not_count_as_begun(standing, alone, finish, say):
    folder = finish(alone)
    (folder / "run.json").unlink()
    (folder / ".resume/finished.json").write_text("{}")
    assert standing(alone).state == "waiting"
    say(alone, "failed")
    assert standing(alone).state == "failed"


def test_a_finished_run_stays_finished_if_an_attempt_to_emit_it_again_fails(standing, alone, finish, say):
    finish(alone)
    say(alone, "failed")
    assert standing(alone).state == "finished"


def test_an_outdated_run_that_trains_again_is_under_way_and_then_stopped(
    standing, alone, folder_of, finish, say, held_elsewhere
):
    with held_elsewhere(folder_of(alone) / ".resume/lock"):
        finish(alone, epochs=19)
        assert standing(alone).state == "under_way"
    assert standing(alone).state == "outdated"
    (folder_of(alone) / ".resume/finished.json").unlink()
    say(alone, "stopped")
    assert standing(alone).state == "stopped"


def test_a_run_that_finishes_while_its_folder_is_looked_at_has_finished(standing, alone, finish, say, monkeypatch):
    say(alone)
    look = runs._holder

    def finish_first(lock):
        finish(alone)
        return look(lock)

    monkeypatch.setattr(runs, "_holder", finish_first)
    assert standing(alone).state == "finished"


def test_looking_changes_nothing_and_keeps_nobody_out(standing, alone, finish, say, study):
    second, third = "digits/stl.digits1/adam/lr0.001_bs64/seed0", "digits/stl.digits1/adam/lr0.005_bs16/seed0"
    finish(alone, epochs=19)
    say(second)
    say(third, "failed", line="no")
    before = everything(study.root / "results")
    for path in (alone, second, third):
        standing(path)
        with (study.root / "results/runs" / path / ".resume/lock").open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert everything(study.root / "results") == before


def test_others_who_look_at_the_same_time_do_not_train(standing, alone, say, folder_of):
    say(alone, "stopped")
    with (folder_of(alone) / ".resume/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert standing(alone).state == "stopped"


def test_the_last_line_is_the_last_thing_said(tmp_path):
    log = tmp_path / ".resume/train.log"
    assert last_line(tmp_path) is None
    log.parent.mkdir()
    log.write_text("")
    assert last_line(tmp_path) is None
    log.write_text("".join(f"2026-11-22T09:18:27Z epoch {epoch}/9000: fine\n" for epoch in range(9000)))
    assert last_line(tmp_path) == "2026-11-22T09:18:27Z epoch 8999/9000: fine"
    with log.open("a") as more:
        more.write("2026-11-22T09:18:28Z failed: no \x1b[2Jspace \N{LATIN SMALL LETTER E WITH ACUTE}\n\n  \n")
    assert last_line(tmp_path) == "2026-11-22T09:18:28Z failed: no  [2Jspace \N{LATIN SMALL LETTER E WITH ACUTE}"


def test_what_is_done_to_a_finished_run_is_done_under_way_or_neither(tmp_path, held_elsewhere):
    def measuring():
        return read_extra(tmp_path, "factors.json", ".measure/lock")

    assert (measuring().done, measuring().holder) == (False, None)
    with held_elsewhere(tmp_path / ".measure/lock"):
        assert (measuring().done, measuring().holder.host) == (False, "elsewhere")
    assert (measuring().done, measuring().holder) == (False, None)
    (tmp_path / "factors.json").touch()
    assert measuring().done


def test_the_process_that_looks_may_be_the_one_that_trains(standing, alone, folder_of):
    from tasktrace.locking import exclusive

    with exclusive(folder_of(alone) / ".resume/lock", "training"):
        holder = standing(alone).holder
    assert (holder.process, holder.host) == (os.getpid(), os.uname().nodename)
