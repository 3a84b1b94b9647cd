import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktrace.analysis.matched_loss import bands_apart, curves, first_passages, interpolated, separation

LOSSES = st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=30)


def test_only_the_first_passage_of_a_loss_counts():
    loss, metric = np.array([2.0, 1.0, 1.5, 1.0, 0.5]), np.array([0.1, 0.5, 0.9, 0.8, 0.6])
    falling, passed = first_passages(loss, metric)
    assert falling.tolist() == [2.0, 1.0, 0.5]
    assert passed.tolist() == [0.1, 0.5, 0.6]


@given(LOSSES)
def test_first_passages_fall_and_end_at_the_lowest_loss(losses):
    loss = np.array(losses)
    falling, passed = first_passages(loss, np.arange(len(loss), dtype=float))
    assert (np.diff(falling) < 0).all()
    assert falling[-1] == loss.min()
    assert loss[passed.astype(int)].tolist() == falling.tolist()


def test_interpolation_is_linear_in_the_logarithm_of_the_loss():
    loss, metric = np.array([1.0, 0.01]), np.array([0.0, 1.0])
    found = interpolated(loss, metric, np.array([2.0, 1.0, 0.1, 0.01, 0.001]))
    np.testing.assert_allclose(found, [np.nan, 0.0, 0.5, 1.0, np.nan])


def test_bands_that_touch_are_not_apart():
    gap, std = np.array([3.9, 4.0, 4.1, -4.1, np.nan]), np.ones(5)
    assert bands_apart(gap, std, std, band=2.0).tolist() == [False, False, True, True, False]


def points(group: str, method: str | None, metrics: dict[int, list[float]], losses: list[float]) -> pd.DataFrame:
    rows = [
        {"optimizer": "adam", "task": "t", "method": method, "group": group, "seed": seed, "epoch": epoch + 1}
        | {"loss": losses[epoch], "metric": metric}
        for seed, series in metrics.items()
        for epoch, metric in enumerate(series)
    ]
    return pd.DataFrame(rows)


def test_a_curve_is_the_mean_and_sample_deviation_over_seeds_at_equal_loss():
    table = curves(points("stl.t", None, {0: [0.0, 0.4, 0.8], 1: [0.0, 0.6, 1.0]}, [1.0, 0.1, 0.01]), grid_points=3)
    np.testing.assert_allclose(table["loss"], [1.0, 0.1, 0.01])
    np.testing.assert_allclose(table["mean"], [0.0, 0.5, 0.9])
    np.testing.assert_allclose(table["std"], [0.0, 0.2 / np.sqrt(2), 0.2 / np.sqrt(2)], atol=1e-12)
    assert (table["seeds"] == 2).all()


def test_a_curve_ends_where_one_of_its_seeds_does():
    long = points("stl.t", None, {0: [0.0, 0.4, 0.8]}, [1.0, 0.1, 0.01])
    short = points("stl.t", None, {1: [0.0, 0.6]}, [1.0, 0.1])
    assert curves(pd.concat([long, short]), grid_points=3)["loss"].min() == pytest.approx(0.1)


def separated(alone: list[float], together: list[float], spread: float = 0.01) -> pd.Series:
    """The separation row of two curves on the losses 1, 0.1, 0.01, 0.001 with a given spread over two seeds."""
    losses = [1.0, 0.1, 0.01, 0.001]
    table = pd.concat(
        [
            points(group, method, {0: [m - spread for m in series], 1: [m + spread for m in series]}, losses)
            for group, method, series in (("stl.t", None, alone), ("mtl.g", "umtg", together))
        ]
    )
    rows = separation(curves(table, grid_points=4), band=2.0)
    assert len(rows) == 1
    return rows.iloc[0]


def test_separation_finds_the_first_loss_at_which_the_bands_part():
    row = separated(alone=[0.1, 0.5, 0.6, 0.7], together=[0.1, 0.5, 0.8, 0.9])
    assert row["group"] == "mtl.g"
    assert row["first_loss"] == pytest.approx(0.01)
    assert row["lasting_loss"] == pytest.approx(0.01)
    assert row["final_loss"] == pytest.approx(0.001)
    assert row["first_ratio"] == pytest.approx(10.0)
    assert row["apart"] == pytest.approx(0.5)
    assert row["final_gap"] == pytest.approx(0.2)


def test_a_passing_separation_is_first_but_does_not_last():
    row = separated(alone=[0.1, 0.5, 0.6, 0.7], together=[0.1, 0.2, 0.6, 0.7])
    assert row["first_loss"] == pytest.approx(0.1)
    assert np.isnan(row["lasting_loss"])
    assert row["final_gap"] == pytest.approx(0.0)


def test_curves_that_never_part_have_no_separation():
    row = separated(alone=[0.1, 0.5, 0.6, 0.7], together=[0.1, 0.5, 0.62, 0.7], spread=0.1)
    assert np.isnan(row[["first_loss", "lasting_loss", "first_ratio"]].astype(float)).all()
    assert row["apart"] == 0.0


def test_one_seed_gives_a_curve_but_no_verdict():
    table = pd.concat(
        [
            points("stl.t", None, {0: [0.1, 0.5]}, [1.0, 0.1]),
            points("mtl.g", "umtg", {0: [0.1, 0.9]}, [1.0, 0.1]),
        ]
    )
    row = separation(curves(table, grid_points=2), band=2.0).iloc[0]
    assert np.isnan(row["first_loss"])
    assert row["final_gap"] == pytest.approx(0.4)


def test_curves_without_a_common_loss_are_not_compared():
    table = pd.concat(
        [
            points("stl.t", None, {0: [0.1], 1: [0.2]}, [1.0]),
            points("mtl.g", "umtg", {0: [0.1], 1: [0.2]}, [0.5]),
        ]
    )
    row = separation(curves(table, grid_points=2), band=2.0).iloc[0]
    assert np.isnan(row["final_loss"])


def test_a_curve_begins_with_the_first_finished_epoch():
    table = points("stl.t", None, {0: [0.1, 0.5, 0.6], 1: [0.1, 0.5, 0.6]}, [2.0, 0.4, 0.1])
    table["epoch"] -= 1  # as in a trajectory, which begins with the initial model
    assert curves(table, grid_points=5)["loss"].max() == pytest.approx(0.4)
