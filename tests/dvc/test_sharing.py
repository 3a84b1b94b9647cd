"""What one machine pushed is what another pulls, to the byte, and it counts as done there."""

import json
import os
import subprocess

import pytest
import yaml

NO_OVERRIDE = ("setpriv", "--bounding-set=-dac_override,-fowner,-chown", "--inh-caps=-dac_override,-fowner,-chown")
"""Root as other users are: bound to a file's mode."""


def pulled(station, folder):
    other = station.clone(folder)
    other.dvc("pull")
    return other


def test_a_pulled_study_is_byte_identical_and_done(pushed, contents, tmp_path):
    made = contents(pushed)
    other = pulled(pushed, tmp_path / "other")
    assert contents(other) == made
    said = other.tasktrace("restore")
    assert f"files: {len(made)} are what git names" in said
    assert "digits: 12 of 12 runs done" in said
    assert other.project.planned("demo") == {}
    assert other.project.planned("fig_a3") == {}
    assert other.reproduce() is None
    assert contents(other) == made


def test_a_restored_study_still_shows_what_is_stale(pushed, tmp_path):
    other = pulled(pushed, tmp_path / "other")
    other.tasktrace("restore")
    other.project.edit(
        "config/settings/digits.yaml", lambda block: block["sweep"].update(learning_rates=[0.005, 0.002])
    )
    planned = other.project.planned("demo")
    assert planned["train"] == 3
    assert "prepare" not in planned
    assert "9 of 12 runs done" in other.tasktrace("restore")


def test_a_redo_in_a_restored_study_neither_trains_nor_measures(pushed, contents, tmp_path):
    """The trajectories of checkpoints were not pushed: what has been measured of them was."""
    other = pulled(pushed, tmp_path / "other")
    other.tasktrace("restore")
    made = contents(other)
    other.project.snakemake("--cores", "2", "--forcerun", "select", "--", "fig_a3")
    assert not list(other.folder.glob("checkpoints/digits"))
    for path, content in contents(other).items():
        if path.endswith(("trajectory.parquet", "factors.parquet", "fig_a3.csv")):
            assert content == made[path]


def test_whole_trajectories_are_shared_on_request(pushed, tmp_path):
    """With them another measure can be taken elsewhere, without them it says what to pull."""
    other = pulled(pushed, tmp_path / "other")
    other.tasktrace("restore")
    measure = ("measure", str(next(other.folder.glob("results/runs/**/selected/seed0")).relative_to(other.folder)))
    other.project.edit("config/config.yaml", lambda study: study["measures"]["fisher"].update(draws=2))
    assert "dvc pull checkpoints.dvc" in other.tasktrace(*measure, check=False)

    pushed.tasktrace("archive", "--trajectories")
    pushed.commit()
    pushed.dvc("push")
    other.git("checkout", "--", ".")
    other.git("pull", "--quiet")
    other.dvc("pull")
    other.project.edit("config/config.yaml", lambda study: study["measures"]["fisher"].update(draws=2))
    other.tasktrace(*measure)


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_links_into_the_cache_and_protected_files_break_no_rerun(pushed, kind):
    """Whoever has links in spite of the project's configuration says `tasktrace restore`."""
    pushed.dvc("config", "--local", "cache.type", kind)
    pushed.dvc("checkout", "--relink", "--force")
    linked = pushed.folder / "results/figures/digits/fig_a1.csv"
    assert linked.is_symlink() or linked.stat().st_nlink == 2
    pushed.tasktrace("restore")
    pushed.project.edit("config/config.yaml", lambda study: study["analysis"].update(band=1.5))
    command = ("snakemake", "--profile", "workflow/profiles/workstation", "demo")
    pushed.run(*(NO_OVERRIDE if os.geteuid() == 0 else ()), *command)
    assert damaged_objects(pushed) == []


def damaged_objects(station):
    """Objects of the cache whose content is not what their name says."""
    objects = [path for path in station.folder.glob(".dvc/cache/files/md5/??/*") if path.is_file()]
    assert len(objects) > 100
    command = ["md5sum", *map(str, objects)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    sums = [line.split()[0] for line in lines]
    names = [path.parent.name + path.name.removesuffix(".dir") for path in objects]
    return [name for name, found in zip(names, sums, strict=True) if name != found]


@pytest.mark.parametrize("place", ["cache", "remote"])
def test_a_corrupted_object_is_named_and_not_used(pushed, remote, tmp_path, place):
    other = pushed.clone(tmp_path / "other")
    if place == "cache":
        other.dvc("fetch")
    figure = pushed.folder / "results/figures/digits/fig_a1.csv"
    md5 = subprocess.run(["md5sum", str(figure)], capture_output=True, text=True, check=True).stdout.split()[0]
    store = remote if place == "remote" else other.folder / ".dvc/cache"
    damaged = store / "files/md5" / md5[:2] / md5[2:]
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    damaged.chmod(0o444)
    other.dvc("pull")
    said = other.tasktrace("restore", check=False)
    assert "nothing was restored" in said
    assert "results/figures/digits/fig_a1.csv" in said
    assert f"files/md5/{md5[:2]}/{md5[2:]}" in said
    assert not list(other.folder.glob("results/runs/**/.resume"))


def test_a_remote_is_asked_for_and_an_unreachable_one_named(reproduced, tmp_path):
    assert "no remote specified" in reproduced.dvc("push", check=False)
    nowhere = tmp_path / "file"
    nowhere.write_text("no folder")
    reproduced.dvc("remote", "add", "--default", "store", str(nowhere / "store"))
    assert str(nowhere) in reproduced.dvc("push", check=False)


def test_what_is_in_the_lock_is_small_and_in_few_files(reproduced):
    """Checkpoints are no output of the stage: DVC copies what is linked of those before every run."""
    assert json.loads(reproduced.dvc("status", "study", "--json")) == {}
    outs = yaml.safe_load((reproduced.folder / "dvc.lock").read_text())["stages"]["study"]["outs"]
    assert {out["path"] for out in outs} == {"results", ".snakemake/metadata"}
    assert sum(out["nfiles"] for out in outs) < 400  # of twelve runs
    sizes = [
        path.stat().st_size for out in outs for path in (reproduced.folder / out["path"]).rglob("*") if path.is_file()
    ]
    assert max(sizes) < 1_000_000
