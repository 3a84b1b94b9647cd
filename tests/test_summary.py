"""The numbers and bars that DVC compares, and what DVC makes of them."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasktrace.cli import main
from tasktrace.summary import summarise

FASHION = Path(__file__).resolve().parents[1] / "reproduction/fashion"

BOTH = {"groups": ["shoes", "noisy"], "experiments": True}
TRANSFER = ["optimizer", "task", "method", "group", "delta", "significant", "stl_mean", "mtl_mean"]
RESULTS = [
    "method",
    "optimizer",
    "seeds",
    "coats.accuracy",
    "coats.accuracy_std",
    "depth.rel",
    "delta_m",
    "delta_m_std",
]


def transfer():
    rows = [
        ("adam", "coats", "umtg", "mtl.shoes", 0.1 + 0.2, True, 0.5, 0.8),
        ("adam", "coats", "pcgrad", "mtl.shoes", -0.01, False, 0.5, 0.49),
        ("adam", "boots", "umtg", "mtl.noisy", math.nan, None, math.nan, 0.25),
        ("adam", "boots", "pcgrad", "mtl.noisy", math.nan, None, math.nan, math.nan),
        ("sgd", "coats", "umtg", "mtl.noisy", 0.0, None, 0.5, 0.5),
        ("adam", "coats", "umtg", "mtl.aux_coats_00", 0.3, True, 0.5, 0.8),
    ]
    return pd.DataFrame(rows, columns=TRANSFER)


def results():
    rows = [
        ("umtg", "adam", 3, 0.9, 0.01, 0.25, -1.5, 0.1),
        ("umtg", "sgd", 3, 0.8, math.nan, math.inf, 2.5, math.nan),
        ("uw", "sgd", math.nan, math.nan, math.nan, math.nan, math.nan, math.nan),
    ]
    return pd.DataFrame(rows, columns=RESULTS)


def lines(path):
    return path.read_text().splitlines()


@pytest.fixture
def tables(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    transfer().to_csv(folder / "transfer.csv", index=False)
    results().to_csv(folder / "results.csv", index=False)
    return folder


@pytest.fixture
def summed_up(tmp_path):
    """A function that sums tables up, and gives the numbers and both files of bars as rows."""

    def sum_up(tables, options):
        out, plots = tmp_path / "metrics/invented.json", tmp_path / "plots"
        summarise("invented", tables, options, out, plots)
        bars = [list(csv.reader(lines(plots / f"{kind}/invented.csv"))) for kind in ("transfer", "experiments")]
        return json.loads(out.read_text(), parse_constant=pytest.fail), *bars

    return sum_up


def test_the_numbers_are_those_of_the_tables_nested_by_name(summed_up, tables):
    numbers, _, _ = summed_up(tables, BOTH)
    assert numbers == {
        "transfer": {
            "adam": {
                "shoes": {
                    "umtg": {"coats": {"delta": 0.1 + 0.2, "significant": True, "together": 0.8, "alone": 0.5}},
                    "pcgrad": {"coats": {"delta": -0.01, "significant": False, "together": 0.49, "alone": 0.5}},
                },
                "noisy": {"umtg": {"boots": {"together": 0.25}}},
            },
            "sgd": {"noisy": {"umtg": {"coats": {"delta": 0.0, "together": 0.5, "alone": 0.5}}}},
        },
        "experiments": {
            "adam": {"umtg": {"delta_m": -1.5, "coats": {"accuracy": 0.9}, "depth": {"rel": 0.25}}},
            "sgd": {"umtg": {"delta_m": 2.5, "coats": {"accuracy": 0.8}}},
        },
    }
    assert numbers["transfer"]["adam"]["shoes"]["umtg"]["coats"]["significant"] is True


def test_the_bars_have_a_row_for_every_difference(summed_up, tables):
    _, of_transfer, of_experiments = summed_up(tables, BOTH)
    assert of_transfer == [
        ["label", "delta"],
        ["coats umtg shoes adam", "0.30000000000000004"],
        ["coats pcgrad shoes adam", "-0.01"],
        ["coats umtg noisy sgd", "0.0"],
    ]
    assert of_experiments == [["label", "delta_m"], ["umtg adam", "-1.5"], ["umtg sgd", "2.5"]]


def test_a_kind_that_the_setting_has_not_is_left_out_whatever_lies_in_the_folder(summed_up, tables):
    numbers, of_transfer, of_experiments = summed_up(tables, {"groups": [], "experiments": True})
    assert list(numbers) == ["experiments"]
    assert (of_transfer, len(of_experiments)) == ([["label", "delta"]], 3)
    numbers, of_transfer, of_experiments = summed_up(tables, {"groups": ["shoes"], "experiments": False})
    assert list(numbers) == ["transfer"]
    assert (len(of_transfer), of_experiments) == (3, [["label", "delta_m"]])


def test_real_tables_come_out_digit_by_digit(summed_up):
    groups = ["with_fashion2", "with_noisy"]
    numbers, of_transfer, of_experiments = summed_up(FASHION, {"groups": groups, "experiments": True})
    rows = list(csv.DictReader(lines(FASHION / "transfer.csv")))
    assert {row["group"] for row in rows} == {f"mtl.{group}" for group in groups}
    for row in rows:
        found = numbers["transfer"]["adam"][row["group"].removeprefix("mtl.")][row["method"]][row["task"]]
        texts = {"delta": row["delta"], "together": row["mtl_mean"], "alone": row["stl_mean"]}
        assert {name: str(found.get(name, "")) for name in texts} == texts
        assert str(found.get("significant", "")) == row["significant"]
    assert len(of_transfer) == 1 + sum(row["delta"] != "" for row in rows) < len(rows)
    for row in csv.DictReader(lines(FASHION / "results.csv")):
        found = numbers["experiments"][row["optimizer"]][row["method"]]
        assert str(found["delta_m"]) == row["delta_m"]
        assert str(found["fashion2"]["accuracy"]) == row["fashion2.accuracy"]
    assert len(of_experiments) == 1 + 23


def test_the_verb_takes_from_the_configuration_what_there_is_to_sum_up(project, tables, capsys):
    rows = transfer().replace({"group": {"mtl.shoes": "mtl.with_noisy", "mtl.noisy": "mtl.with_digits2"}})
    folder = project / "results/tables/digits"
    folder.parent.mkdir(parents=True)
    tables.rename(folder)
    rows.to_csv(folder / "transfer.csv", index=False)
    assert main(["metrics", "digits"]) == 0
    numbers = json.loads((project / "results/metrics/digits.json").read_text())
    assert list(numbers) == ["transfer"]  # the tests' digits have no experiments
    assert list(numbers["transfer"]["adam"]) == ["with_noisy", "with_digits2"]
    assert len(lines(project / "results/plots/transfer/digits.csv")) == 4
    (folder / "transfer.csv").unlink()
    assert main(["metrics", "digits"]) == 1
    assert "results/tables/digits/transfer.csv: no such table yet" in capsys.readouterr().err


def test_dvc_shows_and_compares_them(tmp_path, tables):
    """The numbers of the one setting that was run, out of those that a study may have, without a complaint."""
    declared = {
        "metrics": ["results/metrics"],
        "plots": [
            {f"results/plots/{kind}": {"template": "bar_horizontal", "x": name, "y": "label"}}
            for kind, name in (("transfer", "delta"), ("experiments", "delta_m"))
        ],
    }
    (tmp_path / "dvc.yaml").write_text(json.dumps(declared))
    options, results = {**BOTH, "experiments": False}, tmp_path / "results"
    summarise("invented", tables, options, results / "metrics/invented.json", results / "plots")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "before"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    _dvc(tmp_path, "init", "--quiet")
    changed = transfer().assign(delta=0.25, significant=False)
    changed.to_csv(tables / "transfer.csv", index=False)
    summarise("invented", tables, options, results / "metrics/invented.json", results / "plots")

    [[file, differences]] = json.loads(_dvc(tmp_path, "metrics", "diff", "--json")).items()
    assert file == "results/metrics/invented.json"
    name = "transfer.adam.shoes.umtg.coats"
    assert differences[f"{name}.significant"] == {"old": True, "new": False, "diff": -1}
    assert differences[f"{name}.delta"]["new"] == 0.25
    assert f"{name}.alone" not in differences

    plots = json.loads(_dvc(tmp_path, "plots", "diff", "HEAD", "--json"))
    assert "errors" not in plots
    [bars] = plots["data"]["results/plots/transfer/invented.csv"]
    rows = bars["content"]["data"]["values"]
    drawn = {(row["rev"], row["delta"]) for row in rows if row["label"] == "coats umtg shoes adam"}
    assert drawn == {("HEAD", "0.30000000000000004"), ("workspace", "0.25")}
    assert plots["data"]["results/plots/experiments/invented.csv"] == []


def _dvc(folder, *arguments):
    command = [str(Path(sys.executable).parent / "dvc"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
