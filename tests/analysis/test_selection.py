import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.experiments import analyse_experiments
from tasktrace.analysis.selection import select
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.tasks import Task
from tasktrace.training.trajectory import Row, write_trajectory


def curve(validation: list[float]) -> dict[str, list[float]]:
    return {"train": [1.0] * len(validation), "validation": validation, "test": [0.0] * len(validation)}


def test_the_best_epochs_mean_validation_metric_over_the_tasks_decides(make_run, tmp_path):
    folders = [
        make_run("digits/g/a/p1/seed0", {"digits1": curve([0.9, 0.2]), "digits2": curve([0.1, 0.2])}, point={"p": 1}),
        make_run("digits/g/a/p2/seed0", {"digits1": curve([0.5, 0.6]), "digits2": curve([0.5, 0.6])}, point={"p": 2}),
        make_run("digits/g/a/p3/seed0", {"digits1": curve([0.2, 0.5]), "digits2": curve([0.9, 0.5])}, point={"p": 3}),
    ]
    content = select("digits/g/a", folders, tmp_path / "selected.json")
    assert content["point"] == {"p": 2}
    assert content["score"] == pytest.approx(0.6)
    assert [candidate["score"] for candidate in content["candidates"]] == pytest.approx([0.5, 0.6, 0.55])
    assert [candidate["epoch"] for candidate in content["candidates"]] == [0, 1, 0]
    assert json.loads((tmp_path / "selected.json").read_text()) == content


def test_a_diverged_run_is_never_selected(make_run, tmp_path):
    folders = [
        make_run("digits/g/a/p1/seed0", {"digits1": curve([0.99])}, diverged=True, point={"p": 1}),
        make_run("digits/g/a/p2/seed0", {"digits1": curve([0.1])}, point={"p": 2}),
    ]
    content = select("digits/g/a", folders, tmp_path / "selected.json")
    assert content["point"] == {"p": 2}
    assert content["candidates"][0]["score"] is None
    assert content["candidates"][0]["outcome"]["task"] == "digits1"


def test_a_sweep_that_diverged_everywhere_is_an_error_with_a_remedy(make_run, tmp_path):
    folder = make_run("digits/g/a/p1/seed0", {"digits1": curve([0.99])}, diverged=True)
    with pytest.raises(DataError, match="digits/g/a: every run of the sweep diverged; add smaller learning rates"):
        select("digits/g/a", [folder], tmp_path / "selected.json")
    assert not (tmp_path / "selected.json").exists()


def test_a_missing_run_is_named_with_its_command(tmp_path):
    with pytest.raises(DataError, match="no finished run here; run `snakemake --cores 1"):
        select("digits/g/a", [tmp_path / "nothing"], tmp_path / "selected.json")


def test_an_altered_trajectory_is_not_used(make_run, tmp_path):
    folder = make_run("digits/g/a/p1/seed0", {"digits1": curve([0.9])})
    with (folder / "trajectory.parquet").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(DamagedFileError, match=r"trajectory\.parquet: sha256 .* run\.json says"):
        select("digits/g/a", [folder], tmp_path / "selected.json")


# --- study B's grid ------------------------------------------------------------------------------------------------

DIGIT = Task(name="digit", outputs=10)
INK = Task(name="ink", outputs=1, loss="l1", metric="absolute_error", more_metrics=("relative_error",))
GRID = "invented/grid/umtg/adam"


