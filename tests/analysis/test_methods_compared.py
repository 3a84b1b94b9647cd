import math

import pandas as pd
import pytest

from tasktrace.analysis.aggregates import Aggregate
from tasktrace.analysis.factor_tables import TaskRun
from tasktrace.analysis.methods_compared import (
    METHODS_COLUMNS,
    SHARES_COLUMNS,
    methods_compared,
    percentage_change,
    share_inside,
)
from tasktrace.tasks import Task

OPTIONS = {
    "factors": {"sharpness": "s", "similarity": "c"},
    "aggregation": "table1",
    "last_checkpoints": 1,
    "largest": [],
    "bins": 2,
    "end_bins": [2, 2],
}


def run(method, seed, g, sharpness, *, loss=(9.0, 1.0, 0.1), group="mtl.g", higher=True):
    """A run of two epochs whose sharpness ends at what is given."""
    series = pd.Series(loss)
    factors = {"sharpness": pd.Series([99.0, 99.0, sharpness]), "similarity": pd.Series([0.0, 0.5, 0.5])}
    task = Task(name="t", outputs=2, metric="accuracy" if higher else "absolute_error")
    metric = pd.Series([0.0, 0.0, g])
    return TaskRun("adam", method, group, seed, task, series, metric, Aggregate(g, 1), factors)


def point(runs, factor="sharpness", **changed):
    table = methods_compared(runs, "umtg", {**OPTIONS, **changed})
    assert table.columns.tolist() == METHODS_COLUMNS
    rows = table[table["factor"] == factor]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.parametrize(
    ("value", "baseline", "expected"),
    [(3.0, 2.0, 50.0), (1.0, 2.0, -50.0), (-1.0, -2.0, 50.0), (-3.0, -2.0, -50.0), (1.0, -1.0, 200.0)],
)
def test_a_rise_is_positive_whatever_the_sign_of_the_baseline(value, baseline, expected):
    assert percentage_change(value, baseline) == expected


@pytest.mark.parametrize(("value", "baseline"), [(1.0, 0.0), (0.0, 0.0), (1.0, math.nan), (math.nan, 1.0)])
def test_without_a_baseline_there_is_no_change(value, baseline):
    assert math.isnan(percentage_change(value, baseline))


def test_runs_of_a_seed_are_compared_and_then_averaged():
    baseline = [run("umtg", 0, 0.5, 1.0), run("umtg", 1, 0.8, 4.0), run("umtg", 5, 0.1, 1.0)]
    own = [run("pcgrad", 0, 0.6, 0.9), run("pcgrad", 1, 0.8, 2.0), run("pcgrad", 9, 0.9, 9.0)]
    row = point([*baseline, *own])
    assert (row["method"], row["pairs"]) == ("pcgrad", 2)
    assert (row["G_mean"], row["G_std"]) == pytest.approx((10.0, 20 / math.sqrt(2)))
    assert (row["factor_mean"], row["factor_std"]) == pytest.approx((-30.0, 40 / math.sqrt(2)))
    assert bool(row["inside"])


@pytest.mark.parametrize(
    ("g", "sharpness", "inside"),
    [(0.6, 0.9, True), (0.4, 1.1, True), (0.6, 1.1, False), (0.4, 0.9, False), (0.5, 0.9, False)],
)
def test_inside_is_where_factor_and_g_go_apart(g, sharpness, inside):
    assert point([run("umtg", 0, 0.5, 1.0), run("mgda", 0, g, sharpness)])["inside"] == inside


def test_a_lower_metric_is_an_improvement_where_lower_is_better():
    row = point([run("umtg", 0, 0.5, 1.0, higher=False), run("mgda", 0, 0.4, 0.9, higher=False)])
    assert row["G_mean"] == pytest.approx(20.0)
    assert bool(row["inside"])


def test_the_lowest_loss_is_a_factor_and_similarity_is_none():
    runs = [run("umtg", 0, 0.5, 1.0), run("mgda", 0, 0.6, 1.0, loss=(9.0, 1.0, 0.2))]
    assert set(methods_compared(runs, "umtg", OPTIONS)["factor"]) == {"lowest_loss", "sharpness"}
    row = point(runs, "lowest_loss")
    assert row["factor_mean"] == pytest.approx(100.0)
    assert not bool(row["inside"])


def test_by_loss_bins_runs_are_compared_at_the_end_of_the_one_that_stays_higher():
    # MGDA ends at 0.1; of its two bins the last is from 0.1 to 0.316, where the baseline's second epoch is.
    low = run("umtg", 0, 0.5, 1.0, loss=(9.0, 0.2, 0.001))
    low.metric[1], low.factors["sharpness"][1] = 0.3, 3.0
    row = point([low, run("mgda", 0, 0.6, 6.0)], aggregation="loss_bins")
    assert (row["pairs"], row["G_mean"], row["factor_mean"]) == pytest.approx((1, 100.0, 100.0))
    skipping = run("umtg", 0, 0.5, 1.0, loss=(9.0, 1.0, 0.001))
    assert point([skipping, run("mgda", 0, 0.6, 6.0)], aggregation="loss_bins")["pairs"] == 0


def test_a_baseline_of_zero_leaves_the_point_unknown():
    row = point([run("umtg", 0, 0.5, 0.0), run("mgda", 0, 0.6, 1.0)])
    assert row["pairs"] == 0
    assert math.isnan(row["factor_mean"])
    assert pd.isna(row["inside"])


def test_tasks_alone_and_groups_without_the_baseline_are_no_points():
    runs = [run(None, 0, 0.5, 1.0, group="stl.t"), run("mgda", 0, 0.5, 1.0), run("umtg", 0, 0.5, 1.0, group="mtl.h")]
    assert methods_compared(runs, "umtg", OPTIONS).empty
    assert share_inside(methods_compared(runs, "umtg", OPTIONS)).columns.tolist() == SHARES_COLUMNS


def test_the_share_inside_counts_the_points_whose_place_is_known():
    runs = []
    for group, g, sharpness in [
        ("mtl.a", 0.6, 0.9),
        ("mtl.b", 0.6, 1.1),
        ("mtl.c", 0.4, 1.1),
        ("mtl.d", 0.4, math.nan),
    ]:
        runs += [run("umtg", 0, 0.5, 1.0, group=group), run("mgda", 0, g, sharpness, group=group)]
    shares = share_inside(methods_compared(runs, "umtg", OPTIONS)).set_index("factor")
    row = shares.loc["sharpness"]
    assert row[["points", "inside"]].tolist() == [3, 2]
    assert row["share"] == pytest.approx(2 / 3)
    assert not bool(row["all_inside"])
    shares = share_inside(methods_compared(runs[:2], "umtg", OPTIONS)).set_index("factor")
    assert bool(shares.loc["sharpness", "all_inside"])
    unknown = share_inside(methods_compared(runs[6:], "umtg", OPTIONS)).set_index("factor").loc["sharpness"]
    assert unknown["points"] == 0
    assert math.isnan(unknown["share"])
    assert pd.isna(unknown["all_inside"])
