"""How long the training that is left will take."""

import pytest

from tasktrace.status.remaining import Remaining, add_up

SWEEP = "digits/{arm}/adam/lr0.001_bs16/seed0"


def test_nothing_is_known_before_a_run_has_trained_an_epoch(seconds_left, say, alone):
    say(alone, epoch=0, step=30)
    assert set(seconds_left().values()) == {None}


def test_a_run_takes_as_long_per_epoch_as_those_of_its_group_and_method(seconds_left, finish):
    finish(SWEEP.format(arm="stl.digits1"), seconds=40.0)
    finish("digits/stl.digits1/adam/lr0.005_bs16/seed0", seconds=60.0)
    finish(SWEEP.format(arm="stl.digits2"), seconds=400.0)
    left = seconds_left()
    assert left[SWEEP.format(arm="stl.digits1")] == 0.0
    assert left["digits/stl.digits1/adam/lr0.001_bs64/seed0"] == pytest.approx(50.0)
    assert left["digits/stl.digits1/adam/selected/seed2"] == pytest.approx(60 / 20 * 50.0)
    assert left["digits/stl.digits2/adam/lr0.001_bs64/seed0"] == pytest.approx(400.0)


def test_else_as_long_as_those_with_as_many_tasks_else_as_the_settings(seconds_left, finish):
    finish(SWEEP.format(arm="stl.digits1"), seconds=40.0)
    left = seconds_left()
    assert left[SWEEP.format(arm="stl.digits2")] == pytest.approx(40.0)
    assert left[SWEEP.format(arm="mtl.with_digits2/umtg")] == pytest.approx(40.0)
    finish(SWEEP.format(arm="mtl.with_noisy/umtg"), seconds=100.0)
    left = seconds_left()
    assert left[SWEEP.format(arm="stl.digits2")] == pytest.approx(40.0)
    assert left[SWEEP.format(arm="mtl.with_digits2/umtg")] == pytest.approx(100.0)
    assert {seconds for path, seconds in left.items() if path.startswith("fashion/")} == {None}


def test_what_a_run_has_trained_is_not_left_and_tells_how_long_others_take(seconds_left, say, alone):
    say(alone, epoch=5, epochs=20, step=19, steps=38, seconds=55.0)
    left = seconds_left()
    assert left[alone] == pytest.approx(145.0)
    assert left["digits/stl.digits1/adam/lr0.001_bs64/seed0"] == pytest.approx(200.0)


def test_a_run_that_diverged_or_is_outdated_tells_nothing(seconds_left, finish, alone):
    finish(alone, seconds=1.0, outcome={"status": "diverged", "epoch": 1, "step": 1, "task": "digits1"})
    finish(SWEEP.format(arm="stl.digits2"), seconds=1.0, epochs=2)
    left = seconds_left()
    assert left[alone] == 0.0
    assert left[SWEEP.format(arm="stl.digits2")] is None


def test_as_many_runs_at_a_time_share_what_is_left_but_not_the_longest_run():
    assert add_up([60.0, None, 100.0, 0.0], 2) == Remaining(160.0, 100.0, 1, 2)
    assert add_up([60.0, 100.0], 2).wall == 100.0
    assert add_up([60.0, 100.0, 80.0], 2).wall == 120.0
    assert add_up([], 1) == Remaining(0.0, 0.0, 0, 1)