@pytest.fixture
def make_grid_run(tmp_path, monkeypatch):
    """A function that writes a run of a grid of two tasks, and returns its folder.

    Its epochs, from 1 on, are mappings of a task to validation loss and metrics; before them stands one that is better
    than all others, and that counts nowhere. Test metrics are the same everywhere, and say nothing.
    """
    tasks = {"digit": DIGIT, "ink": INK}
    monkeypatch.setattr("tasktrace.analysis.runs.declaration", lambda *_: SimpleNamespace(tasks=tasks))

    def make(arm, rate, seed, epochs, diverged=False):
        best = {"digit": (0.0, 1.0), "ink": (0.0, 1e-9, 1e-9)}
        names = list(epochs[0])
        rows = []
        for epoch, values in enumerate([{name: best[name] for name in names}, *epochs]):
            for name, (loss, *metrics) in values.items():
                quantities = ("loss", "metric", *tasks[name].more_metrics)
                rows += [
                    Row(epoch, epoch, name, "validation", quantity, value)
                    for quantity, value in zip(quantities, (loss, *metrics), strict=True)
                ]
                rows += [Row(epoch, epoch, name, "test", quantity, 0.5) for quantity in quantities]
        path = f"{arm}/lr{rate}_bs8/seed{seed}"
        folder = tmp_path / "results/runs" / path
        folder.mkdir(parents=True)
        write_trajectory(folder / "trajectory.parquet", rows)
        record = {
            "run": path,
            "outcome": {"status": "diverged" if diverged else "finished"},
            "spec": {"data": {"name": "invented"}, "tasks": names, "seed": seed}
            | {"point": {"learning_rate": rate, "batch_size": 8}},
            "trajectory": file_digest(folder / "trajectory.parquet"),
        }
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return make


@pytest.fixture
def alone(make_grid_run):
    """The baseline: accuracy 0.5, absolute error 0.4, relative error 2."""
    return [
        make_grid_run("invented/grid_stl.digit/adam", 0.1, 0, [{"digit": (1.0, 0.5)}]),
        make_grid_run("invented/grid_stl.ink/adam", 0.1, 0, [{"ink": (1.0, 0.4, 2.0)}]),
    ]


def both(accuracy, error, relative):
    return {"digit": (1.0, accuracy), "ink": (1.0, error, relative)}


def test_a_task_alone_in_a_grid_is_chosen_by_its_metric_at_the_epoch_of_lowest_validation_loss(make_grid_run, tmp_path):
    arm = "invented/grid_stl.digit/adam"
    folders = [
        # The best metric of all, but not where the loss is lowest.
        make_grid_run(arm, 0.1, 3, [{"digit": (2.0, 0.99)}, {"digit": (1.0, 0.6)}]),
        make_grid_run(arm, 0.1, 7, [{"digit": (1.0, 0.7)}, {"digit": (2.0, 0.99)}]),
        make_grid_run(arm, 0.01, 3, [{"digit": (0.5, 0.6)}, {"digit": (0.7, 0.1)}]),
        make_grid_run(arm, 0.01, 7, [{"digit": (0.7, 0.1)}, {"digit": (0.5, 0.8)}]),
    ]
    content = select(arm, folders, tmp_path / "selected.json")
    assert content["point"] == {"learning_rate": 0.01, "batch_size": 8}
    assert content["score"] == pytest.approx(0.7)
    assert content["epochs"] == {"3": 1, "7": 2}
    assert [(own["score"], own["seeds"], own["epoch"]) for own in content["candidates"]] == [
        (pytest.approx(0.65), 2, {"3": 2, "7": 1}),
        (pytest.approx(0.7), 2, {"3": 1, "7": 2}),
    ]
    assert json.loads((tmp_path / "selected.json").read_text()) == content


def test_of_errors_the_lowest_is_chosen_and_further_metrics_do_not_count(make_grid_run, tmp_path):
    arm = "invented/grid_stl.ink/adam"
    folders = [
        make_grid_run(arm, 0.1, 0, [{"ink": (1.0, 0.4, 0.1)}]),
        make_grid_run(arm, 0.01, 0, [{"ink": (1.0, 0.3, 9.0)}]),
    ]
    content = select(arm, folders, tmp_path / "selected.json")
    assert content["point"]["learning_rate"] == 0.01
    assert content["score"] == pytest.approx(-0.3)


def test_together_the_lowest_mean_validation_delta_m_is_chosen(make_grid_run, alone, tmp_path):
    folders = [
        *alone,
        # Delta_m of 10 and -20 at its two epochs; 40 with the other seed: 10 in the mean.
        make_grid_run(GRID, 0.1, 0, [both(0.5, 0.4, 2.6), both(0.8, 0.4, 2.0)]),
        make_grid_run(GRID, 0.1, 1, [both(0.5, 0.4, 4.4)]),
        # -5 and 5: 0 in the mean.
        make_grid_run(GRID, 0.01, 0, [both(0.5, 0.34, 2.0), both(0.5, 0.4, 9.0)]),
        make_grid_run(GRID, 0.01, 1, [both(0.1, 0.4, 2.0), both(0.5, 0.46, 2.0), both(0.2, 0.4, 2.0)]),
    ]
    content = select(GRID, folders, tmp_path / "selected.json")
    assert [own["score"] for own in content["candidates"]] == pytest.approx([-10, 0], abs=1e-9)
    assert content["point"] == {"learning_rate": 0.01, "batch_size": 8}
    assert content["epochs"] == {"0": 1, "1": 2}
    assert content["candidates"][0]["epoch"] == {"0": 2, "1": 1}
    assert "Delta_m" in content["criterion"]


