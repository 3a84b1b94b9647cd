import itertools
import json

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.corruption import (
    SCORES_COLUMNS,
    TRANSFER_COLUMNS,
    analyse_corruption,
    scores_table,
)
from tasktrace.config.study import identity
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest

METRICS = {"digit": ["accuracy"], "ink": ["absolute_error", "relative_error"]}
COLUMNS = ["digit.accuracy", "ink.absolute_error", "ink.relative_error"]
NAMES = ["gaussian_noise", "contrast"]
SEVERITIES = range(1, 6)
ALONE = ["invented/grid_stl.digit/adam", "invented/grid_stl.ink/adam"]
TOGETHER = ["invented/grid/umtg/adam", "invented/grid/uw/adam"]
SEEDS = (0, 1, 2)


def tasks_of(arm):
    return [arm.split("/")[1].removeprefix("grid_stl.")] if arm in ALONE else list(METRICS)


def scores(arm, seed):
    """Metrics of one run by task, metric, corruption and severity, each its own random number."""
    drawing = np.random.default_rng([*map(ord, arm), seed])
    kinds = [("clean", 0), *itertools.product(NAMES, SEVERITIES)]
    keys = [(task, metric, *kind) for kind in kinds for task in tasks_of(arm) for metric in METRICS[task]]
    return {key: float(drawing.uniform(0.2, 0.9)) for key in keys}


@pytest.fixture
def write(tmp_path):
    """A function that writes a refitted run with ``scores``, or with others, and returns its folder."""

    def written(arm, seed, numbers=None, spec=None, trajectory=None):
        folder = tmp_path / "results/runs" / arm / f"selected/seed{seed}"
        folder.mkdir(parents=True)
        (folder / "trajectory.parquet").write_bytes(b"")
        pd.DataFrame({"epoch": [1]}).to_parquet(folder / "trajectory.parquet")
        run = {
            "run": f"{arm}/selected/seed{seed}",
            "spec": {
                "data": {"name": "digit_traits"},
                "tasks": tasks_of(arm),
                "seed": seed,
                "point": {"learning_rate": 0.1},
                "best_epoch": 3,
            },
            "trajectory": file_digest(folder / "trajectory.parquet"),
        }
        (folder / "run.json").write_text(json.dumps(run))
        table = pd.DataFrame(
            [(*key, value) for key, value in (numbers or scores(arm, seed)).items()],
            columns=["task", "metric", "corruption", "severity", "value"],
        )
        table.to_parquet(folder / "corrupted.parquet")
        record = {
            "identity": identity(run["spec"]),
            "trajectory": trajectory or run["trajectory"],
            "spec": spec or {"version": 1, "epochs": 3},
            "sha256": file_digest(folder / "corrupted.parquet"),
        }
        (folder / "corrupted.json").write_text(json.dumps(record))
        return folder

    return written


@pytest.fixture
def folders(write):
    """Two tasks alone and under two methods, three seeds each."""
    return [write(arm, seed) for arm in (*ALONE, *TOGETHER) for seed in SEEDS]


@pytest.fixture
def tables(folders, tmp_path):
    analyse_corruption("invented", folders, tmp_path / "tables")
    return {path.stem: pd.read_csv(path) for path in (tmp_path / "tables").iterdir()}


def delta(arm, seed, column, name):
    """Appendix A6's delta_t of one run, corruption and metric, against the mean over the seeds of the task alone."""
    task, metric = column.split(".")
    alone_arm = next(own for own in ALONE if own.split("/")[1] == f"grid_stl.{task}")
    terms = []
    for severity in SEVERITIES:
        together = scores(arm, seed)
        alone = [scores(alone_arm, own) for own in SEEDS]
        kept_alone = [own[task, metric, name, severity] / own[task, metric, "clean", 0] for own in alone]
        kept = together[task, metric, name, severity] / together[task, metric, "clean", 0]
        sign = -1 if metric == "accuracy" else 1
        terms.append(sign * (kept - sum(kept_alone) / len(kept_alone)))
    return sum(terms) / len(terms)


