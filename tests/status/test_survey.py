"""All runs of a study: which there are, what they are to become, and what it takes to look at them."""

import json
import subprocess
import sys

import pytest

from tasktrace.config import Study
from tasktrace.config.loading import read_yaml
from tasktrace.config.study import identity
from tasktrace.status.survey import plan, survey


@pytest.mark.parametrize("setting", ["digits", "digit_traits", "cityscapes_deeplab"])
def test_every_run_is_planned_with_its_own_identity_and_length(project, request, setting):
    root = request.config.rootpath
    config = {**read_yaml(root / "config/config.yaml"), "settings": [setting], "demo": [setting]}
    study = Study(config, root)
    planned = plan(study, setting)
    assert [own.run for own in planned] == list(study.runs.values())
    specs = [study.run_spec(own.run) for own in planned]
    assert [own.identity for own in planned] == [identity(spec) for spec in specs]
    assert [own.epochs for own in planned] == [spec["epochs"] for spec in specs]
    for name, runs in (
        ("is_measured", study.selected_runs_of(setting)),
        ("is_refitted", study.refitted_runs_of(setting)),
        ("is_watched", study.watched_runs_of(setting)),
    ):
        assert [own.run for own in planned if getattr(own, name)] == [run for run in study.runs.values() if run in runs]


def test_the_runs_come_in_the_studys_order_with_where_they_stand(study, finish, say):
    paths = list(study.runs)
    finish(paths[0])
    finish(paths[-1])
    say(paths[40])
    found = survey(study, list(study.settings))
    assert [own.run.path for own in found] == paths
    states = [own.standing.state for own in found]
    assert (states[0], states[-1], states[40]) == ("finished", "finished", "stopped")
    assert states.count("waiting") == len(paths) - 3


def test_only_the_settings_that_are_asked_for_are_looked_at(study):
    assert {own.run.arm.setting for own in survey(study, ["fashion"])} == {"fashion"}


def test_what_is_measured_is_what_is_done(study, finish):
    paths = [f"digits/stl.digits1/adam/selected/seed{seed}" for seed in range(3)]
    for path, changes in zip(paths, ({}, {}, {"epochs": 59}), strict=True):
        (finish(path, **changes) / "factors.json").touch()
    (study.root / "results/runs" / paths[1] / "factors.json").unlink()
    found = {own.run.path: own.measuring for own in survey(study, ["digits"])}
    assert [found[path].done for path in paths] == [True, False, False]
    assert found["digits/stl.digits1/adam/lr0.001_bs16/seed0"] is None


_LOOK = """
import json, sys
from tasktrace.config import Study
from tasktrace.status import Asked, show_status

study, touched = Study.load(), []

def note(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and "results/runs/" in str(arguments[0]):
        touched.append(str(arguments[0]))

sys.addaudithook(note)
show_status(study, Asked(as_json=True))
heavy = [name for name in ("torch", "pandas", "pyarrow", "numpy") if name in sys.modules]
print(json.dumps({"touched": touched, "heavy": heavy}))
"""


def test_few_files_are_opened_and_no_large_package_is_imported(study, finish, say, folder_of, alone, held_elsewhere):
    waiting = "digits/stl.digits2/adam/selected/seed0"
    finished = "digits/stl.digits2/adam/lr0.001_bs16/seed0"
    measured = "digits/stl.digits2/adam/selected/seed1"
    finish(finished)
    (finish(measured) / "factors.json").touch()
    with held_elsewhere(folder_of(alone) / ".resume/lock"):
        say(alone)
        done = subprocess.run([sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["heavy"] == []

    def touched(path):
        start = f"results/runs/{path}/"
        return [place.removeprefix(start) for place in told["touched"] if place.startswith(start)]

    assert touched(finished) == ["run.json"]
    assert touched(measured) == ["run.json"]
    assert touched(waiting) == ["run.json", ".resume"]
    assert touched(alone) == ["run.json", ".resume", ".resume/lock", ".resume/progress.json"]
    assert len(told["touched"]) == 1 + 1 + 4 + 2 * (len(study.runs) - 3)
