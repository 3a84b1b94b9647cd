"""What is printed for programs."""

from tasktrace.status.runs import STATES


def test_every_run_has_the_same_keys_and_one_state(told, study, finish, say, alone):
    second, third = "digits/stl.digits1/adam/lr0.001_bs64/seed0", "digits/stl.digits1/adam/selected/seed1"
    finish(alone, outcome={"status": "diverged", "epoch": 3, "step": 7, "task": "digits1"})
    say(second, "failed", line="failed: no")
    finish(third)
    found = told()
    assert [own["path"] for own in found["runs"]] == list(study.runs)
    assert len({tuple(own) for own in found["runs"]}) == 1
    by_path = {own["path"]: own for own in found["runs"]}
    assert by_path[alone]["diverged"] == {"epoch": 3, "step": 7, "task": "digits1"}
    assert by_path[alone]["seconds"] == 60.0
    assert by_path[alone]["seconds_left"] == 0.0
    assert by_path[second] == {
        "path": second,
        "setting": "digits",
        "group": "stl.digits1",
        "method": None,
        "optimizer": "adam",
        "point": "lr0.001_bs64",
        "seed": 0,
        "state": "failed",
        "progress": {
            "epoch": 5,
            "epochs": 20,
            "step": 0,
            "steps": 38,
            "seconds": 30.0,
            "attempt": 2,
            "time": 1763800000.0,
        },
        "seconds": None,
        "holder": None,
        "killed": False,
        "message": "2026-11-22T09:18:27Z failed: no",
        "diverged": None,
        "measured": None,
        "measuring_holder": None,
        "refitted": None,
        "refitting_holder": None,
        # 15 epochs; so far runs of the group had 25 + 60 epochs less 20 of the diverged one's in 30 + 60 seconds.
        "seconds_left": 15 * 90 / 65,
    }
    assert by_path[third]["measured"] is False


def test_who_is_at_work_is_told(told, folder_of, alone, held_elsewhere):
    with held_elsewhere(folder_of(alone) / ".resume/lock"):
        own = next(own for own in told()["runs"] if own["path"] == alone)
    assert own["state"] == "under_way"
    assert (own["holder"]["process"], own["holder"]["host"]) == (4711, "elsewhere")


def test_the_counts_add_up(told, finish, say, study, alone):
    finish(alone, outcome={"status": "diverged", "epoch": 3, "step": 7, "task": "digits1"})
    finish("digits/mtl.with_noisy/umtg/adam/selected/seed1")
    say("digits/stl.digits2/adam/selected/seed2", "stopped")
    found = told(by="seed")
    counts = found["counts"]
    assert found["by"] == "seed"
    assert counts["runs"] == sum(counts[state] for state in STATES) == len(study.runs)
    assert (counts["done"], counts["finished"], counts["diverged"], counts["stopped"]) == (2, 1, 1, 1)
    assert counts["left"]["at_a_time"] == 1
    assert counts["left"]["unknown_runs"] > 0
    for key in ("runs", "done", *STATES):
        assert sum(row[key] for row in found["rows"]) == counts[key]
    assert [(row["setting"], row["label"]) for row in found["rows"]] == [
        (setting, str(seed)) for setting in ("digits", "fashion") for seed in range(3)
    ]


def test_only_the_settings_that_are_asked_for_are_told(told):
    found = told(settings=("fashion",))
    assert {own["setting"] for own in found["runs"]} == {"fashion"}
    assert found["counts"]["runs"] == len(found["runs"])