def test_delta_is_that_of_the_paper_by_metric_and_corruption_and_in_the_mean(tables):
    table = tables["corruption_transfer"]
    assert list(table) == TRANSFER_COLUMNS
    assert len(table) == len(TOGETHER) * (len(COLUMNS) + 1) * (len(NAMES) + 1)
    found = table.set_index(["method", "metric", "corruption"])
    for arm in TOGETHER:
        for columns, names in itertools.product([*([own] for own in COLUMNS), COLUMNS], [*([n] for n in NAMES), NAMES]):
            by_seed = [
                np.mean([delta(arm, seed, column, name) for column in columns for name in names]) for seed in SEEDS
            ]
            key = (columns[0] if len(columns) == 1 else "mean", names[0] if len(names) == 1 else "mean")
            row = found.loc[(arm.split("/")[2], *key)]
            assert row["seeds"] == 3
            assert row["delta"] == pytest.approx(np.mean(by_seed), rel=1e-9)
            assert row["delta_std"] == pytest.approx(np.std(by_seed, ddof=1), rel=1e-9)


def run_of(ratios, clean=(0.5, 0.25, 2.0)):
    """Scores in which corruption leaves these shares of the three metrics."""
    numbers = {}
    for column, own, ratio in zip(COLUMNS, clean, ratios, strict=True):
        task, metric = column.split(".")
        numbers[task, metric, "clean", 0] = own
        numbers |= {(task, metric, "contrast", severity): own * ratio for severity in SEVERITIES}
    return numbers


def test_negative_means_that_training_together_bears_corruption_better(write, tmp_path):
    alone = run_of((0.8, 1.5, 2.0))
    folders = [write(arm, 0, {key: own for key, own in alone.items() if key[0] in tasks_of(arm)}) for arm in ALONE]
    # Together keeps more of the accuracy, its absolute error grows less, and its relative error more.
    folders.append(write(TOGETHER[0], 0, run_of((0.9, 1.25, 2.5), clean=(0.4, 0.5, 1.0))))
    analyse_corruption("invented", folders, tmp_path)
    table = pd.read_csv(tmp_path / "corruption_transfer.csv")
    table = table[table["corruption"] == "mean"].set_index("metric")
    expected = {"digit.accuracy": -0.1, "ink.absolute_error": -0.25, "ink.relative_error": 0.5, "mean": 0.05}
    assert table["delta"].to_dict() == pytest.approx(expected)
    assert table["delta_std"].isna().all()
    assert set(table["seeds"]) == {1}


def test_scores_are_means_over_corruptions_and_seeds(tables):
    table = tables["corruption_scores"]
    assert list(table) == SCORES_COLUMNS
    assert len(table) == 3 * len(COLUMNS)
    found = table.set_index(["method", "metric"])
    arms = {"alone": ALONE, **{arm.split("/")[2]: [arm] for arm in TOGETHER}}
    for (method, own), column in itertools.product(arms.items(), COLUMNS):
        task, metric = column.split(".")
        (arm,) = [name for name in own if task in tasks_of(name)]
        runs = [scores(arm, seed) for seed in SEEDS]
        clean = [run[task, metric, "clean", 0] for run in runs]
        corrupted = [
            np.mean([run[task, metric, name, severity] for name in NAMES for severity in SEVERITIES]) for run in runs
        ]
        row = found.loc[(method, column)]
        assert row["seeds"] == 3
        assert row["clean"] == pytest.approx(np.mean(clean))
        assert row["clean_std"] == pytest.approx(np.std(clean, ddof=1))
        assert row["corrupted"] == pytest.approx(np.mean(corrupted))
        assert row["corrupted_std"] == pytest.approx(np.std(corrupted, ddof=1))
    assert table["corrupted_published"].isna().all()


