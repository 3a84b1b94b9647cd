"""Published numbers beside ours: what is compared, with which tolerance, and what is left out."""

import math
from pathlib import Path

import pandas as pd
import pytest

from tasktrace.analysis.beside import COLUMNS, published_beside
from tasktrace.analysis.factor_tables import DELTAS_COLUMNS
from tasktrace.analysis.published import TABLE_COLUMNS

REPRODUCTION = Path(__file__).resolve().parents[2] / "reproduction"

CURVE = {"optimizer": "adam", "task": "fish", "method": "umtg", "group": "mtl.all"}


@pytest.fixture
def folder(tmp_path):
    """A function that writes a setting's tables."""

    def write(setting, **tables):
        (tmp_path / setting).mkdir()
        for name, rows in tables.items():
            pd.DataFrame(rows).to_csv(tmp_path / setting / f"{name}.csv", index=False)
        return tmp_path / setting

    return write


def table_1(**values):
    empty = dict.fromkeys(TABLE_COLUMNS)
    return [{**empty, **CURVE, "unit": "points", **values}]


def deviations(factor, delta, stl, mtl, seeds=3):
    row = {"rule": "table1", "factor": factor, "delta": delta, "stl_std": stl, "mtl_std": mtl}
    return {**dict.fromkeys(DELTAS_COLUMNS), **CURVE, **row, "stl_seeds": seeds, "mtl_seeds": 5}


def only(rows):
    assert rows.columns.tolist() == COLUMNS
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.parametrize(("ours", "within"), [(3.49 - 0.99, True), (3.49 + 1.01, False)])
def test_ours_is_within_two_deviations_of_the_published_number(folder, ours, within):
    """0.3 and 0.4 percent alone and together are 0.5 points, of which two are allowed."""
    deltas = [deviations("sharpness", ours / 100, 9.0, 9.0), deviations("G", ours / 100, 0.003, 0.004)]
    row = only(published_beside([folder("cifar100", table_a1=table_1(G=ours, G_published=3.49), deltas=deltas)]))
    assert row["tolerance"] == pytest.approx(1.0)
    assert row["within"] is within
    assert row["difference"] == pytest.approx(ours - 3.49)
    assert (row["seeds"], row["ours_std"], row["unit"]) == (3, pytest.approx(0.5), "points")


def test_of_two_seeds_by_another_rule_or_in_unknown_units_nothing_is_said(folder):
    cases = {
        "two seeds": (deviations("G", 0.03, 0.01, 0.01, seeds=2), {}),
        "another rule": (deviations("G", 0.02, 0.01, 0.01), {}),
        "unknown units": (deviations("G", 0.03, 0.01, 0.01), {"unit_published": "unknown", "note": "a doubt"}),
        "known": (deviations("G", 0.03, 0.01, 0.01), {"unit_published": "points"}),
    }
    folders = [
        folder(name, table_a1=table_1(G=3.0, G_published=3.49, **values), deltas=[deltas])
        for name, (deltas, values) in cases.items()
    ]
    found = published_beside(folders).set_index("setting")
    assert found["within"].to_dict() == {**dict.fromkeys(cases), "known": True}
    assert found["note"]["unknown units"] == "a doubt"


def test_other_methods_than_the_plain_sum_are_not_what_table_1_is_about(folder):
    assert published_beside([folder("cifar100", table_a1=table_1(method="pcgrad", G=1.0, G_published=3.49))]).empty


def test_without_a_deviation_there_is_no_verdict(folder):
    row = only(published_beside([folder("cifar100", table_a1=table_1(fisher=1.0, fisher_published=8.11))]))
    assert row["within"] is None
    assert math.isnan(row["tolerance"])
    assert row["quantity"] == "Δfisher"


def test_deviations_of_both_sides_add_up(folder):
    result = {"method": "uw", "optimizer": "adam", "seeds": 3, "delta_m": 10.0, "delta_m_std": 3.0}
    theirs = {"published_delta_m": 19.0, "published_delta_m_std": 4.0}
    unpublished = {"published_delta_m": math.nan, "published_delta_m_std": math.nan}
    row = only(published_beside([folder("nyuv2_segnet", results=[{**result, **theirs}, {**result, **unpublished}])]))
    assert row["tolerance"] == pytest.approx(10.0)
    assert row["within"] is True


def test_a_method_that_diverged_everywhere_has_no_number_and_no_verdict(folder):
    diverged = {"method": "rlw", "optimizer": "sgdm", **dict.fromkeys(["seeds", "delta_m", "delta_m_std"], math.nan)}
    theirs = {"published_delta_m": 19.0, "published_delta_m_std": 4.0}
    row = only(published_beside([folder("nyuv2_segnet", results=[{**diverged, **theirs}])]))
    assert math.isnan(row["ours"])
    assert row["within"] is None


def test_counts_of_optimal_experiments_have_no_tolerance(folder):
    counts = {"counting": "mean over seeds", "optimizer": "adam", "optimal": 4, "optimal_published": 5}
    others = {"optimal_against_others": 20, "optimal_against_others_published": 24}
    rows = published_beside([folder("cityscapes_segnet", pareto_counts=[{**counts, **others}])])
    assert rows["difference"].tolist() == [-1, -4]
    assert rows["within"].tolist() == [None, None]


def test_metrics_on_corrupted_pictures_are_compared(folder):
    score = {"method": "alone", "metric": "segmentation.mean_iou", "seeds": 3, "corrupted": 0.40, "corrupted_std": 0.02}
    row = only(
        published_beside([folder("cityscapes_segnet", corruption_scores=[{**score, "corrupted_published": 0.3774}])])
    )
    assert row["within"] is True
    assert row["what"] == "alone"


def test_the_toy_problem_has_its_own_tolerance():
    rows = published_beside([REPRODUCTION / "toy"])
    assert len(rows) == 54
    assert rows["within"].tolist() == [True] * 54
    arrived = rows[rows["published"].notna()]
    assert (arrived["tolerance"] > 0).all()


def test_learning_rates_of_the_toy_problem_that_are_not_published_are_left_out(tmp_path):
    (tmp_path / "toy").mkdir()
    table = pd.read_csv(REPRODUCTION / "toy/table.csv")
    more = table.iloc[:3].assign(learning_rate=2.0, published=None, tolerance=None, within=None)
    pd.concat([table.astype(object), more.astype(object)]).to_csv(tmp_path / "toy/table.csv", index=False)
    assert len(published_beside([tmp_path / "toy"])) == 54


def test_what_was_run_for_real_can_be_compared():
    folders = [path for path in sorted(REPRODUCTION.iterdir()) if path.is_dir()]
    rows = published_beside(folders)
    assert set(rows["setting"]) >= {"cifar100", "glue", "toy"}
    assert rows["published"].notna().sum() > 50
