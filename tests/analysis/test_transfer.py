import pandas as pd
import pytest

from tasktrace.analysis.runs import read_run
from tasktrace.analysis.tables import analyse
from tasktrace.analysis.transfer import generalisation, transfer

OPTIONS = {"band": 2.0, "best_checkpoints": 1, "grid_points": 5}


def flat(metric: float, epochs: int = 2) -> dict[str, list[float]]:
    losses = [1.0 / 10**epoch for epoch in range(epochs)]
    return {"train": losses, "validation": [metric] * epochs, "test": [metric] * epochs}


def runs_of(make_run, alone: list[float], together: list[float]) -> list:
    folders = [
        make_run(f"digits/stl.digits1/adam/selected/seed{seed}", {"digits1": flat(g)}) for seed, g in enumerate(alone)
    ]
    folders += [
        make_run(f"digits/mtl.g/umtg/adam/selected/seed{seed}", {"digits1": flat(g), "digits2": flat(g)})
        for seed, g in enumerate(together)
    ]
    return folders


def test_g_is_the_mean_test_metric_over_the_epochs_of_best_validation(make_run):
    # The first value is the initial model's, which is no finished epoch.
    curve = {"train": [1.0] * 5, "validation": [1.0, 0.1, 0.9, 0.5, 0.9], "test": [99.0, 10.0, 20.0, 30.0, 40.0]}
    run = read_run(make_run("digits/stl.digits1/adam/selected/seed0", {"digits1": curve}))
    assert generalisation(run, run.tasks[0], 1) == 20.0
    assert generalisation(run, run.tasks[0], 2) == 30.0
    assert generalisation(run, run.tasks[0], 3) == 30.0
    assert generalisation(run, run.tasks[0], 10) == 25.0


@pytest.mark.parametrize(
    ("together", "significant", "sign"),
    [([0.8, 0.82], True, "positive"), ([0.2, 0.22], True, "negative"), ([0.4, 0.6], False, "none")],
)
def test_transfer_has_the_sign_of_the_gap_if_the_intervals_are_apart(make_run, together, significant, sign):
    runs = [read_run(folder) for folder in runs_of(make_run, [0.49, 0.51], together)]
    rows = transfer(runs, best_checkpoints=1, band=2.0).set_index("task")
    row = rows.loc["digits1"]
    assert row["delta"] == pytest.approx(sum(together) / 2 - 0.5)
    assert row["stl_std"] == pytest.approx(0.02 / 2**0.5)
    assert (row["significant"], row["transfer"]) == (significant, sign)
    assert row["mtl_lowest_loss"] == pytest.approx(0.1)


def test_diverged_seeds_are_counted_and_leave_no_verdict_when_too_few_remain(make_run):
    folders = runs_of(make_run, [0.4, 0.5], [0.9])
    diverged = {"digits1": flat(0.9), "digits2": flat(0.9)}
    folders.append(make_run("digits/mtl.g/umtg/adam/selected/seed1", diverged, diverged=True))
    row = (
        transfer([read_run(folder) for folder in folders], best_checkpoints=1, band=2.0)
        .set_index("task")
        .loc["digits1"]
    )
    assert (row["mtl_seeds"], row["mtl_diverged"]) == (1, 1)
    assert row["delta"] == pytest.approx(0.45)
    assert pd.isna(row["significant"])
    assert pd.isna(row["transfer"])


def test_the_tables_show_diverged_runs_and_keep_them_out_of_the_curves(make_run, tmp_path):
    folders = runs_of(make_run, [0.4, 0.5], [0.8, 0.9])
    diverged = {"digits1": flat(0.1), "digits2": flat(0.1)}
    folders.append(make_run("digits/mtl.g/umtg/adam/selected/seed2", diverged, diverged=True))
    analyse("digits", folders, OPTIONS, tmp_path / "tables")
    runs = pd.read_csv(tmp_path / "tables/runs.csv").set_index("run")
    assert runs.loc["digits/mtl.g/umtg/adam/selected/seed2", "diverged_at"] == "epoch 2, step 7, digits1"
    assert (runs["outcome"] == "finished").sum() == 4
    assert set(pd.read_parquet(tmp_path / "tables/points.parquet")["seed"]) == {0, 1}
    curves = pd.read_parquet(tmp_path / "tables/curves.parquet")
    assert (curves["seeds"] == 2).all()
    separation = pd.read_csv(tmp_path / "tables/separation.csv")
    assert separation["task"].tolist() == ["digits1", "digits2"]
    assert separation["final_loss"].isna().tolist() == [False, True]  # digits2 was not trained alone


def test_the_same_runs_give_the_same_bytes(make_run, tmp_path):
    folders = runs_of(make_run, [0.4, 0.5], [0.8, 0.9])
    for name in ("one", "two"):
        analyse("digits", folders, OPTIONS, tmp_path / name)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
