import numpy as np
import pandas as pd
import pytest

from tasktrace.errors import DataError
from tasktrace.figures import a5, conflict
from tasktrace.figures.style import STL, curve_style


def test_the_csv_holds_every_set_and_correlation(whole, options, tmp_path):
    a5.draw(whole, options, tmp_path / "fig.png")
    plotted = pd.read_csv(tmp_path / "fig.csv")
    assert plotted.groupby(["kind", "quantity"]).size().to_dict() == {
        (kind, factor): count
        for kind, count in (("set", 12), ("correlation", 2))
        for factor in ("sharpness", "fisher", "coherence")
    }
    table = pd.read_csv(whole / "auxiliary.csv")
    drawn = plotted[(plotted["kind"] == "set") & (plotted["quantity"] == "fisher")]
    np.testing.assert_array_equal(drawn["value"], table["fisher"])
    np.testing.assert_array_equal(drawn["similarity"], table["similarity"])
    known = pd.read_csv(whole / "correlations.csv").query("quantity != 'G'")
    written = plotted[plotted["kind"] == "correlation"]
    np.testing.assert_allclose(written["pearson_low"], known["pearson_low"])
    assert written["sets"].tolist() == known["sets"].tolist() == [5, 6, 6, 6, 6, 6]


def test_a_coefficient_is_written_with_its_interval_where_they_are_known():
    row = {"pearson": -0.456, "pearson_low": -0.9, "pearson_high": 0.1}
    assert conflict._coefficient(row, "pearson", "r") == "r −0.46 [−0.90, 0.10]"
    assert conflict._coefficient({**row, "pearson_low": np.nan}, "pearson", "r") == "r −0.46"
    assert conflict._coefficient({"pearson": np.nan}, "pearson", "r") == "r –"
    assert conflict._coefficient({}, "pearson", "r") == "r –"


def test_a_factor_that_no_early_checkpoint_has_leaves_its_panel_empty(changed, options, tmp_path):
    tables = changed(
        auxiliary=lambda table: table.assign(sharpness=np.nan),
        correlations=lambda table: table[table["quantity"] != "sharpness"],
    )
    a5.draw(tables, options, tmp_path / "fig.png")
    plotted = pd.read_csv(tmp_path / "fig.csv")
    assert plotted[plotted["quantity"] == "sharpness"]["value"].isna().all()


@pytest.mark.parametrize(
    ("auxiliary", "message"),
    [
        ({}, r"figure A5 needs random sets of auxiliary tasks, and setting 'invented' has none: add `auxiliary` to"),
        ({"coats": [], "hats": []}, r"figure A5 has no rows for target 'hats', method 'umtg', optimizer 'adam'"),
    ],
)
def test_missing_sets_are_named(whole, options, tmp_path, auxiliary, message):
    with pytest.raises(DataError, match=message):
        a5.draw(whole, {**options, "auxiliary": auxiliary}, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()


def test_the_same_tables_give_the_same_bytes(assert_same_bytes):
    assert_same_bytes(a5.draw)


def test_twelve_targets_look_different_and_none_like_single_task_training():
    styles = {curve_style(position) for position in range(1, 13)}
    assert len(styles) == 12
    assert STL not in {style.color for style in styles}
