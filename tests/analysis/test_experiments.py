import json
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.baseline import baselines
from tasktrace.analysis.experiments import analyse_experiments, experiments_table, results_table
from tasktrace.analysis.fronts import COUNTS_COLUMNS, METHODS_COLUMNS, pareto_counts, pareto_methods
from tasktrace.analysis.metrics import counted, delta_m, directions, metric_columns
from tasktrace.analysis.runs import FinishedRun
from tasktrace.errors import DataError
from tasktrace.files import file_digest
from tasktrace.tasks import Task

DIGIT = Task(name="digit", outputs=10)
INK = Task(name="ink", outputs=1, loss="l1", metric="absolute_error", more_metrics=("relative_error",))
TASKS = {"digit": DIGIT, "ink": INK}
COLUMNS = ["digit.accuracy", "ink.absolute_error", "ink.relative_error"]
HIGHER = np.array([True, False, False])


@pytest.fixture(autouse=True)
def invented_setting(monkeypatch):
    monkeypatch.setattr("tasktrace.analysis.runs.declaration", lambda *_: SimpleNamespace(tasks=TASKS))


def run(group, method, optimizer, rate, seed, epochs, diverged=False):
    """A run from its epochs: mappings of (task, split, quantity) to value; epoch 0 is the best there ever was."""
    tasks = list(TASKS) if method else [group.removeprefix("grid_stl.")]
    initial = {}
    for name in tasks:
        for split in ("validation", "test"):
            better = {metric: 1.0 if metric == "accuracy" else 1e-9 for metric in TASKS[name].metrics}
            quantities = {"metric" if metric == TASKS[name].metric else metric: v for metric, v in better.items()}
            initial |= {(name, split, quantity): v for quantity, v in {**quantities, "loss": 1e-9}.items()}
    rows = [
        {"epoch": epoch, "step": epoch, "task": task, "split": split, "quantity": quantity, "value": float(value)}
        for epoch, values in enumerate([initial, *epochs])
        for (task, split, quantity), value in values.items()
    ]
    path = "/".join(["invented", group, *([method] if method else []), optimizer, f"lr{rate}_bs8", f"seed{seed}"])
    record = {
        "run": path,
        "outcome": {"status": "diverged" if diverged else "finished"},
        "spec": {"data": {"name": "invented"}, "tasks": tasks, "seed": seed}
        | {"point": {"learning_rate": rate, "batch_size": 8}},
    }
    return FinishedRun(record, pd.DataFrame(rows))


def digit(validation, test, loss=1.0):
    return {
        ("digit", "validation", "loss"): loss,
        ("digit", "validation", "metric"): validation,
        ("digit", "test", "metric"): test,
    }


def ink(validation, test, loss=1.0):
    """Of absolute and relative error."""
    return {("ink", "validation", "loss"): loss} | {
        ("ink", split, quantity): value
        for split, values in (("validation", validation), ("test", test))
        for quantity, value in zip(("metric", "relative_error"), values, strict=True)
    }


def alone_digit(rate=0.1, seed=0, validation=0.8, test=0.5, optimizer="adam", **options):
    return run("grid_stl.digit", None, optimizer, rate, seed, [digit(validation, test)], **options)


def alone_ink(rate=0.1, seed=0, validation=(0.4, 2.0), test=(0.2, 1.0), **options):
    return run("grid_stl.ink", None, "adam", rate, seed, [ink(validation, test)], **options)


def alone():
    return [alone_digit(), alone_ink()]


def together(method, optimizer, rate, seed, test, validation=(0.8, 0.4, 2.0), **options):
    """A run of one epoch with these three metrics."""
    epoch = {**digit(validation[0], test[0]), **ink(validation[1:], test[1:])}
    return run("grid", method, optimizer, rate, seed, [epoch], **options)


@pytest.fixture
def write(tmp_path):
    """A function that writes runs, analyses them, and gives every table."""

    def written(runs, setting="invented"):
        folders = []
        for own in runs:
            folder = tmp_path / "runs" / own.record["run"]
            folder.mkdir(parents=True)
            own.trajectory.to_parquet(folder / "trajectory.parquet")
            record = {**own.record, "trajectory": file_digest(folder / "trajectory.parquet")}
            (folder / "run.json").write_text(json.dumps(record))
            folders.append(folder)
        analyse_experiments(setting, folders, tmp_path / "tables")
        return {path.stem: pd.read_csv(path) for path in (tmp_path / "tables").iterdir()}

    return written


