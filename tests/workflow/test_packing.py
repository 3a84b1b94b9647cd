"""Several runs of an arm in one job: what is planned, and that a run comes out as it does alone."""

import json

import yaml

ARM = "results/runs/digits/mtl.with_digits2/umtg/adam"


def pack(runs):
    return lambda block: block.update(resources={"runs_per_job": runs})


def results(project):
    """The bytes of all trajectories, factors and checkpoints, by path."""
    paths = [*project.folder.glob("results/runs/**/*.parquet"), *project.folder.glob("checkpoints/**/*.safetensors")]
    shown = [path for path in paths if ".resume" not in path.parts]
    return {str(path.relative_to(project.folder)): path.read_bytes() for path in shown}


def logged(project, rule):
    """What a rule's jobs of one arm said, by log."""
    folder = project.folder / f"logs/{rule}/digits/mtl.with_digits2/umtg/adam"
    return {path.name: path.read_text() for path in folder.rglob("*.log")}


def test_the_runs_of_an_arms_sweep_and_its_seeds_share_a_job(fresh):
    per_job = {
        name: yaml.safe_load((fresh.folder / f"config/settings/{name}.yaml").read_text())["resources"]["runs_per_job"]
        for name in ("digits", "digit_pairs", "digit_traits")
    }
    assert per_job == dict.fromkeys(per_job, 4)
    planned = fresh.planned("demo")
    packed = {rule: count for rule, count in planned.items() if "_packed_" in rule}
    # Nine arms of study A with two points and three seeds; the grid's four pairs have two rates, one seed.
    assert sorted(packed.items()) == [
        ("measure_packed_1", 9),
        ("train_packed_1", 9),
        ("train_packed_2", 4),
        ("train_selected_packed_1", 9),
    ]
    assert (planned["train"], planned["train_selected"], planned["refit"]) == (2, 3, 3)


def test_packing_finished_runs_trains_and_measures_nothing_anew(finished):
    before = results(finished)
    record = finished.folder / f"{ARM}/selected/seed1/run.json"
    trained = record.read_bytes()
    finished.edit("config/settings/digits.yaml", pack(2))
    assert finished.planned("all")["train_selected_packed_1"] == 3  # two tasks alone, and one group
    finished.snakemake("--cores", "2", "all")
    log = logged(finished, "train")["selected_seed0_to_selected_seed1.log"]
    assert log.count("finished before; its files are as they were") == 2
    assert record.read_bytes() == trained
    assert results(finished) == before
    assert finished.planned("all") == {}


def test_packed_runs_have_the_bytes_of_runs_alone(finished, tmp_path):
    together = finished.copy(tmp_path / "together")
    for name in ("results", "checkpoints", "logs", ".snakemake"):
        for path in sorted((together.folder / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() or path.is_symlink() else path.rmdir()
    together.edit("config/settings/digits.yaml", pack(2))
    target = f"{ARM}/selected/seed1/factors.json"
    together.snakemake("--cores", "2", target)
    alone = results(finished)
    assert results(together) == {path: alone[path] for path in results(together)}
    assert len(results(together)) == 2 * 3 + 2


def test_a_failing_run_does_not_make_its_neighbours_train_again(finished):
    record = finished.folder / f"{ARM}/selected/seed1/run.json"
    commit = json.loads(record.read_text())["host"]
    finished.edit("config/settings/digits.yaml", pack(2))
    broken = finished.folder / f"{ARM}/selected/seed0/.resume/finished.json"
    broken.unlink()
    lock = finished.folder / f"{ARM}/selected/seed0/.resume/lock"
    lock.unlink()
    lock.mkdir()  # what no process can lock
    done = finished.snakemake("--cores", "1", str(record.relative_to(finished.folder)), check=False)
    assert done.returncode != 0
    log = logged(finished, "train")["selected_seed0_to_selected_seed1.log"]
    assert "1 of 2 runs failed, the others are done:" in log
    assert f"{ARM.removeprefix('results/runs/')}/selected/seed0: IsADirectoryError" in log
    lock.rmdir()
    finished.snakemake("--cores", "1", str(record.relative_to(finished.folder)))
    log = logged(finished, "train")["selected_seed0_to_selected_seed1.log"]
    assert log.count("finished before; its files are as they were") == 1
    assert json.loads(record.read_text())["host"] == commit
