import json
import math

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.factor_tables import (
    DELTAS_COLUMNS,
    deltas,
    factor_curves,
    factors_table,
    read_factors,
    task_runs,
)
from tasktrace.analysis.runs import read_run
from tasktrace.analysis.tables import analyse_factors
from tasktrace.config.study import identity
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.measures.factors import Factor, write_factors

OPTIONS = {
    "band": 2.0,
    "best_checkpoints": 1,
    "grid_points": 3,
    "factors": {
        "sharpness": "sharpness.rho0.002",
        "fisher": "fisher.trace",
        "coherence": "coherence.covariance",
        "similarity": "conflict.similarity",
    },
    "aggregation": "table1",
    "last_checkpoints": 2,
    "largest": ["fisher"],
    "largest_checkpoints": 1,
    "bins": 3,
    "early_bins": [1, 1],
    "end_bins": [3, 3],
    "resamples": 200,
}
LOSS = [1.0, 1.0, 0.5, 0.05, 0.005, 0.001]  # the first is the initial model's; bins of three: 1 and 0.5; 0.05; the rest


def curve(metrics: list[float], losses: list[float] = LOSS) -> dict[str, list[float]]:
    return {"train": losses, "validation": metrics, "test": metrics}


def measure(folder, tasks, *, similarity=False):
    """Write the measures of a run: per task one value an epoch, of which the four measures are multiples."""
    rows = [
        {"epoch": epoch, "step": 10 * epoch, "task": task, "other": other, "measure": measure}
        | {"parameters": parameters, "value": factor * value, "stderr": 0.1}
        for task, values in tasks.items()
        for epoch, value in enumerate(values)
        for measure, parameters, other, factor in [
            ("sharpness.rho0.002", "model", "", 1.0),
            ("sharpness_of_encoder.rho0.002", "encoder", "", 1000.0),
            ("fisher.trace", "model", "", 10.0),
            ("coherence.covariance", "model", "", 100.0),
            *([("conflict.similarity", "encoder", "", -1.0)] if similarity else []),
            *([("conflict.similarity", "encoder", "digits2", 77.0)] if similarity else []),
        ]
    ]
    write_factors(folder / "factors.parquet", [Factor(**row) for row in rows])
    return record(folder)


