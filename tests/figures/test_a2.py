import numpy as np
import pandas as pd
import pytest

from tasktrace.errors import DataError
from tasktrace.figures import a2


def shown(tables, options, tmp_path):
    a2.draw(tables, options, tmp_path / "fig.png")
    return pd.read_csv(tmp_path / "fig.csv")


def test_every_significant_group_is_drawn_beside_its_task_alone(whole, options, tmp_path):
    plotted = shown(whole, options, tmp_path)
    counts = plotted[plotted["kind"] == "point"].groupby(["task", "group"]).size().to_dict()
    # Three seeds of six epochs, the initial model left out; sets of auxiliary tasks and other methods are no part.
    assert counts == {("coats", "stl.coats"): 18, ("coats", "mtl.shoes"): 18, ("coats", "mtl.noisy"): 18}
    curve = plotted[plotted["kind"] == "curve"]
    np.testing.assert_allclose(curve["upper"] - curve["lower"], 4 * curve["std"])
    assert curve.groupby("group")["delta"].first().dropna().to_dict() == {"mtl.noisy": -0.04, "mtl.shoes": 0.03}


@pytest.mark.parametrize("unknown", [False, True], ids=["not significant", "one seed"])
def test_without_significant_transfer_the_largest_differences_are_shown(changed, options, tmp_path, unknown):
    def none(table):
        verdicts = {"significant": None, "transfer": None} if unknown else {"significant": False, "transfer": "none"}
        return table.assign(**verdicts)

    tables = changed(transfer=none)
    chosen, note = a2._chosen(tables, options)
    assert note == "No significant transfer; largest differences shown"
    plotted = shown(tables, options, tmp_path)
    assert set(plotted["group"]) == {"stl.coats", "mtl.noisy", "stl.shoes", "mtl.shoes"}
    assert list(chosen["delta"]) == [-0.04, 0.01]


def test_the_largest_of_too_many_tasks_are_shown_in_the_tables_order(changed, options):
    def many(table):
        rows = [
            table.iloc[0].to_dict() | {"task": f"t{number}", "delta": number * (-1) ** number} for number in range(14)
        ]
        return pd.DataFrame(rows)

    chosen, note = a2._chosen(changed(transfer=many), options)
    assert list(chosen["task"]) == [f"t{number}" for number in range(2, 14)]
    assert note == "Significant transfer: the 12 largest of 14 tasks"


def test_no_task_alone_and_together_is_said(changed, options, tmp_path):
    tables = changed(transfer=lambda table: table.assign(delta=np.nan))
    with pytest.raises(DataError, match="no task with finished runs both alone and together, for method 'umtg'"):
        a2.draw(tables, options, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()


def test_a_long_name_is_broken_and_kept_whole(options):
    table = pd.DataFrame({"group": ["mtl.shoes"], "delta": [-0.0312]})
    panel = a2.Panel("large_omnivores_and_herbivores", table, [])
    title = a2._title(panel, {**options, "metrics": {panel.task: "accuracy"}}, 24)
    assert title == "large_omnivores_and_\nherbivores\nΔG −3.12 points"


def test_the_same_tables_give_the_same_bytes(assert_same_bytes):
    assert_same_bytes(a2.draw)
