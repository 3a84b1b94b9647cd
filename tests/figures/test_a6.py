import numpy as np
import pandas as pd
import pytest

from tasktrace.errors import DataError
from tasktrace.figures import a6


def test_the_csv_holds_sets_correlations_and_the_tasks_alone(whole, options, tmp_path):
    a6.draw(whole, options, tmp_path / "fig.png")
    plotted = pd.read_csv(tmp_path / "fig.csv")
    assert plotted.groupby(["kind", "task"]).size().to_dict() == {
        (kind, task): count
        for kind, count in (("alone", 1), ("correlation", 1), ("set", 6))
        for task in ("coats", "shoes")
    }
    assert set(plotted["quantity"]) == {"G"}
    alone = plotted[plotted["kind"] == "alone"].set_index("task")
    assert alone["value"].to_dict() == {"coats": 0.9, "shoes": 0.85}
    table = pd.read_csv(whole / "auxiliary.csv")
    np.testing.assert_array_equal(plotted[plotted["kind"] == "set"]["value"], table["G"])


def test_targets_that_were_never_trained_alone_have_no_line(changed, options, tmp_path):
    a6.draw(changed(transfer=lambda table: table.assign(stl_mean=np.nan)), options, tmp_path / "fig.png")
    assert set(pd.read_csv(tmp_path / "fig.csv")["kind"]) == {"set", "correlation"}


def test_targets_of_different_metrics_do_not_share_an_axis(whole, options, tmp_path):
    asked = {**options, "metrics": {"coats": "accuracy", "shoes": "error"}}
    with pytest.raises(DataError, match="different metrics: accuracy, error"):
        a6.draw(whole, asked, tmp_path / "fig.png")


def test_missing_sets_are_named(whole, options, tmp_path):
    with pytest.raises(DataError, match="figure A6 needs random sets of auxiliary tasks"):
        a6.draw(whole, {**options, "auxiliary": {}}, tmp_path / "fig.png")


def test_the_same_tables_give_the_same_bytes(assert_same_bytes):
    assert_same_bytes(a6.draw)