def record(folder):
    """Write ``factors.json`` for the ``factors.parquet`` that is there."""
    run = json.loads((folder / "run.json").read_text())
    content = {
        "identity": identity(run["spec"]),
        "trajectory": run["trajectory"],
        "sha256": file_digest(folder / "factors.parquet"),
        "device": "cpu",
    }
    (folder / "factors.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def make_measured(make_run):
    """Write a finished, measured run of digits1 (and digits2 together with it)."""

    def make(path, values, metric=0.5, **options):
        tasks = ["digits1"] if "/stl." in path else ["digits1", "digits2"]
        folder = make_run(path, {task: curve([metric] * len(LOSS)) for task in tasks}, **options)
        return measure(folder, dict.fromkeys(tasks, values), similarity=len(tasks) > 1)

    return make


def alone(make_measured, seed, values, metric=0.5):
    return make_measured(f"digits/stl.digits1/adam/selected/seed{seed}", values, metric)


def together(make_measured, seed, values, metric=0.5, group="g", method="umtg", **options):
    return make_measured(f"digits/mtl.{group}/{method}/adam/selected/seed{seed}", values, metric, **options)


def compared(folders, **changed):
    options = {**OPTIONS, **changed}
    runs = [read_run(folder) for folder in folders]
    tables = [read_factors(folder, run) for folder, run in zip(folders, runs, strict=True)]
    return deltas(task_runs(runs, tables, options), options)


def row_of(table, factor, rule, task="digits1"):
    rows = table[(table["factor"] == factor) & (table["rule"] == rule) & (table["task"] == task)]
    assert len(rows) == 1
    return rows.iloc[0]


def test_only_what_was_measured_on_this_very_run_is_read(make_measured):
    folder = alone(make_measured, 0, [1.0] * 6)
    run = read_run(folder)
    assert len(read_factors(folder, run)) == 24
    record_path, table_path = folder / "factors.json", folder / "factors.parquet"
    written = record_path.read_text()

    for what in ("identity", "trajectory"):
        record_path.write_text(json.dumps({**json.loads(written), what: "other"}))
        with pytest.raises(DataError, match=r"factors\.parquet: measured on another run than the one"):
            read_factors(folder, run)
    record_path.write_text(written)
    table_path.write_bytes(table_path.read_bytes() + b" ")
    with pytest.raises(DamagedFileError, match=r"factors\.json says [0-9a-f]{64}; delete .*factors\.json and run"):
        read_factors(folder, run)
    record_path.unlink()
    with pytest.raises(DataError, match=r"not measured; run `snakemake --cores 1 .*factors\.parquet`"):
        read_factors(folder, run)


def test_the_table_joins_the_runs_identity_and_the_tasks_loss(make_run):
    losses = {"digits1": [9.0, 1.0, 0.5], "digits2": [8.0, 2.0, 0.25]}
    tasks = {task: curve([0.5] * 3, values) for task, values in losses.items()}
    folder = measure(make_run("digits/mtl.g/umtg/adam/selected/seed1", tasks), {"digits2": [1.0, 2.0, 3.0]})
    run = read_run(folder)
    table = factors_table([run], [read_factors(folder, run)])
    assert set(zip(table["epoch"], table["loss"], strict=True)) == {(0, 8.0), (1, 2.0), (2, 0.25)}
    assert (table[["optimizer", "method", "group", "seed"]] == ["adam", "umtg", "mtl.g", 1]).all(axis=None)
    fisher = table[table["measure"] == "fisher.trace"]
    assert fisher["value"].tolist() == [10.0, 20.0, 30.0]


def test_a_factors_curve_is_the_mean_over_seeds_at_equal_loss_of_its_own_rows(make_measured):
    folders = [alone(make_measured, 0, [9.0, 1, 2, 3, 4, 5]), alone(make_measured, 1, [9.0, 3, 4, 5, 6, 7])]
    folders.append(together(make_measured, 0, [9.0, 1, 2, 3, 4, 5]))
    runs = [read_run(folder) for folder in folders]
    table = factors_table(runs, [read_factors(folder, run) for folder, run in zip(folders, runs, strict=True)])
    curves = factor_curves(table, OPTIONS)
    single = curves[(curves["factor"] == "fisher") & curves["method"].isna()]
    # The grid's three points are the losses 1, 0.0316 (between epochs 3 and 4) and 0.001, and there is no initial 9.
    weight = (math.log(0.05) - math.log(1e-1**1.5)) / (math.log(0.05) - math.log(0.005))
    np.testing.assert_allclose(single["loss"], [1.0, 1e-1**1.5, 0.001])
    np.testing.assert_allclose(single["mean"], [20.0, 40.0 + 10 * weight, 60.0])
    np.testing.assert_allclose(single["std"], [20 / math.sqrt(2)] * 3)
    assert (single["seeds"] == 2).all()
    similarity = curves[curves["factor"] == "similarity"]
    assert set(similarity["group"]) == {"mtl.g"}
    np.testing.assert_allclose(similarity.query("task == 'digits1'")["mean"].iloc[[0, -1]], [-1.0, -5.0])


def test_deltas_by_each_rule(make_measured):
    # By hand, per run: the last two are epochs 4 and 5; early are 1 and 2; the end are 4 and 5.
    folders = [
        alone(make_measured, 0, [9.0, 1, 3, 50, 4, 6], 0.50),
        alone(make_measured, 1, [9.0, 2, 4, 60, 5, 7], 0.52),
        together(make_measured, 0, [9.0, 11, 13, 70, 14, 16], 0.60),
        together(make_measured, 1, [9.0, 12, 14, 80, 15, 17], 0.62),
    ]
    table = compared(folders)
    assert table.columns.tolist() == DELTAS_COLUMNS
    assert len(table) == 2 * (3 + 1 + 3 * 3)  # tasks x (G, the lowest loss, the factors but similarity)

    row = row_of(table, "sharpness", "table1")
    assert row["stl_mean"] == pytest.approx(5.5)
    assert row["stl_std"] == pytest.approx(1 / math.sqrt(2))
    assert row["mtl_mean"] == pytest.approx(15.5)
    assert row["delta"] == pytest.approx(10.0)
    assert row["significant"] is True
    assert row[["stl_seeds", "mtl_seeds", "stl_checkpoints", "mtl_checkpoints"]].tolist() == [2, 2, 2, 2]
    assert row_of(table, "fisher", "table1")["delta"] == pytest.approx(200.0)  # the largest value's, times ten
    assert row_of(table, "coherence", "early")["stl_mean"] == pytest.approx(250.0)
    assert row_of(table, "coherence", "early")["delta"] == pytest.approx(1000.0)
    assert row_of(table, "fisher", "end")["mtl_mean"] == pytest.approx(155.0)
    assert row_of(table, "G", "table1")["delta"] == pytest.approx(0.1)
    assert row_of(table, "lowest_loss", "table1")["delta"] == 0.0
    assert math.isnan(row_of(table, "sharpness", "table1", "digits2")["delta"])  # not trained alone


def test_at_the_end_runs_of_a_seed_are_compared_at_the_losses_of_the_one_that_stays_higher(make_run):
    deep = [9.0, 1.0, 0.5, 0.1, 0.06, 0.001]
    high = [9.0, 0.8, 0.7, 0.4, 0.09, 0.05]  # its last bin of three ends at 0.126, so the other's 0.1 and 0.06 count
    values = [99.0, 1.0, 2.0, 3.0, 5.0, 7.0]
    folders = [
        measure(make_run(path, {"digits1": curve([0.5] * 6, losses)}), {"digits1": values})
        for path, losses in [
            ("digits/stl.digits1/adam/selected/seed0", deep),
            ("digits/stl.digits1/adam/selected/seed7", deep),
            ("digits/mtl.g/umtg/adam/selected/seed0", high),
        ]
    ]
    row = row_of(compared(folders), "sharpness", "end")
    assert (row["stl_mean"], row["stl_checkpoints"], row["stl_seeds"]) == (4.0, 2, 1)  # seed 7 has no partner
    assert (row["mtl_mean"], row["mtl_checkpoints"], row["mtl_seeds"]) == (6.0, 2, 1)
    assert pd.isna(row["significant"])


def test_a_pair_of_which_one_run_skips_the_end_has_no_value_on_either_side(make_run):
    losses = {"stl.digits1/adam": [9.0, 1.0, 0.5, 0.0001], "mtl.g/umtg/adam": [9.0, 1.0, 0.1, 0.05]}
    folders = [
        measure(
            make_run(f"digits/{arm}/selected/seed0", {"digits1": curve([0.5] * 4, own)}), {"digits1": [9.0, 1, 2, 3]}
        )
        for arm, own in losses.items()
    ]
    row = row_of(compared(folders), "sharpness", "end")
    assert (row["stl_seeds"], row["mtl_seeds"]) == (0, 0)
    assert (row["stl_checkpoints"], row["mtl_checkpoints"]) == (0, 2)
    assert math.isnan(row["delta"])


def test_the_seed_with_the_fewest_checkpoints_is_the_one_that_shows(make_run):
    seeds = {0: [9.0, 1.0, 0.5, 0.05, 0.005, 0.001], 1: [9.0, 1.0, 0.05, 0.04, 0.005, 0.001]}
    folders = [
        measure(make_run(f"digits/{arm}/selected/seed{seed}", {"digits1": curve([0.5] * 6, losses)}), {"digits1": LOSS})
        for arm in ("stl.digits1/adam", "mtl.g/umtg/adam")
        for seed, losses in seeds.items()
    ]
    row = row_of(compared(folders), "sharpness", "early")
    assert row[["stl_checkpoints", "mtl_checkpoints"]].tolist() == [1, 1]


def test_few_seeds_leave_no_verdict_and_wide_bands_are_no_difference(make_measured):
    folders = [alone(make_measured, 0, [1.0] * 6), alone(make_measured, 1, [3.0] * 6)]
    folders += [together(make_measured, seed, [4.0] * 6) for seed in (0, 1)]
    assert row_of(compared(folders), "sharpness", "table1")["significant"] is False
    assert row_of(compared(folders, band=1.0), "sharpness", "table1")["significant"] is True
    assert pd.isna(row_of(compared(folders[:3]), "sharpness", "table1")["significant"])


def tables_of(folders, out, **changed):
    auxiliary = {"digits1": ["mtl.aux1", "mtl.aux2"]}
    analyse_factors("digits", folders, {**OPTIONS, **changed}, out, auxiliary=auxiliary, baseline="umtg")
    return {p.name: pd.read_csv(p) if p.suffix == ".csv" else pd.read_parquet(p) for p in out.iterdir()}


def test_every_table_is_written_and_the_same_runs_give_the_same_bytes(make_measured, tmp_path):
    folders = [alone(make_measured, seed, [1.0 + seed] * 6) for seed in (0, 1)]
    folders += [together(make_measured, seed, [2.0 + seed] * 6, 0.6) for seed in (0, 1)]
    folders += [together(make_measured, seed, [3.0 + seed] * 6, 0.7, method="pcgrad") for seed in (0, 1)]
    folders += [together(make_measured, 0, [float(n)] * 6, group=f"aux{n}") for n in (1, 2)]
    diverged = together(make_measured, 2, [99.0] * 6, diverged=True)
    (diverged / "factors.json").unlink()  # a diverged run is left out, measured or not
    tables = tables_of([*folders, diverged], tmp_path / "one")
    assert set(tables) == {
        *("factors.parquet", "factor_curves.parquet", "deltas.csv", "table_a1.csv"),
        *("methods.csv", "shares.csv", "auxiliary.csv", "correlations.csv"),
    }
    assert set(tables["factors.parquet"]["group"]) == {"stl.digits1", "mtl.g", "mtl.aux1", "mtl.aux2"}
    for name in ("factor_curves.parquet", "deltas.csv", "table_a1.csv", "methods.csv"):
        assert set(tables[name]["group"]) - {"stl.digits1"} == {"mtl.g"}
    assert set(tables["methods.csv"]["method"]) == {"pcgrad"}
    assert tables["auxiliary.csv"]["task"].tolist() == ["digits1", "digits1"]
    assert tables["auxiliary.csv"]["similarity"].tolist() == [-1.0, -2.0]
    assert tables["correlations.csv"]["sets"].tolist() == [2, 2, 2, 2]
    tables_of([*folders, diverged], tmp_path / "two")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_tables_that_do_not_apply_have_columns_and_no_rows(make_measured, tmp_path):
    tables = tables_of([alone(make_measured, 0, [1.0] * 6)], tmp_path / "tables")
    empty = {name for name, table in tables.items() if table.empty}
    assert empty == set(tables) - {"factors.parquet", "factor_curves.parquet"}
    assert tables["deltas.csv"].columns.tolist() == DELTAS_COLUMNS


def test_a_factor_that_its_measure_does_not_give_is_an_error_that_says_what_there_is(make_measured, tmp_path):
    folder = alone(make_measured, 0, [1.0] * 6)
    message = r"analysis\.factors\.fisher: no run has 'fisher\.tr'; found: fisher\.trace$"
    with pytest.raises(DataError, match=message):
        tables_of([folder], tmp_path, factors={"fisher": "fisher.tr"})


def test_a_factor_of_a_measure_that_was_not_asked_for_is_empty(make_measured, tmp_path):
    folders = [alone(make_measured, 0, [1.0] * 6), together(make_measured, 0, [2.0] * 6)]
    tables = tables_of(
        folders, tmp_path / "tables", factors={"fisher": "another.trace", "sharpness": "sharpness.rho0.002"}
    )
    assert set(tables["factor_curves.parquet"]["factor"]) == {"sharpness"}
    row = row_of(tables["deltas.csv"], "fisher", "table1")
    assert math.isnan(row["delta"])
    assert row[["stl_seeds", "mtl_checkpoints"]].tolist() == [0, 0]


def test_runs_of_which_nothing_was_measured_are_still_compared_by_g(make_run, tmp_path):
    folders = [make_run("digits/stl.digits1/adam/selected/seed0", {"digits1": curve([0.5] * 6)})]
    folders.append(make_run("digits/mtl.g/umtg/adam/selected/seed0", {"digits1": curve([0.6] * 6)}))
    for folder in folders:
        write_factors(folder / "factors.parquet", [])
        record(folder)
    tables = tables_of(folders, tmp_path / "tables")
    assert tables["factor_curves.parquet"].empty
    assert row_of(tables["deltas.csv"], "G", "table1")["delta"] == pytest.approx(0.1)


def test_runs_that_all_diverged_make_no_tables(make_measured, tmp_path):
    folder = together(make_measured, 0, [1.0] * 6, diverged=True)
    with pytest.raises(DataError, match="digits: every run at a selected point diverged"):
        tables_of([folder], tmp_path)
