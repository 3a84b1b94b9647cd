"""What is printed."""

import os
import re
import time

import pytest

from tasktrace.errors import ConfigError
from tasktrace.status.remaining import Remaining
from tasktrace.status.wording import duration, short_time_left

SWEEP = "digits/{arm}/adam/{point}/seed0"
POINTS = ["lr0.001_bs16", "lr0.001_bs64", "lr0.005_bs16", "lr0.005_bs64"]
ARMS = ["stl.digits1", "stl.digits2", "stl.noisy_digits", "mtl.with_digits2/umtg", "mtl.with_noisy/umtg"]


def sweep_of(arm):
    return [SWEEP.format(arm=arm, point=point) for point in POINTS]


def rows_of(lines):
    """The cells of the first table by the first of each row, which may not hold two blanks in a row."""
    start = lines.index("") + 3  # below the setting's name and the first of two lines of headings
    end = next((number for number, line in enumerate(lines[start:], start) if not line.strip()), len(lines))
    rows = [re.split(r" {2,}", line.strip()) for line in lines[start:end]]
    return {row[0]: row[1:] for row in rows}


def below(lines, heading):
    """The lines of a list."""
    start = lines.index(heading) + 1
    return lines[start : lines.index("", start) if "" in lines[start:] else None]


def test_the_first_line_sums_up_all(printed, finish, say, folder_of, held_elsewhere):
    first, second, third, fourth = sweep_of("stl.digits1")
    finish(first, seconds=600.0)
    finish(second, outcome={"status": "diverged", "epoch": 3, "step": 7, "task": "digits1"})
    say(third, "failed")
    say(sweep_of("stl.digits2")[0], "stopped", epoch=10)
    finish(sweep_of("stl.digits2")[1], epochs=19)
    with held_elsewhere(folder_of(fourth) / ".resume/lock"):
        line = printed(settings=("digits",))[0]
    assert line.startswith(
        "2 of 35 runs done (1 of them diverged), 1 under way, 1 failed, 1 stopped, 1 outdated, 29 waiting; about "
    )
    assert line.endswith(" left with one run at a time")


def test_a_study_that_has_not_begun_is_waiting_without_a_time(printed):
    lines = printed(settings=("digits",))
    assert lines[0] == "0 of 35 runs done, 35 waiting; time left unknown until a run has trained for an epoch"
    assert rows_of(lines)["alone"] == ["0/21", "-", "21", "0/9", "unknown"]
    assert len(lines) == 8


def test_a_study_that_is_done_says_no_more(printed, study, finish):
    for path, run in study.runs.items():
        if run.arm.setting == "digits":
            finish(path)
    lines = printed(settings=("digits",))
    assert lines[0] == "35 of 35 runs done"
    assert rows_of(lines)["all"] == ["35/35", "-", "-", "0/15", "-"]


def test_the_time_left_is_shared_by_the_runs_that_are_under_way(printed, finish, folder_of, held_elsewhere):
    for arm in ARMS:
        finish(sweep_of(arm)[0], seconds=1200.0)
    paths = sweep_of("stl.digits1")[1:3]
    with held_elsewhere(folder_of(paths[0]) / ".resume/lock"), held_elsewhere(folder_of(paths[1]) / ".resume/lock"):
        lines = printed(settings=("digits",))
    # 15 runs of the sweep take 20 min each, and 15 runs of three times as many epochs an hour.
    assert lines[0].endswith("; about 10 h left with 2 runs at a time (20 h in all)")
    assert rows_of(lines)["umtg"][-1] == "4 h"


def test_runs_of_which_nothing_is_known_are_told_from_the_others(printed, finish):
    for arm in ARMS:
        finish(sweep_of(arm)[0], seconds=1200.0)
    lines = printed()
    unknown = sum(1 for line in lines if line.startswith("fashion"))
    assert unknown == 1
    assert re.search(r"; at least 20 h left with one run at a time, unknown for \d+ runs$", lines[0])


def test_a_row_stands_for_a_method_a_seed_a_group_or_an_optimizer(printed, finish):
    finish(sweep_of("mtl.with_noisy/umtg")[0])
    assert list(rows_of(printed(settings=("digits",)))) == ["method", "alone", "umtg", "all"]
    assert list(rows_of(printed(settings=("digits",), by="seed"))) == ["seed", "0", "1", "2", "all"]
    assert list(rows_of(printed(settings=("digits",), by="optimizer"))) == ["optimizer", "adam"]
    groups = rows_of(printed(settings=("digits",), by="group"))
    alone = ["stl.digits1", "stl.digits2", "stl.noisy_digits"]
    assert list(groups) == ["group", *alone, "mtl.with_digits2", "mtl.with_noisy", "all"]
    assert groups["mtl.with_noisy"][0] == "1/7"
    assert groups["mtl.with_digits2"][0] == "0/7"


def test_only_columns_with_runs_are_shown_beside_the_usual_ones(printed, say):
    assert "failed" not in "".join(printed(settings=("digits",))[2:5])
    say(sweep_of("stl.digits1")[0], "failed")
    assert rows_of(printed(settings=("digits",)))["all"] == ["0/35", "-", "34", "1", "0/15", "2 h 10 min"]


