import math

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tasktrace.errors import DataError
from tasktrace.figures import a4
from tasktrace.figures.style import METHODS, STL, method_styles, task_marker


def test_the_csv_holds_the_points_and_each_methods_share(whole, options, tmp_path):
    a4.draw(whole, options, tmp_path / "fig.png")
    plotted = pd.read_csv(tmp_path / "fig.csv")
    table = pd.read_csv(whole / "methods.csv").query("optimizer == 'adam'").reset_index(drop=True)
    pd.testing.assert_frame_equal(plotted[table.columns], table)
    for (_, _), own in plotted.groupby(["method", "factor"]):
        known = own["inside"].dropna().astype(bool)
        assert own["points"].unique() == [len(known)]
        assert own["share"].unique() == [known.mean()]


def test_only_the_methods_asked_for_are_drawn_and_one_without_runs_is_named(whole, options, tmp_path):
    asked = {**options, "methods": ["pcgrad", "gradnorm"]}
    a4.draw(whole, asked, tmp_path / "fig.png")
    assert set(pd.read_csv(tmp_path / "fig.csv")["method"]) == {"pcgrad"}
    assert "No finished run: gradnorm." in a4._caption(a4._points(whole, asked), asked)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ([], r"compares methods with 'umtg', and the setting has no other: add one to `methods`"),
        (["gradnorm"], r"no pair of runs of 'umtg' and of gradnorm with the same seed, optimizer 'adam'"),
    ],
)
def test_nothing_to_compare_is_said(whole, options, tmp_path, methods, message):
    with pytest.raises(DataError, match=message):
        a4.draw(whole, {**options, "methods": methods}, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()


def test_a_change_beyond_every_linear_axis_makes_that_axis_logarithmic(whole, options):
    points = a4._points(whole, options)
    scales = {}
    for factor, own in points.groupby("factor"):
        axes = Figure().add_subplot()
        a4._frame(axes, own, points)
        scales[factor] = axes.get_xscale()
        low, high = axes.get_xlim()
        assert low == -high
        assert high >= own["factor_mean"].abs().max()
    # The first row, a lowest loss, is 5000 %.
    assert scales == {"lowest_loss": "symlog", "sharpness": "linear", "fisher": "linear", "coherence": "linear"}


def test_the_shaded_quadrants_are_those_of_a_falling_factor_and_rising_g_and_of_the_opposite():
    points = pd.DataFrame({"factor_mean": [10.0], "factor_std": [math.nan], "G_mean": [-2.0], "G_std": [1.0]})
    axes = Figure().add_subplot()
    a4._frame(axes, points, points)

    def is_shaded(x, y):
        return any(
            patch.get_x() < x < patch.get_x() + patch.get_width()
            and patch.get_y() < y < patch.get_y() + patch.get_height()
            for patch in axes.patches
        )

    assert [is_shaded(x, y) for x, y in ((-1, 1), (1, -1), (1, 1), (-1, -1))] == [True, True, False, False]


def test_methods_look_the_same_in_every_figure_and_different_within_one():
    assert method_styles(["pcgrad", "mine"])["pcgrad"] == method_styles(["gradnorm", "pcgrad"])["pcgrad"]
    styles = method_styles([*METHODS, "mine"])
    assert len(set(styles.values())) == len(METHODS) + 1
    assert STL not in {style.color for style in styles.values()}
    assert len({task_marker(position) for position in range(40)}) == 40


def test_the_legend_keeps_methods_in_the_first_column(options):
    styles = method_styles(["mgda", "pcgrad", "gradnorm"])
    markers = {(f"t{number}", "mtl.shoes"): task_marker(number) for number in range(4)}
    entries, columns = a4._entries(styles, markers, options["labels"])
    assert columns == 3
    assert [entry.get_label() for entry in entries] == ["mgda", "pcgrad", "gradnorm", "t0", "t1", "t2", "t3", " ", " "]


def test_the_same_tables_give_the_same_bytes(assert_same_bytes):
    assert_same_bytes(a4.draw)