def test_delta_m_is_one_flat_mean_over_all_metrics_lower_is_better():
    # Half the accuracy is a loss of 50 %, half the absolute error a gain of 50 %, three times the other a loss of 200.
    values, baseline = np.array([0.25, 0.1, 3.0]), np.array([0.5, 0.2, 1.0])
    assert delta_m(values, baseline, HIGHER) == pytest.approx((50 - 50 + 200) / 3)
    assert delta_m(np.stack([baseline, values]), baseline, HIGHER) == pytest.approx([0.0, 200 / 3])
    per_task = (50 + (-50 + 200) / 2) / 2
    assert delta_m(values, baseline, HIGHER) != pytest.approx(per_task)


def test_the_columns_and_directions_are_those_of_the_tasks_metrics():
    table = pd.DataFrame(columns=["method", *COLUMNS, "digit.accuracy_std", "delta_m", "delta_m_std"])
    assert metric_columns(table) == COLUMNS
    assert directions(COLUMNS).tolist() == HIGHER.tolist()


def test_a_task_alone_is_stopped_by_validation_loss_and_its_point_chosen_by_its_metric():
    steps = [digit(0.7, 0.4, loss=2.0), digit(0.6, 0.3, loss=1.0), digit(0.9, 0.9, loss=1.5)]
    by_loss = run("grid_stl.digit", None, "adam", 0.1, 0, steps)
    (own,) = baselines("invented", [by_loss], [DIGIT])
    assert (own.validation.tolist(), own.test.tolist()) == ([0.6], [0.3])
    other = alone_digit(rate=0.5, validation=0.65, test=0.1, optimizer="sgdm")
    (own,) = baselines("invented", [by_loss, other], [DIGIT])
    assert (own.optimizer, own.point["learning_rate"], own.test.tolist()) == ("sgdm", 0.5, [0.1])
    # Of an error the lowest is best, and only the first metric counts.
    errors = [
        alone_ink(rate=0.1, validation=(0.4, 1.0)),
        alone_ink(rate=0.2, validation=(0.3, 9.0)),
        alone_ink(rate=0.3, validation=(0.5, 0.1)),
    ]
    (own,) = baselines("invented", errors, [INK])
    assert own.point["learning_rate"] == 0.2


def test_the_baseline_is_a_mean_over_seeds_and_a_point_with_a_diverged_seed_does_not_count():
    seeds = [alone_digit(seed=seed, validation=0.5 + 0.1 * seed, test=0.3 + 0.1 * seed) for seed in range(3)]
    better = [alone_digit(rate=0.2, seed=0, validation=0.99), alone_digit(rate=0.2, seed=1, diverged=True)]
    infinite = alone_digit(rate=0.3, validation=math.inf)
    (own,) = baselines("invented", [*seeds, *better, infinite], [DIGIT])
    assert (own.point["learning_rate"], own.seeds) == (0.1, 3)
    assert (own.validation[0], own.test[0], own.test_std[0]) == pytest.approx((0.6, 0.4, 0.1))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([alone_digit()], "'ink' trained alone, and no such run is in the grid"),
        ([alone_digit(), alone_ink(diverged=True)], "'ink' trained alone, and it diverged at every learning rate"),
        (
            [alone_digit(), alone_ink(test=(0.2, 0.0))],
            r"'ink' trained alone \(adam, learning rate 0.1\) has a test relative_error of zero",
        ),
        ([alone_digit(validation=0.0), alone_ink()], "'digit' .* has a validation accuracy of zero"),
    ],
)
def test_what_delta_m_cannot_be_relative_to_is_an_error(runs, message):
    with pytest.raises(DataError, match=f"invented: .*{message}"):
        baselines("invented", runs, [DIGIT, INK])


def test_a_run_counts_at_its_epoch_of_lowest_validation_delta_m(write):
    # Against validation 0.8, 0.4, 2.0 the epochs lose 0, -25 % and infinitely much; against the baseline's test
    # metrics 0.5, 0.2, 1.0 the last epoch would be the best on validation but for the infinity.
    epochs = [
        {**digit(0.8, 0.5), **ink((0.4, 2.0), (0.2, 1.0))},
        {**digit(0.8, 0.4), **ink((0.2, 1.5), (0.2, 2.0))},
        {**digit(0.9, 0.9), **ink((0.1, math.inf), (0.1, 0.1))},
    ]
    tables = write([*alone(), run("grid", "umtg", "adam", 0.1, 0, epochs)])
    row = tables["experiment_runs"].iloc[0]
    assert row["epoch"] == 2
    assert row["validation_delta_m"] == pytest.approx(-25)
    assert row[COLUMNS].tolist() == [0.4, 0.2, 2.0]
    assert row["delta_m"] == pytest.approx((20 + 0 + 100) / 3)


