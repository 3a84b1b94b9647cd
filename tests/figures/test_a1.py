import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from tasktrace.errors import DataError
from tasktrace.figures import a1
from tasktrace.figures.style import curve_style

OPTIONS = {
    "task": "t",
    "optimizer": "adam",
    "method": "umtg",
    "metric": "accuracy",
    "band": 2.0,
    "curves": [{"group": "stl.t", "label": "STL"}, {"group": "mtl.g", "label": "+Other"}],
    "width": 4.0,
    "height": 3.0,
    "dpi": 80,
}


@pytest.fixture
def tables(tmp_path):
    """Two curves of three epochs and two seeds, and rows of another task and optimizer that must not be drawn."""
    rows = [
        {"optimizer": optimizer, "task": task, "method": method, "group": group, "seed": seed, "epoch": epoch}
        | {"loss": 10.0**-epoch, "metric": 0.5 + 0.1 * epoch + 0.01 * seed}
        for optimizer, task in (("adam", "t"), ("adam", "u"), ("sgd", "t"))
        for method, group in ((None, "stl.t"), ("umtg", "mtl.g"))
        for seed in (0, 1)
        for epoch in range(3)
    ]
    points = pd.DataFrame(rows)
    keys = ["optimizer", "task", "method", "group"]
    means = points.groupby([*keys, "loss"], dropna=False)["metric"].agg(["mean", "std"]).reset_index().assign(seeds=2)
    separation = (
        means[means["method"].notna()]
        .groupby(keys)
        .size()
        .reset_index()[keys]
        .assign(first_loss=0.1, lasting_loss=np.nan)
    )
    folder = tmp_path / "tables"
    folder.mkdir()
    points.to_parquet(folder / "points.parquet")
    means.to_parquet(folder / "curves.parquet")
    separation.to_csv(folder / "separation.csv", index=False)
    return folder


def test_the_csv_holds_exactly_what_is_drawn(tables, tmp_path):
    a1.draw(tables, OPTIONS, tmp_path / "fig.png")
    plotted = pd.read_csv(tmp_path / "fig.csv")
    assert plotted.groupby(["kind", "group"]).size().to_dict() == {
        ("curve", "mtl.g"): 3,
        ("curve", "stl.t"): 3,
        ("point", "mtl.g"): 4,  # the initial model is no epoch
        ("point", "stl.t"): 4,
    }
    curve = plotted[plotted["kind"] == "curve"]
    np.testing.assert_allclose(curve["upper"] - curve["metric"], 2 * curve["std"])
    np.testing.assert_allclose(curve["metric"] - curve["lower"], 2 * curve["std"])


def test_the_same_tables_give_the_same_bytes(tables, tmp_path):
    for name in ("one", "two"):
        a1.draw(tables, OPTIONS, tmp_path / name / "fig.png")
    for ending in ("png", "pdf", "csv"):
        assert (tmp_path / f"one/fig.{ending}").read_bytes() == (tmp_path / f"two/fig.{ending}").read_bytes()


def test_a_curve_without_runs_is_named(tables, tmp_path):
    options = {**OPTIONS, "curves": [*OPTIONS["curves"], {"group": "mtl.gone", "label": "+Gone"}]}
    with pytest.raises(DataError, match=r"no rows for group 'mtl\.gone', task 't', optimizer 'adam'"):
        a1.draw(tables, options, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()


def test_colours_of_curves_differ_and_single_task_training_is_blue():
    colors = [to_rgb(curve_style(position).color) for position in range(7)]
    assert len(set(colors)) == 7
    assert max(colors[0]) == colors[0][2]


@pytest.mark.parametrize("module", ["tasktrace.figures.a1", "tasktrace.analysis.tables", "tasktrace.report"])
def test_figures_and_tables_start_without_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