def test_a_run_under_way_says_how_far_it_is_how_fast_since_when_and_where(
    printed, say, folder_of, alone, held_elsewhere
):
    with held_elsewhere(folder_of(alone) / ".resume/lock"):
        say(alone, epoch=5, step=19, seconds=30.0, time=time.time() - 60)
        path, what = below(printed(), "under way: 1")
        say(alone, time=time.time() - 7200)
        begun = below(printed(), "under way: 1")[1]
        os.utime(folder_of(alone) / ".resume/lock", (time.time(), time.time() - 9000))
        silent = below(printed(), "under way: 1")[1]
    assert path == alone
    assert re.fullmatch(
        r"    5/20 epochs, 11 epochs/min, since \d{4}-\d\d-\d\d \d\d:\d\d \w+ on elsewhere \(process 4711\)", what
    )
    assert "5/20 epochs, 10 epochs/min, since " in begun
    assert "5/20 epochs, 10 epochs/min, silent for 2 h, since " in silent


def test_a_run_that_is_measured_is_under_way_and_done(printed, told, finish, folder_of, held_elsewhere):
    path = "digits/stl.digits1/adam/selected/seed1"
    with held_elsewhere(folder_of(path) / ".measure/lock"):
        finish(path)
        lines, counts = printed(), told()["counts"]
    assert below(lines, "under way: 1")[0] == path
    assert below(lines, "under way: 1")[1].startswith("    being measured, since ")
    assert (counts["done"], counts["under_way"]) == (1, 0)
    assert counts["measured"] == {"done": 0, "under_way": 1, "runs": 30}


def test_failed_stopped_and_diverged_runs_say_why(printed, say, finish):
    failed, stopped, killed, diverged = sweep_of("stl.digits1")
    say(failed, "failed", line="failed: [Errno 28] No space left [bold] on :warning:")
    say(stopped, "stopped", line="told to end by SIGTERM; the next attempt continues")
    say(killed, "training", line="epoch 5/20: fine")
    finish(diverged, outcome={"status": "diverged", "epoch": 3, "step": 7, "task": "digits1"})
    lines = printed()
    time_said = "2026-11-22T09:18:27Z"
    assert below(lines, "failed: 1") == [
        failed,
        f"    after 5/20 epochs: {time_said} failed: [Errno 28] No space left [bold] on :warning:",
    ]
    assert below(lines, "stopped: 2") == [
        stopped,
        f"    after 5/20 epochs: {time_said} told to end by SIGTERM; the next attempt continues",
        killed,
        f"    killed after 5/20 epochs, having said: {time_said} epoch 5/20: fine",
    ]
    assert below(lines, "diverged: 1") == [diverged, "    epoch 3, step 7, digits1"]


def test_a_run_without_a_log_or_with_a_damaged_record_says_so(printed, folder_of, finish):
    killed, damaged = sweep_of("stl.digits1")[:2]
    (folder_of(killed) / ".resume").mkdir(parents=True)
    (folder_of(killed) / ".resume/lock").touch()
    (finish(damaged) / "run.json").write_text("{")
    lines = printed()
    assert below(lines, "stopped: 1") == [killed, "    there is no log"]
    assert below(lines, "failed: 1") == [
        damaged,
        f"    results/runs/{damaged}/run.json: damaged; delete it and train the run again",
    ]


def test_ten_runs_of_a_list_are_enough_unless_all_are_asked_for(printed, say):
    paths = [path for arm in ARMS for path in sweep_of(arm)]
    for path in paths:
        say(path, "failed")
    few, all_of_them = below(printed(), "failed: 20"), below(printed(everything=True), "failed: 20")
    assert few[-1] == "and 10 more; --all shows them"
    assert len(few) == 2 * 10 + 1
    assert len(all_of_them) == 2 * 20
    assert set(all_of_them) >= set(paths)


def test_a_setting_that_the_study_does_not_have_is_refused(printed):
    with pytest.raises(ConfigError, match="mnist: not a setting of this study; it has: digits, fashion"):
        printed(settings=("digits", "mnist"))


def test_a_setting_that_is_named_twice_is_shown_once(printed):
    assert printed(settings=("digits", "digits")) == printed(settings=("digits",))


def test_nothing_is_cut_where_a_terminal_is_narrow(study, printed, say, finish, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    failed, stopped, diverged, outdated = sweep_of("mtl.with_digits2/umtg")
    say(failed, "failed", line="x" * 300)
    say(stopped, "stopped")
    finish(diverged, outcome={"status": "diverged", "epoch": 3, "step": 7, "task": "digits1"})
    finish(outdated, epochs=19)
    lines = printed(settings=("digits",))
    table = lines[3 : lines.index("", 3)]
    assert max(len(line.rstrip()) for line in table) <= 80
    assert " ".join(table[1].split()) == "method done diverged way waiting stopped failed dated measured left"
    assert table[3].split()[:8] == ["umtg", "1/14", "1", "-", "10", "1", "1", "1"]
    assert any(line.endswith("x" * 300) for line in lines)
    monkeypatch.setenv("COLUMNS", "20")
    narrow = printed(settings=("digits",))
    assert [line.rstrip() for line in narrow] == [line.rstrip() for line in lines]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (2400, "40 min"),
        (3599, "1 h"),
        (12000, "3 h 20 min"),
        (86399, "1 d"),
        (7 * 86400 + 4 * 3600, "7 d 4 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds, words):
    assert duration(seconds) == words


def test_a_cell_says_what_is_not_known():
    assert short_time_left(Remaining(7200.0, 100.0, 0, 2)) == "1 h"
    assert short_time_left(Remaining(7200.0, 100.0, 1, 2)) == "over 1 h"
    assert short_time_left(Remaining(0.0, 0.0, 3, 2)) == "unknown"