def test_an_experiment_is_a_mean_over_seeds_and_the_learning_rate_is_chosen_on_validation(write):
    runs = [together("umtg", "adam", 0.1, seed, (0.5, 0.2, 1.0 + seed)) for seed in range(3)]
    # Better on validation, worse on test.
    runs += [together("umtg", "adam", 0.2, seed, (0.1, 0.2, 1.0), (0.9, 0.4, 2.0)) for seed in range(3)]
    runs += [together("uw", "adam", 0.1, seed, (0.4, 0.1, 1.0)) for seed in range(3)]
    tables = write([*alone(), *runs])
    table = tables["experiments"]
    first = table.iloc[0]
    assert (first["method"], first["optimizer"], first["learning_rate"], first["batch_size"]) == (
        "umtg",
        "adam",
        0.1,
        8,
    )
    assert (first["seeds"], first["diverged"]) == (3, 0)
    assert (first["ink.relative_error"], first["ink.relative_error_std"]) == pytest.approx((2.0, 1.0))
    assert (first["delta_m"], first["delta_m_std"]) == pytest.approx((100 / 3, 100 / 3))
    assert table["chosen"].tolist() == [False, True, True]
    assert not [name for name in table if name.startswith("optimal_against")]
    results = tables["results"]
    assert results[["method", "learning_rate"]].to_numpy().tolist() == [["umtg", 0.2], ["uw", 0.1]]
    assert results["published_delta_m"].isna().all()
    baseline = tables["baseline"]
    assert baseline["metric"].tolist() == COLUMNS
    assert baseline["test"].tolist() == [0.5, 0.2, 1.0]
    assert baseline["test_std"].isna().all()


def test_a_diverged_seed_makes_an_experiment_diverged(write):
    best = (0.9, 0.01, 0.01)
    runs = [together("umtg", "adam", 0.5, seed, best, best, diverged=seed == 1) for seed in range(2)]
    runs += [together("umtg", "adam", 0.1, seed, (0.5, 0.2, 1.0)) for seed in range(2)]
    # Never a finite metric: as good as diverged.
    runs += [together("uw", "adam", 0.1, seed, best, (math.nan, *best[1:])) for seed in range(2)]
    tables = write([*alone(), *runs])
    table = tables["experiments"]
    assert table["diverged"].tolist() == [1, 0, 2]
    assert table[[*COLUMNS, "delta_m", "validation_delta_m"]].isna().all(axis=1).tolist() == [True, False, True]
    assert table["pareto_full"].tolist() == [False, True, False]
    assert table["chosen"].tolist() == [False, True, False]
    assert tables["results"]["learning_rate"].tolist()[0] == 0.1
    assert tables["results"].iloc[1][["learning_rate", "delta_m"]].isna().all()
    counts = tables["pareto_counts"].set_index("counting")
    assert counts.loc["mean over seeds", ["points", "optimal"]].tolist() == [1, 1]
    # As single runs the seed that came through is there, and best.
    assert counts.loc["single seeds", ["points", "optimal"]].tolist() == [3, 1]


def test_without_runs_with_a_method_there_is_nothing_to_compare(write):
    with pytest.raises(DataError, match="invented: no finished run with a method in its grid"):
        write(alone())


def rows(*points, seeds=1):
    """Rows as of runs: (method, optimizer, learning rate, accuracy, error), the same for every seed; None diverged."""
    found = []
    for method, optimizer, rate, accuracy, error in points:
        gone = accuracy is None
        values = [math.nan] * 3 if gone else [accuracy, error, error - accuracy]
        row = {"method": method, "optimizer": optimizer, "learning_rate": rate, "batch_size": 8}
        row |= {"diverged": gone, "epoch": 1, "validation_delta_m": values[2]}
        row |= dict(zip(("digit.accuracy", "ink.absolute_error", "delta_m"), values, strict=True))
        found += [{**row, "seed": seed} for seed in range(seeds)]
    return pd.DataFrame(found)


