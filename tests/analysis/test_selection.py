import json

import pytest

from tasktrace.analysis.selection import select
from tasktrace.errors import DamagedFileError, DataError


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
