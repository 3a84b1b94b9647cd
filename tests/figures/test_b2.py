import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tasktrace.errors import DataError
from tasktrace.figures import b2
from tasktrace.figures.style import OPTIMIZERS, STL, optimizer_styles

COLUMNS = ["digit.accuracy", "ink.absolute_error", "ink.relative_error"]
OPTIONS = {
    "setting": "invented",
    "optimizers": ["adam", "sgdm"],
    "labels": {"digit.accuracy": "digits"},
    "width": 6.0,
    "height": 4.0,
    "dpi": 60,
}
ROWS = [
    ("umtg", "adam", [0.9, 0.2, 0.5]),  # optimal
    ("uw", "adam", [0.8, 0.1, 0.6]),  # optimal
    ("uw", "adam", [0.7, 0.3, 9.0]),
    ("umtg", "sgdm", [0.6, 0.3, 0.7]),
    ("uw", "sgdm", [0.7, 0.2, 0.6]),
    ("rlw", "sgdm", [np.nan] * 3),
    ("umtg", "signsgd", [0.95, 0.05, 0.4]),  # better than all
]


def experiments():
    rows = [
        {"method": method, "optimizer": optimizer, "learning_rate": 0.1, "batch_size": 8, "seeds": 3}
        | {"diverged": int(np.isnan(values[0])), **dict(zip(COLUMNS, values, strict=True))}
        | {f"{column}_std": 0.01 for column in COLUMNS}
        | {"delta_m": values[0], "delta_m_std": 0.1, "pareto_full": optimizer == "signsgd"}
        for method, optimizer, values in ROWS
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def tables(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    experiments().to_csv(folder / "experiments.csv", index=False)
    pd.DataFrame({"metric": COLUMNS, "test": [0.85, 0.15, 0.55]}).to_csv(folder / "baseline.csv", index=False)
    return folder


def test_the_optimal_ones_are_those_of_the_optimizers_drawn(tables, tmp_path):
    b2.draw(tables, OPTIONS, tmp_path / "fig.png")
    drawn = pd.read_csv(tmp_path / "fig.csv")
    assert drawn["optimizer"].tolist() == ["adam"] * 3 + ["sgdm"] * 2
    assert drawn["optimal"].tolist() == [True, True, False, False, False]
    b2.draw(tables, {**OPTIONS, "optimizers": ["adam", "sgdm", "signsgd"]}, tmp_path / "all.png")
    everyone = pd.read_csv(tmp_path / "all.csv")
    assert (everyone["optimal"] == everyone["pareto_full"]).all()
    assert {"fig.png", "fig.pdf"} <= {path.name for path in tmp_path.iterdir()}


def test_the_legend_counts_and_says_what_diverged(tables):
    content = b2._experiments(tables, OPTIONS)
    labels = [b2._entry(name, style, content).get_label() for name, style in optimizer_styles(["adam", "sgdm"]).items()]
    assert labels == ["adam: 2 of 3 Pareto-optimal", "sgdm: 0 of 2 Pareto-optimal, 1 more diverged"]


@pytest.mark.parametrize("optimizers", [["gd"], ["sgdm"]])
def test_nothing_to_draw_is_said(tables, tmp_path, optimizers):
    content = experiments()
    content.loc[content["optimizer"] == "sgdm", [*COLUMNS, "delta_m"]] = np.nan
    content.to_csv(tables / "experiments.csv", index=False)
    with pytest.raises(DataError, match=f"no experiment of {optimizers[0]} in setting 'invented'"):
        b2.draw(tables, {**OPTIONS, "optimizers": optimizers}, tmp_path / "fig.png")
    assert not (tmp_path / "fig.png").exists()


def axis(values, optimal=(), alone=None, column="ink.absolute_error"):
    flags = [place in optimal for place in range(len(values))]
    return b2.metric_axis(
        column, pd.DataFrame({column: values, "optimal": flags}), values[0] if alone is None else alone
    )


def test_up_is_better_on_every_axis():
    error, accuracy = axis([0.1, 0.2, 0.3]), axis([0.1, 0.2, 0.3], column="digit.accuracy")
    assert error.place(np.array([0.1, 0.2, 0.3])) == pytest.approx([1, 0.5, 0])
    assert accuracy.place(np.array([0.1, 0.2, 0.3])) == pytest.approx([0, 0.5, 1])
    assert (error.best, error.worst, accuracy.best, accuracy.worst) == (0.1, 0.3, 0.3, 0.1)
    assert axis([0.2, 0.2]).place(np.array([0.2])).tolist() == [0.5]


def test_an_axis_is_clipped_at_the_quantile_only_if_that_gains_enough():
    even = axis(np.linspace(0.1, 0.9, 9))
    assert (even.end, even.beyond) == (0.9, 0)
    errors = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 50.0]
    clipped = axis(errors)
    assert (clipped.end, clipped.worst, clipped.beyond) == (0.7, 50.0, 2)
    assert clipped.beyond <= b2.CLIPPED * len(errors)
    assert clipped.place(np.array([0.1, 0.7, 0.8, 50.0])) == pytest.approx([1, 0, 0, 0])
    assert [clipped.is_beyond(value) for value in (0.1, 0.7, 0.8)] == [False, False, True]
    assert b2._worst(clipped) == "0.7\n▼ 2 more, to 50"


def test_no_optimal_experiment_and_no_baseline_is_clipped():
    errors = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 50.0]
    assert axis(errors, optimal=[7]).end == 0.8
    assert axis(errors, optimal=[8]).beyond == 0
    assert axis(errors, alone=2.0).end == 2.0
    better = axis(errors, alone=0.05)
    assert better.best == 0.05


def test_optimizers_look_the_same_in_every_figure_and_different_within_one():
    names = [*OPTIMIZERS, "mine", "yours"]
    styles = optimizer_styles(names)
    assert {name: styles[name] for name in OPTIMIZERS} == OPTIMIZERS
    assert optimizer_styles(["sgdm"])["sgdm"] == OPTIMIZERS["sgdm"]
    assert len(set(styles.values())) == len(names)
    assert len({style.color for style in styles.values()} | {STL}) == len(names) + 1


def test_the_same_tables_give_the_same_bytes(tables, tmp_path):
    for name in ("one", "two"):
        b2.draw(tables, OPTIONS, tmp_path / name / "fig.png")
    for ending in ("png", "pdf", "csv"):
        assert (tmp_path / f"one/fig.{ending}").read_bytes() == (tmp_path / f"two/fig.{ending}").read_bytes()


def test_figures_start_without_torch():
    code = "import sys\nfrom tasktrace.figures import b2, b_a3, tab_b2\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