def test_published_numbers_stand_beside_those_of_their_method_and_metric():
    values = pd.DataFrame(
        [
            (method, 0, metric, "contrast", 0.4, 0.2, 0.5)
            for method in ("alone", "umtg", "uw")
            for metric in ("segmentation.mean_iou", "segmentation.pixel_accuracy")
        ],
        columns=["method", "run", "metric", "corruption", "clean", "value", "ratio"],
    )
    table = scores_table("nyuv2_segnet", values).set_index(["method", "metric"])["corrupted_published"]
    assert table["alone", "segmentation.mean_iou"] == 0.2282
    assert table["umtg", "segmentation.mean_iou"] == 0.2253
    assert table.notna().sum() == 2
    assert scores_table("digits", values)["corrupted_published"].isna().all()


def test_a_task_that_was_not_refitted_alone_is_named(folders, tmp_path):
    without = [folder for folder in folders if "grid_stl.ink" not in str(folder)]
    missing = "invented: ink.absolute_error, ink.relative_error: not refitted alone, .*experiments.alone.optimizers"
    with pytest.raises(DataError, match=missing):
        analyse_corruption("invented", without, tmp_path / "tables")


def test_a_metric_of_zero_on_clean_data_is_named(write, tmp_path):
    numbers = {**scores(TOGETHER[0], 0), ("ink", "relative_error", "clean", 0): 0.0}
    folders = [write(ALONE[0], 0), write(ALONE[1], 0), write(TOGETHER[0], 0, numbers)]
    with pytest.raises(DataError, match="invented: invented/grid/umtg/adam: 'ink' has a relative_error of zero"):
        analyse_corruption("invented", folders, tmp_path / "tables")


def test_a_run_of_other_options_than_the_study_has_is_refused(folders, tmp_path):
    identities = [identity(json.loads((folder / "run.json").read_text())["spec"]) for folder in folders]
    analyse_corruption("invented", folders, tmp_path / "tables", identities)
    with pytest.raises(DataError, match=f"^{folders[3]}: trained with other options than the study has now"):
        analyse_corruption("invented", folders, tmp_path / "tables", [*identities[:3], "0" * 16, *identities[4:]])


@pytest.mark.parametrize("changed", [{"trajectory": "0" * 64}, {"identity": "0" * 16}])
def test_heads_of_an_earlier_run_are_refused_with_the_remedy(folders, tmp_path, changed):
    path = folders[2] / "corrupted.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    table = folders[2] / "corrupted.parquet"
    with pytest.raises(DataError) as caught:
        analyse_corruption("invented", folders, tmp_path / "tables")
    assert str(caught.value) == (
        f"{table}: refitted on another run than the one that is there now; delete {path} and run "
        f"`snakemake --cores 1 {table}`"
    )


def test_runs_refitted_in_different_ways_are_not_compared(write, tmp_path):
    folders = [write(ALONE[0], 0), write(ALONE[1], 0, spec={"version": 1, "epochs": 4}), write(TOGETHER[0], 0)]
    with pytest.raises(DataError, match=f"^{folders[1]}: its heads were not refitted like those in {folders[0]}"):
        analyse_corruption("invented", folders, tmp_path / "tables")


@pytest.mark.parametrize("name", ["corrupted.json", "corrupted.parquet"])
def test_a_run_that_is_not_refitted_is_named_with_its_command(folders, tmp_path, name):
    (folders[4] / name).unlink()
    table = folders[4] / "corrupted.parquet"
    with pytest.raises(DataError, match=f"^{folders[4]}: its heads are not refitted; run `snakemake --cores 1 {table}"):
        analyse_corruption("invented", folders, tmp_path / "tables")


def test_altered_scores_are_not_used(folders, tmp_path):
    with (folders[4] / "corrupted.parquet").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(DamagedFileError, match=r"corrupted\.parquet: sha256 .* corrupted\.json says .*; delete "):
        analyse_corruption("invented", folders, tmp_path / "tables")


def test_without_methods_there_are_columns_and_no_rows(write, tmp_path):
    analyse_corruption("invented", [write(arm, 0) for arm in ALONE], tmp_path / "tables")
    table = pd.read_csv(tmp_path / "tables/corruption_transfer.csv")
    assert list(table) == TRANSFER_COLUMNS
    assert table.empty