TWO = rows(
    ("umtg", "adam", 0.1, 0.9, 0.3),  # optimal
    ("uw", "adam", 0.1, 0.9, 0.32),  # dominated by Adam only
    ("uw", "adam", 0.2, 0.5, 0.5),  # dominated by SGD
    ("umtg", "sgdm", 0.1, 0.8, 0.2),  # optimal
    ("umtg", "sgdm", 0.2, 0.9, 0.35),  # dominated by Adam
    ("uw", "sgdm", 0.2, None, None),
    seeds=2,
)


def test_fronts_among_all_and_against_the_other_optimizer():
    table = experiments_table(TWO)
    assert table["pareto_full"].tolist() == [True, False, False, True, False, False]
    assert table["optimal_against_sgdm"].tolist() == [True, True, False, *[pd.NA] * 3]
    assert table["optimal_against_adam"].tolist() == [*[pd.NA] * 3, True, False, False]


def test_counts_are_per_optimizer_with_the_published_ones_beside():
    counts = pareto_counts("nyuv2_deeplab", experiments_table(TWO), TWO)
    assert counts.columns.tolist() == COUNTS_COLUMNS
    numbers = counts.drop(columns=["counting", "compared"]).to_numpy().tolist()
    assert numbers[:2] == [["adam", 3, 1, 2, 16, 21], ["sgdm", 2, 1, 1, 6, 6]]
    assert set(counts["compared"]) == {"adam sgdm"}
    # Equal seeds are optimal together.
    assert numbers[2:] == [["adam", 6, 2, 4, 16, 21], ["sgdm", 4, 2, 2, 6, 6]]
    elsewhere = pareto_counts("digits", experiments_table(TWO), TWO)
    assert elsewhere[["optimal_published", "optimal_against_others_published"]].isna().all(axis=None)


def test_more_than_two_optimizers_are_compared_all_at_once_and_in_pairs():
    # signSGD is better than everything.
    three = pd.concat([TWO, rows(("umtg", "signsgd", 0.1, 1.0, 0.1))], ignore_index=True)
    counts = pareto_counts("nyuv2_deeplab", experiments_table(three), three).query("counting == 'mean over seeds'")
    by_row = counts.set_index(["compared", "optimizer"])
    assert by_row["optimal"].to_dict() == {
        ("adam sgdm signsgd", "adam"): 0,
        ("adam sgdm signsgd", "sgdm"): 0,
        ("adam sgdm signsgd", "signsgd"): 1,
        ("adam sgdm", "adam"): 1,
        ("adam sgdm", "sgdm"): 1,
        ("adam signsgd", "adam"): 0,
        ("adam signsgd", "signsgd"): 1,
        ("sgdm signsgd", "sgdm"): 0,
        ("sgdm signsgd", "signsgd"): 1,
    }
    # The paper's counts are those of two optimizers.
    assert set(by_row.index[by_row["optimal_published"].notna()]) == {("adam sgdm", "adam"), ("adam sgdm", "sgdm")}


def test_methods_are_counted_with_the_published_counts_beside():
    table = pareto_methods("nyuv2_deeplab", experiments_table(TWO))
    assert table.columns.tolist() == METHODS_COLUMNS
    assert table.drop(columns="compared").to_numpy().tolist() == [
        ["adam", "umtg", 1, 1, 2],
        ["adam", "uw", 2, 0, 0],
        ["sgdm", "umtg", 2, 1, 0],
        ["sgdm", "uw", 0, 0, 1],
    ]


def test_the_published_delta_m_stands_beside_the_chosen_experiment():
    table = results_table("cityscapes_segnet", experiments_table(TWO))
    names = ["method", "optimizer", "learning_rate", "published_learning_rate", "published_delta_m"]
    assert table[names].astype(object).where(table[names].notna(), None).to_numpy().tolist() == [
        ["umtg", "adam", 0.1, 0.005, 79.43],
        ["uw", "adam", 0.1, 0.001, 5.44],
        ["umtg", "sgdm", 0.1, 0.1, 86.24],
        ["uw", "sgdm", None, 0.01, 88.39],
    ]
    assert table["published_delta_m_std"].tolist() == [3.68, 2.38, 1.97, 1.35]


def test_a_tie_on_validation_is_chosen_once_the_first():
    table = experiments_table(rows(("umtg", "adam", 0.1, 0.9, 0.3), ("umtg", "adam", 0.2, 0.9, 0.3)))
    assert table["chosen"].tolist() == [True, False]
    assert table["pareto_full"].tolist() == [True, True]


def test_a_task_whose_labels_are_noise_counts_in_nothing():
    noise = Task(name="noisy", outputs=10, is_noise=True)
    assert counted([DIGIT, noise, INK]) == [DIGIT, INK]
