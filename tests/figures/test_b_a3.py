import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from tasktrace.errors import DataError
from tasktrace.figures import b_a3
from tasktrace.figures.style import OPTIMIZERS

OPTIONS = {"setting": "invented", "optimizers": ["sgdm", "adam"], "width": 6.0, "height": 3.5, "dpi": 60}
COLUMNS = ["method", "optimizer", "learning_rate", "seeds", "delta_m", "delta_m_std", "published_delta_m"]
ROWS = [
    ("umtg", "adam", 0.001, 3, 5.0, 1.0, 79.43),
    ("uw", "adam", 0.005, 3, -2.0, 0.5, np.nan),
    ("umtg", "sgdm", 0.1, 3, 8.0, np.nan, np.nan),
    ("uw", "sgdm", np.nan, np.nan, np.nan, np.nan, np.nan),
    ("umtg", "signsgd", 0.1, 1, 9.0, np.nan, np.nan),
]


@pytest.fixture
def results():
    return pd.DataFrame(ROWS, columns=COLUMNS)


@pytest.fixture
def tables(tmp_path, results):
    (tmp_path / "tables").mkdir()
    results.to_csv(tmp_path / "tables/results.csv", index=False)
    return tmp_path / "tables"


def test_the_csv_holds_what_the_optimizers_asked_for_came_to(tables, results, tmp_path):
    b_a3.draw(tables, OPTIONS, tmp_path / "fig.png")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "fig.csv"), results.head(4))
    assert {"fig.png", "fig.pdf"} <= {path.name for path in tmp_path.iterdir()}


def test_a_bar_is_a_method_in_its_optimizers_colour_and_a_diverged_one_is_named(results):
    axes = Figure().add_subplot()
    b_a3._draw_panel(axes, results[results["optimizer"] == "adam"], OPTIMIZERS["adam"].color)
    assert [patch.get_height() for patch in axes.patches] == [5.0, -2.0]
    assert {to_hex(patch.get_facecolor()).upper() for patch in axes.patches} == {OPTIMIZERS["adam"].color}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["umtg, 0.001", "uw, 0.005"]
    assert not axes.texts
    axes = Figure().add_subplot()
    b_a3._draw_panel(axes, results[results["optimizer"] == "sgdm"], OPTIMIZERS["sgdm"].color)
    assert [text.get_text() for text in axes.texts] == ["diverged"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["umtg, 0.1", "uw"]


def test_published_numbers_have_an_entry_only_where_there_are_any(results):
    assert [entry.get_label() for entry in b_a3._entries(results)] == ["every task alone", "published"]
    assert len(b_a3._entries(results.assign(published_delta_m=np.nan))) == 1


@pytest.mark.parametrize(("largest", "scale"), [(100.0, "linear"), (101.0, "symlog")])
def test_a_method_far_off_makes_the_axis_logarithmic(largest, scale):
    axes = Figure().add_subplot()
    b_a3._scale(axes, pd.Series([5.0, 4.0, 5.0, 6.0, np.nan, largest]))
    assert axes.get_yscale() == scale


@pytest.mark.parametrize("optimizers", [["gd"], ["adam"]])
def test_nothing_to_draw_is_said(tables, results, tmp_path, optimizers):
    results.loc[results["optimizer"] == "adam", "delta_m"] = np.nan
    results.to_csv(tables / "results.csv", index=False)
    with pytest.raises(DataError, match=f"no result of {optimizers[0]} in setting 'invented'"):
        b_a3.draw(tables, {**OPTIONS, "optimizers": optimizers}, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()


def test_the_same_tables_give_the_same_bytes(tables, tmp_path):
    for name in ("one", "two"):
        b_a3.draw(tables, OPTIONS, tmp_path / name / "fig.png")
    for ending in ("png", "pdf", "csv"):
        assert (tmp_path / f"one/fig.{ending}").read_bytes() == (tmp_path / f"two/fig.{ending}").read_bytes()
