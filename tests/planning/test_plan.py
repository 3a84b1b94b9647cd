"""The plan as a whole: its numbers, its table, and its JSON."""

import dataclasses
import json
import subprocess
import sys

import pytest
from rich.console import Console

from tasktrace.config import Study
from tasktrace.errors import ConfigError
from tasktrace.planning.amounts import Total
from tasktrace.planning.plan import Asked, make_plan
from tasktrace.planning.show import _table, days, hours, show_plan, size

CPU = Asked(device="cpu")


def _stages(document):
    return {own["stage"]: own for own in document["settings"][0]["stages"]}


def test_of_a_finished_study_the_analysis_is_left(finished):
    document = make_plan(finished.study, CPU).to_json()
    stages = _stages(document)
    for name, jobs in {"prepare": 1, "sweep": 2, "selected": 2, "measure": 2}.items():
        assert (stages[name]["all"]["jobs"], stages[name]["left"]["jobs"]) == (jobs, 0)
        assert stages[name]["left"]["wall_seconds"] == 0
        assert stages[name]["left"]["unknown"] == {}
    assert stages["selected"]["all"]["runs"] == 4
    assert document["sources"]["runs"] == 8
    assert stages["analysis"]["left"]["jobs"] == stages["analysis"]["all"]["jobs"] - 2
    assert document["settings"][1]["setting"] == "small studies, claims"


def test_parts_add_up(finished):
    document = make_plan(finished.study, CPU).to_json()
    for share in ("all", "left"):
        for name in ("jobs", "runs", "checkpoint_bytes", "other_bytes"):
            in_settings = sum(setting[share][name] for setting in document["settings"])
            in_stages = sum(stage[share][name] for setting in document["settings"] for stage in setting["stages"])
            assert document["total"][share][name] == in_settings == in_stages


def test_a_plan_before_anything_is_done_knows_no_times_and_says_how_to_get_them(tiny, capsys):
    show_plan(tiny, CPU)
    shown = capsys.readouterr().out
    rows = {line[:17].strip(): line[17:].split() for line in shown.splitlines() if line[:17].strip()}
    assert rows["train: sweep"][:5] == ["2", "2", "?", "?", "?"]
    assert rows["measure"][:5] == ["2", "2", "?", "?", "?"]
    assert rows["train: selected"][5:] != ["–", "–"]
    assert "tasktrace plan --calibrate" in shown
    assert not (tiny.root / "results").exists()


def test_trials_fill_the_table_in(finished, tmp_path, capsys):
    study = Study({**finished.study.config, "seeds": [0, 1, 2]}, finished.study.root)
    show_plan(study, dataclasses.replace(CPU, settings=["digits"]))
    shown = capsys.readouterr().out
    rows = {line[:17].strip(): line[17:].split() for line in shown.splitlines() if line[:17].strip()}
    assert rows["train: selected"][:2] == ["4", "2"]
    assert "?" not in rows["train: selected"]
    assert "from 8 finished runs" in shown


def test_without_a_terminal_no_line_of_the_table_is_longer_than_eighty(finished, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    plan = make_plan(finished.study, CPU)
    gpu = dataclasses.replace(plan, device=dataclasses.replace(plan.device, name="NVIDIA H200"))
    largest = Total(123_456_789_000_000, 3)
    amount = dataclasses.replace(
        plan.total.all,
        jobs=12345,
        **dict.fromkeys(("checkpoint_bytes", "other_bytes"), largest),
        **{name: Total(9_000_000.0, 2) for name in ("device_seconds", "wall_seconds")},
        **{name: Total(123_456.0, 2) for name in ("main_mb", "device_mb")},
    )
    part = dataclasses.replace(plan.total, name="cityscapes_deeplab", all=amount, left=amount, parts=())
    whole = dataclasses.replace(plan.total, all=amount, left=amount, parts=(part,))
    Console(width=80).print(_table(dataclasses.replace(gpu, total=whole)))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    (row,) = (line.split() for line in lines if line.startswith("cityscapes_deeplab"))
    assert row[1:] == ["12345", "12345", ">2500", "h", ">104", "d", *[">123", "GB"] * 2, *[">123", "TB"] * 2]


def test_json_is_the_plan_and_nothing_else(finished, capsys):
    show_plan(finished.study, CPU, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document == make_plan(finished.study, CPU).to_json()
    assert document["device"] == {"name": "cpu", "threads": 1, "at_once": 1}


def test_more_devices_shorten_the_wall_time_and_nothing_else(finished):
    one, many = (
        make_plan(finished.study, dataclasses.replace(CPU, at_once=at_once)).to_json() for at_once in (1, 1000)
    )
    first, second = one["total"]["all"], many["total"]["all"]
    assert first.pop("wall_seconds") > second.pop("wall_seconds")
    assert first == second


def test_only_the_settings_that_are_asked_for_are_planned(finished):
    document = make_plan(finished.study, dataclasses.replace(CPU, settings=["digits", "digits"])).to_json()
    assert [own["setting"] for own in document["settings"]] == ["digits"]
    with pytest.raises(ConfigError, match="fashion: not a setting of this study"):
        make_plan(finished.study, dataclasses.replace(CPU, settings=["fashion"]))


def test_a_plan_needs_torch_for_sizes_of_models_alone(finished):
    code = (
        "import sys; from pathlib import Path; from tasktrace.config import Study; "
        "from tasktrace.planning.plan import Asked; from tasktrace.planning.show import show_plan; "
        f"show_plan(Study.load(Path({str(finished.study.root)!r})), Asked(device='cpu')); "
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_unknown_numbers_leave_totals_that_say_so():
    assert Total.sum([1, None, 2, None]) == Total(3, 2)
    assert Total.largest([1, None, 2]) == Total(2, 1)
    assert Total.sum([]) == Total.largest([]) == Total(0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59.4, "59 s"), (59.6, "1 min"), (3569, "59 min"), (3571, "1.0 h"), (360_000, "100 h")],
)
def test_hours_are_short(seconds, text):
    assert hours(seconds) == text


def test_long_wall_times_are_in_days():
    assert days(3 * 86400 - 1) == "72.0 h"
    assert days(3 * 86400) == "3.0 d"


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 kB"), (999_400, "999 kB"), (999_600, "1.0 MB"), (123e6, "123 MB"), (1.26e12, "1.3 TB")]
)
def test_sizes_are_short(count, text):
    assert size(count) == text
