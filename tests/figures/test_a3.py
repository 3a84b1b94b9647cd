import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tasktrace.errors import DataError
from tasktrace.figures import a3
from tasktrace.figures.scales import value_scale


def test_the_csv_holds_the_factors_of_the_figures_task_and_optimizer(whole, options, tmp_path):
    a3.draw(whole, options, tmp_path / "fig.png")
    plotted = pd.read_csv(tmp_path / "fig.csv")
    points = plotted[plotted["kind"] == "point"]
    groups = ("stl.coats", "mtl.shoes", "mtl.noisy")
    assert points.groupby(["factor", "group"]).size().to_dict() == {
        (factor, group): 18 for factor in ("sharpness", "fisher", "coherence") for group in groups
    }
    factors = pd.read_parquet(whole / "factors.parquet")
    own = factors[(factors["measure"] == "fisher.trace") & (factors["other"] == "") & (factors["epoch"] == 2)]
    own = own[(own["optimizer"] == "adam") & (own["task"] == "coats") & (own["group"] == "mtl.noisy")]
    drawn = points[(points["factor"] == "fisher") & (points["group"] == "mtl.noisy") & (points["epoch"] == 2)]
    np.testing.assert_allclose(drawn["value"], own["value"])
    curve = plotted[plotted["kind"] == "curve"]
    np.testing.assert_allclose(curve["upper"] - curve["value"], 2 * curve["std"])


def test_unknown_values_are_no_points_and_a_factor_without_any_is_named(changed, options, tmp_path):
    def sharpness_gone(epochs):
        def change(table):
            gone = (table["measure"] == "sharpness.rho0.002") & table["epoch"].isin(epochs)
            return table.assign(value=table["value"].mask(gone))

        return change

    a3.draw(changed(factors=sharpness_gone([6])), options, tmp_path / "fig.png")
    plotted = pd.read_csv(tmp_path / "fig.csv")
    points = plotted[plotted["kind"] == "point"].groupby("factor")["epoch"].max()
    assert points.to_dict() == {"sharpness": 5, "fisher": 6, "coherence": 6}
    with pytest.raises(DataError, match=r"sharpness in figure A3 has no rows for group 'stl\.coats', task 'coats'"):
        a3.draw(changed(factors=sharpness_gone(range(7))), options, tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.1, 1.0, 20.0], "log"),
        ([1e-3, 1e3], "log"),
        ([0.40, 0.45, 0.50], "linear"),
        ([-10.0, 5.0, 20.0], "linear"),
        ([-0.01, 0.0, 0.02, 300.0], "symlog"),
        ([0.0, 0.0], "linear"),
        ([np.nan, 1.0, 100.0], "log"),
        ([np.nan], "linear"),
    ],
)
def test_the_scale_suits_the_values(values, scale):
    axes = Figure().add_subplot()
    value_scale(axes, pd.Series(values, dtype=float))
    assert axes.get_yscale() == scale


def test_a_band_below_zero_does_not_stretch_a_logarithmic_axis():
    axes = Figure().add_subplot()
    axes.fill_between([1, 2], [-5.0, -5.0], [10.0, 10.0])
    value_scale(axes, pd.Series([0.1, 10.0]))
    low, high = axes.get_ylim()
    assert 0.05 < low < 0.1
    assert 10 < high < 20


def test_the_same_tables_give_the_same_bytes(assert_same_bytes):
    assert_same_bytes(a3.draw)
