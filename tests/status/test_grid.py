"""Study B's grid: tasks alone in groups of their own, runs that compare gradients, heads that are refitted."""

import pytest
import yaml

from tasktrace.config import Study

GRID = {
    "methods": {"umtg": ["adam", "sgd"]},
    "learning_rates": [0.01],
    "batch_size": 16,
    "epochs": 10,
    "seeds": [0, 1],
    "alone": {"optimizers": ["adam"], "learning_rates": [0.01]},
}
DIGITS = {
    **GRID,
    "tasks": ["digits1", "digits2"],
    "corruption": {
        "methods": ["umtg"],
        "optimizer": "adam",
        "leave_out": [
            "glass_blur",
            "motion_blur",
            "zoom_blur",
            "snow",
            "frost",
            "fog",
            "elastic_transform",
            "pixelate",
        ],
        "refit": {"optimizer": "adam", "learning_rate": 0.001, "batch_size": 50, "epochs": 20},
    },
}
TRAITS = {
    **GRID,
    "tasks": ["digit", "parity"],
    "similarity": {"method": "umtg", "optimizer": "adam", "every": 5, "most": 8},
}

SWEPT, CHOSEN = "{}/grid/umtg/adam/lr0.01_bs16/seed{}", "{}/grid/umtg/adam/selected/seed{}"


@pytest.fixture
def study(configure, project):
    """The study of the tests with a grid over the digits, and one over their traits."""
    configure("settings/digits.yaml", experiments=DIGITS)
    traits = project / "config/settings/digit_traits.yaml"
    traits.write_text(yaml.safe_dump({**yaml.safe_load(traits.read_text()), "experiments": TRAITS}))
    configure("config.yaml", settings=["digits", "digit_traits"])
    return Study.load()


def test_runs_that_compare_gradients_tell_nothing_of_those_that_do_not(finish, seconds_left):
    finish(SWEPT.format("digit_traits", 0), seconds=10.0)
    assert seconds_left()[CHOSEN.format("digit_traits", 1)] == pytest.approx(10.0)
    finish(CHOSEN.format("digit_traits", 0), seconds=500.0)
    assert seconds_left()[CHOSEN.format("digit_traits", 1)] == pytest.approx(500.0)
    assert seconds_left()[SWEPT.format("digit_traits", 1)] == pytest.approx(10.0)


def test_refitted_runs_are_counted_and_shown_while_they_are_refitted(finish, folder_of, told, printed, held_elsewhere):
    (finish(CHOSEN.format("digits", 0)) / "corrupted.json").touch()
    with held_elsewhere(folder_of(CHOSEN.format("digits", 1)) / ".refit/lock"):
        finish(CHOSEN.format("digits", 1))
        found, lines = told(settings=("digits",)), printed(settings=("digits",))
    assert found["counts"]["refitted"] == {"done": 1, "under_way": 1, "runs": 6}
    states = {own["path"]: (own["refitted"], own["refitting_holder"]) for own in found["runs"]}
    assert states[CHOSEN.format("digits", 0)] == (True, None)
    assert states[CHOSEN.format("digits", 1)][0] is False
    assert states[CHOSEN.format("digits", 1)][1]["process"] == 4711
    assert states[SWEPT.format("digits", 0)] == (None, None)
    below = lines[lines.index("under way: 1") + 1 :]
    assert below[0] == CHOSEN.format("digits", 1)
    assert below[1].startswith("    being refitted, since ")
    assert below[1].endswith(" on elsewhere (process 4711)")


def test_tasks_alone_in_the_grid_are_in_the_row_of_tasks_alone(finish, told):
    finish("digits/grid_stl.digits1/adam/lr0.01_bs16/seed0")
    finish("digits/stl.digits1/adam/lr0.001_bs16/seed0")
    row = next(row for row in told(settings=("digits",))["rows"] if row["label"] == "alone")
    assert row["done"] == 2
