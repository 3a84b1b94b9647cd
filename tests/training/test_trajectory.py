"""The trajectory's file."""

import math

import pyarrow as pa
import pyarrow.parquet as pq

from tasktrace.training.trajectory import Row, write_trajectory

ROWS = [
    Row(0, 0, "digits1", "train", "loss", 2.302585092994046),
    Row(0, 0, "digits1", "test", "metric", 0.1),
    Row(3, 5_000_000_000, "noisy_digits", "train", "batch_loss", 1e-300),
]


def test_rows_come_back_exactly(tmp_path):
    write_trajectory(tmp_path / "trajectory.parquet", ROWS)
    table = pq.read_table(tmp_path / "trajectory.parquet")
    assert [Row(**row) for row in table.to_pylist()] == ROWS


def test_the_schema_is_the_documented_one(tmp_path):
    expected = {
        "epoch": pa.int32(),
        "step": pa.int64(),
        "task": pa.string(),
        "split": pa.string(),
        "quantity": pa.string(),
        "value": pa.float64(),
    }
    for rows in (ROWS, []):
        write_trajectory(tmp_path / "trajectory.parquet", rows)
        schema = pq.read_schema(tmp_path / "trajectory.parquet")
        assert dict(zip(schema.names, schema.types, strict=True)) == expected


def test_no_rows_make_an_empty_table(tmp_path):
    write_trajectory(tmp_path / "trajectory.parquet", [])
    assert pq.read_table(tmp_path / "trajectory.parquet").num_rows == 0


def test_the_same_rows_give_the_same_bytes_and_others_do_not(tmp_path):
    contents = []
    for number, rows in enumerate((ROWS, ROWS, ROWS[:2])):
        write_trajectory(tmp_path / f"{number}.parquet", rows)
        contents.append((tmp_path / f"{number}.parquet").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_the_sign_of_a_nan_which_a_resume_state_loses_is_not_written(tmp_path):
    contents = []
    for number, nan in enumerate((math.nan, -math.nan)):
        write_trajectory(tmp_path / f"{number}.parquet", [Row(1, 1, "", "train", "cosine.mean_negative", nan)])
        contents.append((tmp_path / f"{number}.parquet").read_bytes())
    assert math.copysign(1, -math.nan) != math.copysign(1, math.nan)
    assert contents[0] == contents[1]
    assert math.isnan(pq.read_table(tmp_path / "1.parquet").column("value")[0].as_py())