def test_the_baseline_is_the_best_of_all_points_alone(make_grid_run, alone, tmp_path):
    better = make_grid_run("invented/grid_stl.digit/sgdm", 0.5, 0, [{"digit": (1.0, 0.8)}])
    folders = [*alone, better, make_grid_run(GRID, 0.1, 0, [both(0.4, 0.4, 2.0)])]
    assert select(GRID, folders, tmp_path / "selected.json")["score"] == pytest.approx(-50 / 3)


def test_a_point_of_which_a_seed_diverged_is_never_chosen(make_grid_run, alone, tmp_path):
    folders = [
        *alone,
        make_grid_run(GRID, 0.1, 0, [both(0.9, 0.1, 0.1)]),
        make_grid_run(GRID, 0.1, 1, [both(0.9, 0.1, 0.1)], diverged=True),
        make_grid_run(GRID, 0.01, 0, [both(0.1, 0.9, 9.0)]),
        make_grid_run(GRID, 0.01, 1, [both(0.1, 0.9, 9.0)]),
    ]
    content = select(GRID, folders, tmp_path / "selected.json")
    assert content["point"]["learning_rate"] == 0.01
    ruled_out = {"point": {"learning_rate": 0.1, "batch_size": 8}, "seeds": 2, "score": None, "epoch": None}
    assert content["candidates"][0] == ruled_out


def test_a_task_alone_has_no_point_of_which_a_seed_diverged(make_grid_run, tmp_path):
    arm = "invented/grid_stl.digit/adam"
    folders = [
        make_grid_run(arm, 0.1, 0, [{"digit": (1.0, 0.9)}]),
        make_grid_run(arm, 0.1, 1, [{"digit": (1.0, 0.9)}], diverged=True),
        make_grid_run(arm, 0.01, 0, [{"digit": (1.0, 0.1)}]),
        make_grid_run(arm, 0.01, 1, [{"digit": (1.0, 0.1)}]),
    ]
    assert select(arm, folders, tmp_path / "selected.json")["point"]["learning_rate"] == 0.01


@pytest.mark.parametrize(
    ("arm", "epoch", "where"),
    [
        (GRID, both(0.5, 0.4, 2.0), r"experiments\.learning_rates"),
        ("invented/grid_stl.digit/adam", {"digit": (1.0, 0.5)}, r"experiments\.alone\.learning_rates"),
    ],
)
def test_a_grids_arm_that_diverged_everywhere_names_the_rates_to_change(
    make_grid_run, alone, tmp_path, arm, epoch, where
):
    own = [make_grid_run(arm, rate, 0, [epoch], diverged=True) for rate in (0.5, 0.01)]
    folders = [*alone, *own] if arm == GRID else own
    with pytest.raises(DataError, match=f"^{arm}: every run .* diverged; add smaller learning rates to {where}$"):
        select(arm, folders, tmp_path / "selected.json")
    assert not (tmp_path / "selected.json").exists()


def test_a_grids_point_is_the_one_that_its_tables_call_chosen(make_grid_run, alone, tmp_path):
    drawing = np.random.default_rng(0)
    folders = list(alone)
    for rate in (0.1, 0.01, 0.001):
        for seed in (0, 1):
            epochs = [both(*drawing.uniform(0.1, 0.9, size=3).tolist()) for _ in range(3)]
            folders.append(make_grid_run(GRID, rate, seed, epochs))
    point = select(GRID, folders, tmp_path / "selected.json")["point"]
    analyse_experiments("invented", folders, tmp_path / "tables")
    table = pd.read_csv(tmp_path / "tables/experiments.csv")
    assert table.loc[table["chosen"], "learning_rate"].tolist() == [point["learning_rate"]]
