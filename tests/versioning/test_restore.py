"""Pulled files count as done: nothing damaged, nobody's links, one time for what was not changed, runs remembered."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from tasktrace.cli import main
from tasktrace.config import Study
from tasktrace.errors import BusyError, DamagedFileError, TasktraceError
from tasktrace.files import digest, write_json
from tasktrace.training.checkpoints import load_checkpoint
from tasktrace.training.engine import Engine
from tasktrace.training.finished import Finished, find_finished, keep_finished
from tasktrace.training.session import Job, run
from tasktrace.versioning.archive import archive
from tasktrace.versioning.cache import Cache
from tasktrace.versioning.pointers import read_pointer
from tasktrace.versioning.restore import restore

REPOSITORY = Path(__file__).resolve().parents[2]

ALONE = "digits/stl.digits1/adam/lr0.002_bs16/seed0"
SELECTED = "digits/stl.digits1/adam/selected/seed0"
TRAINED = "digits/mtl.with_digits2/umtg/adam/selected/seed0"
RUNS = (ALONE, SELECTED, TRAINED)

TABLE = "results/tables/digits/points.csv"
PREPARED = "data/prepared/digits.safetensors"
CORRUPTED = "data/corrupted/digits/corrupted.json"
METADATA = ".snakemake/metadata/cmVzdWx0cw=="

STAGE = {"cmd": "true", "outs": [{"results": {"persist": True}}, {".snakemake/metadata": {"persist": True}}]}


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was):
    """After every test."""


@pytest.fixture(scope="session")
def shared(tmp_path_factory, empty, dvc, write_run, make_spec, prepared_file):
    """A folder with a repository whose results, data and checkpoints were pushed, and their remote; not to be changed.

    Of its three runs one was really trained, though not as the study says; all lack what only their machine needs.
    """
    root = tmp_path_factory.mktemp("shared") / "root"
    shutil.copytree(empty, root)
    shutil.copy(REPOSITORY / ".dvcignore", root)
    _write_study(root)
    study = Study.load(root)
    for path, epochs in ((ALONE, ()), (SELECTED, (0, 1, 2))):
        point = {"learning_rate": 0.002, "batch_size": 16}
        write_run(root, path, epochs, spec={**study.run_spec(study.find_run(path)), "point": point})
    threads = torch.get_num_threads()
    run(Job(TRAINED, make_spec(), prepared_file, root, "cpu"))
    torch.set_num_threads(threads)
    for path in (TABLE, PREPARED, CORRUPTED, METADATA):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(path)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"study": STAGE}}))
    dvc(root, "repro", "--quiet")
    archive(root, True, print)
    dvc(root, "push", "--quiet")
    return root.parent


def _write_study(root):
    """The digits alone, without what makes their study large."""
    shutil.copytree(REPOSITORY / "workflow/schemas", root / "workflow/schemas")
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    config |= {"settings": ["digits"], "demo": [], "methods": {"umtg": {"method": "umtg"}}}
    digits = yaml.safe_load((REPOSITORY / "config/settings/digits.yaml").read_text())
    digits |= {"methods": ["umtg"], "optimizers": ["adam"]}
    for name in ("experiments", "resources"):
        digits.pop(name)
    (root / "config/settings").mkdir(parents=True)
    (root / "config/config.yaml").write_text(yaml.safe_dump(config))
    (root / "config/settings/digits.yaml").write_text(yaml.safe_dump(digits))


@pytest.fixture(scope="session")
def clone(shared, dvc):
    """A function that makes a clone in a folder, with a remote of its own, and pulls with a type of link."""

    def make(folder, *targets, cache=None):
        shutil.copytree(shared / "remote", folder / "remote")
        kept = (".snakemake", "results", "data", "checkpoints", "cache", "tmp")
        shutil.copytree(shared / "root", folder / "root", ignore=shutil.ignore_patterns(*kept))
        if cache is not None:
            dvc(folder / "root", "config", "cache.type", cache)
        dvc(folder / "root", "pull", "--quiet", *targets)
        return folder / "root"

    return make


@pytest.fixture(scope="session")
def _cloned(tmp_path_factory, clone):
    return clone(tmp_path_factory.mktemp("cloned"))


@pytest.fixture
def pulled(_cloned, tmp_path):
    """A clone in which everything was pulled; every file has a time of its own, the table the oldest."""
    shutil.copytree(_cloned, tmp_path / "root")
    for number, path in enumerate([tmp_path / "root" / TABLE, *_files(tmp_path / "root")]):
        if number == 0 or path.name != Path(TABLE).name:
            os.utime(path, ns=(OLDEST + number * 10**9, OLDEST + number * 10**9))
    return tmp_path / "root"


OLDEST = 1_763_800_000_123_456_789
"""Nanoseconds."""


def _files(root):
    folders = ("results", "data", "checkpoints", ".snakemake")
    return sorted(path for folder in folders for path in (root / folder).rglob("*") if path.is_file())


def _made_by_snakemake(root):
    return [path for path in _files(root) if not path.is_relative_to(root / "checkpoints") and path.name != "lock"]


def restored(root):
    """What was said while restoring."""
    said = []
    restore(Study.load(root), said.append)
    return said


def times(root):
    return {path: path.stat().st_mtime_ns for path in _files(root)}


@pytest.fixture
def assert_refused(snapshot):
    """A function that restores, sees it refused for all of some reasons, and that nothing has changed."""

    def check(root, kind, *parts):
        before = snapshot(root)
        with pytest.raises(kind) as caught:
            restored(root)
        for part in parts:
            assert part in str(caught.value)
        assert snapshot(root) == before

    return check


def test_all_that_is_there_and_was_done_is_told(pulled):
    count = len(_files(pulled))
    assert restored(pulled) == [
        f"files: {count} are what git names",
        "runs: 3 restored",
        "digits: 2 of 25 runs done",
        "digits: 1 runs were trained with other options, and train again",
    ]


def test_what_snakemake_made_gets_the_time_of_its_oldest(pulled):
    before = times(pulled)
    assert min(before.values()) == before[pulled / TABLE] == OLDEST
    restored(pulled)
    levelled = [path for path in before if path.relative_to(pulled).parts[0] in ("results", "data")]
    assert {path.name for path in levelled} > {"run.json", "points.csv", "digits.safetensors", "corrupted.json"}
    assert {path.stat().st_mtime_ns for path in levelled} == {OLDEST}
    others = before.keys() - set(levelled)
    assert {path.relative_to(pulled).parts[0] for path in others} == {"checkpoints", ".snakemake"}
    assert all(path.stat().st_mtime_ns == before[path] for path in others)


def test_what_was_changed_since_keeps_its_time_and_is_told(pulled):
    changed = pulled / "results/runs" / ALONE / "run.json"
    record = json.loads(changed.read_text())
    write_json(changed, {**record, "seconds": {"train": 2.5}})
    own = pulled / "results/tables/digits/own.csv"
    own.write_text("made here")
    (pulled / PREPARED).write_text("prepared anew")
    since = {path: path.stat().st_mtime_ns for path in (changed, own, pulled / PREPARED)}
    said = restored(pulled)
    start = "were changed here since, and stay as they are:"
    assert f"files: 1 of dvc.lock {start} {changed} (`dvc diff`)" in said
    assert f"files: 1 of prepared.dvc {start} {pulled / PREPARED} (`dvc diff`)" in said
    assert {path: path.stat().st_mtime_ns for path in since} == since
    assert (pulled / TABLE).stat().st_mtime_ns == OLDEST < min(since.values())
    assert json.loads(changed.read_text())["seconds"] == {"train": 2.5}


def test_files_that_are_not_here_are_told_with_what_pulls_them(pulled, dvc):
    (pulled / TABLE).unlink()
    for path in (pulled / "checkpoints").rglob("*.safetensors"):
        path.unlink()
    said = restored(pulled)
    assert "files: 1 of dvc.lock are not here (`dvc pull dvc.yaml`)" in said
    assert "files: 4 of checkpoints.dvc are not here (`dvc pull checkpoints.dvc`)" in said
    for target in ("dvc.yaml", "checkpoints.dvc"):
        dvc(pulled, "pull", "--quiet", target)
    assert not any("not here" in line for line in restored(pulled))


def test_folders_that_were_never_pulled_are_told_and_runs_are_restored_all_the_same(clone, tmp_path):
    root = clone(tmp_path, "results")
    said = restored(root)
    for path in (".snakemake/metadata", "data/prepared", "data/corrupted", "checkpoints/final-epochs"):
        assert f"files: nothing says here what {path} consists of, so it stays as it is (`dvc pull {path}`)" in said
    assert "runs: 3 restored" in said
    assert said[-1] == "digits: no prepared data here; what is to train needs it (`dvc pull prepared.dvc`)"


def test_a_part_of_the_results_may_be_pulled_alone(clone, tmp_path):
    root = clone(tmp_path, f"results/runs/{SELECTED}")
    said = restored(root)
    assert said[0] == "files: 2 are what git names"
    assert "runs: 1 restored" in said
    assert "digits: 1 of 25 runs done" in said
    assert any(line.startswith("files: 5 of dvc.lock are not here") for line in said)


def test_without_the_caches_listing_nothing_gets_another_time(pulled):
    """As where the cache was taken away to save room."""
    shutil.rmtree(pulled / ".dvc/cache")
    before = times(pulled)
    said = restored(pulled)
    assert said[0] == "files: 0 are what git names"
    assert "files: nothing says here what results consists of, so it stays as it is (`dvc pull results`)" in said
    assert {path: path.stat().st_mtime_ns for path in before} == before


def _named(root, cache, pointer):
    return [own for path, md5 in read_pointer(root / pointer).items() for own in cache.content(root / path, md5)]


def test_a_damaged_listing_is_named(pulled, flip, assert_refused):
    cache = Cache(pulled / ".dvc/cache")
    listing = cache.object(read_pointer(pulled / "dvc.lock")["results"])
    flip(listing)
    assert_refused(pulled, DamagedFileError, f"the listing of results: {listing} is damaged")


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_links_into_the_cache_become_files_of_their_own_unless_the_cache_was_damaged_through_them(
    clone, tmp_path, flip, assert_refused, kind
):
    root = clone(tmp_path, cache=kind)
    cache = Cache(root / ".dvc/cache")
    ours = _made_by_snakemake(root)
    assert all(path.is_symlink() or path.stat().st_nlink > 1 for path in ours)
    assert {path.relative_to(root).parts[0] for path in ours} == {"results", "data", ".snakemake"}

    [table] = [own for own in _named(root, cache, "dvc.lock") if own.path == root / TABLE]
    flip(root / TABLE)
    parts = (f"nothing was restored:\n{root / TABLE}: {cache.object(table.md5)} is damaged", "`dvc pull`")
    assert_refused(root, DamagedFileError, *parts)
    flip(root / TABLE)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("changed")
    (root / PREPARED).unlink()
    (root / PREPARED).symlink_to(elsewhere)
    os.utime(elsewhere, ns=(OLDEST, OLDEST))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in ours}
    restored(root)
    for path, (content, time) in before.items():
        assert not path.is_symlink()
        assert path.stat().st_nlink == 1
        assert path.stat().st_mode & 0o200
        assert path.read_bytes() == content
        if path.is_relative_to(root / ".snakemake") or path == root / PREPARED:
            assert path.stat().st_mtime_ns == time
        path.write_bytes(b"another")
    assert elsewhere.read_text() == "changed"
    assert not any(cache.is_damaged(own.md5) for own in _named(root, cache, "dvc.lock"))
    checkpoints = list((root / "checkpoints").rglob("*.safetensors"))
    assert all(path.is_symlink() or path.stat().st_nlink > 1 for path in checkpoints)
    assert not list(root.rglob("*.tmp"))


def test_somebody_elses_files_become_ones_own_since_only_ones_own_can_be_given_a_time(pulled, monkeypatch):
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in _made_by_snakemake(pulled)}
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: os.getuid() + 1)
        restored(pulled)
    for path, (inode, content) in before.items():
        assert path.stat().st_ino != inode
        assert path.read_bytes() == content


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_root_takes_no_files_away_from_their_owner(pulled):
    for path in _made_by_snakemake(pulled):
        os.chown(path, 12345, -1)
    owned = _made_by_snakemake(pulled)
    restored(pulled)
    assert {path.stat().st_uid for path in owned} == {12345}


def test_a_protected_file_can_be_written_again_and_keeps_the_time_of_its_change(pulled):
    for path in (pulled / TABLE, pulled / METADATA):
        path.chmod(0o444)
    (pulled / METADATA).parent.joinpath("own").write_text("made here")
    (pulled / METADATA).parent.joinpath("own").chmod(0o444)
    before = times(pulled)
    restored(pulled)
    for path in (pulled / TABLE, pulled / METADATA, (pulled / METADATA).parent / "own"):
        assert path.stat().st_mode & 0o200
        assert path.stat().st_mtime_ns == before[path]


def resume(root, path):
    return root / "results/runs" / path / ".resume"


def remembered(root, path):
    record = json.loads((root / "results/runs" / path / "run.json").read_text())
    return find_finished(resume(root, path), record["spec_digest"], pytest.fail), record


def test_runs_get_back_what_lets_a_redo_put_their_files_back(pulled, snapshot):
    assert not list(pulled.rglob(".resume"))
    restored(pulled)
    for path in RUNS:
        found, record = remembered(pulled, path)
        assert found == Finished(record, is_restored=True)
        kept = resume(pulled, path) / "trajectory.parquet"
        assert kept.read_bytes() == (pulled / "results/runs" / path / "trajectory.parquet").read_bytes()
    before = snapshot(pulled)
    assert "runs: 0 restored" in restored(pulled)
    assert snapshot(pulled) == before


def test_a_run_that_finished_here_stays_one(pulled):
    _, record = remembered_record(pulled)
    keep_finished(resume(pulled, ALONE), Finished(record), pulled / "results/runs" / ALONE / "trajectory.parquet")
    before = (resume(pulled, ALONE) / "finished.json").read_bytes()
    assert "runs: 2 restored" in restored(pulled)
    assert (resume(pulled, ALONE) / "finished.json").read_bytes() == before


@pytest.mark.parametrize("damage", ["altered", "absent"])
def test_a_run_that_lost_the_trajectory_it_kept_gets_it_back(pulled, damage):
    _, record = remembered_record(pulled)
    declared = pulled / "results/runs" / ALONE / "trajectory.parquet"
    keep_finished(resume(pulled, ALONE), Finished(record), declared)  # it finished here
    kept = resume(pulled, ALONE) / "trajectory.parquet"
    kept.unlink()
    if damage == "altered":
        kept.write_text("another")
    assert "runs: 3 restored" in restored(pulled)
    assert kept.read_bytes() == declared.read_bytes()
    assert not find_finished(kept.parent, record["spec_digest"], print).is_restored
    assert "runs: 0 restored" in restored(pulled)


def remembered_record(root):
    path = root / "results/runs" / ALONE / "run.json"
    return path, json.loads(path.read_text())


@pytest.mark.parametrize("change", [{"spec": {"seed": 1}, "spec_digest": digest({"seed": 1})}, {"attempts": 2}, None])
def test_what_is_kept_of_another_or_of_nothing_gives_way_to_the_run_that_was_pulled(pulled, change):
    """As where the same run was trained here before results were pulled."""
    _, record = remembered_record(pulled)
    other = pulled / "other.parquet"
    other.write_text("losses of another")
    keep_finished(resume(pulled, ALONE), Finished({**record, **(change or {})}), other)
    if change is None:
        (resume(pulled, ALONE) / "finished.json").write_text("{")
    restored(pulled)
    assert remembered(pulled, ALONE)[0] == Finished(record, is_restored=True)
    kept = resume(pulled, ALONE) / "trajectory.parquet"
    assert kept.read_bytes() == (pulled / "results/runs" / ALONE / "trajectory.parquet").read_bytes()


@pytest.mark.parametrize("damage", ["altered", "absent"])
def test_a_trajectory_that_is_not_the_records_is_named(pulled, assert_refused, damage):
    path = pulled / "results/runs" / SELECTED / "trajectory.parquet"
    path.unlink()
    if damage == "altered":
        path.write_text("another")
    parts = (f"{path}: absent, or not what run.json says", f"delete {path.parent}", "results/runs/digits/stl.digits1")
    assert_refused(pulled, DamagedFileError, "nothing was restored:\n", *parts)


def test_a_damaged_record_is_named(pulled, assert_refused):
    path, record = remembered_record(pulled)
    write_json(path, {**record, "run": SELECTED})
    assert_refused(pulled, DamagedFileError, f"{path}: damaged record of a run", "`dvc pull`")


def test_a_restored_run_is_not_trained_again_and_its_model_can_be_used(pulled, monkeypatch, prepared_file, shared):
    (pulled / f"checkpoints/{TRAINED}.safetensors").unlink()
    restored(pulled)
    path = pulled / "results/runs" / TRAINED / "run.json"
    record, trajectory = json.loads(path.read_text()), (path.parent / "trajectory.parquet").read_bytes()
    for name in ("run.json", "trajectory.parquet"):
        (path.parent / name).unlink()
    monkeypatch.setattr(Engine, "step", lambda *_: pytest.fail("a step was taken"))
    assert run(Job(TRAINED, record["spec"], prepared_file, pulled, "cpu")) == record
    assert (path.parent / "trajectory.parquet").read_bytes() == trajectory
    found, expected = load_checkpoint(record, 3, pulled), load_checkpoint(record, 3, shared / "root")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_an_older_run_counts_beside_the_checkpoints_of_a_newer_one_in_its_place(
    pulled, shared, monkeypatch, make_spec, prepared_file
):
    newer = Job(TRAINED, make_spec(learning_rate=0.02), prepared_file, pulled, "cpu")
    threads = torch.get_num_threads()
    packed = pulled / run(newer)["checkpoints"][0]["path"]
    torch.set_num_threads(threads)
    here = packed.read_bytes()
    for name in ("run.json", "trajectory.parquet"):
        shutil.copy(shared / "root/results/runs" / TRAINED / name, newer.folder)
    assert "runs: 3 restored" in restored(pulled)
    record = json.loads((newer.folder / "run.json").read_text())
    monkeypatch.setattr(Engine, "step", lambda *_: pytest.fail("a step was taken"))
    assert run(Job(TRAINED, record["spec"], prepared_file, pulled, "cpu")) == record
    assert packed.read_bytes() == here
    found, expected = load_checkpoint(record, 3, pulled), load_checkpoint(record, 3, shared / "root")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_snakemake_is_not_disturbed(pulled, assert_refused):
    (pulled / ".snakemake/locks").mkdir()
    (pulled / ".snakemake/locks/0.output.lock").touch()
    assert_refused(pulled, BusyError, "Snakemake is at work here")


@pytest.mark.usefixtures("without_dvc")
def test_without_dvc_nothing_is_touched(pulled, assert_refused):
    assert_refused(pulled, TasktraceError, "DVC is not installed here")


@pytest.mark.usefixtures("without_dvc")
def test_results_that_were_copied_without_dvc_count_too(pulled):
    for pointer in ("dvc.lock", "prepared.dvc", "checkpoints.dvc"):
        (pulled / pointer).unlink()
    shutil.rmtree(pulled / ".dvc")
    assert restored(pulled)[:3] == ["files: 0 are what git names", "runs: 3 restored", "digits: 2 of 25 runs done"]


def test_where_nothing_was_pulled_it_is_told(root):
    _write_study(root)
    assert restored(root) == ["files: 0 are what git names", "runs: 0 restored", "digits: 0 of 25 runs done"]


def test_the_verb_takes_another_study(pulled, monkeypatch, capsys):
    monkeypatch.chdir(pulled)
    (pulled / "more.yaml").write_text("seeds: [0, 1]\n")
    assert main(["restore", "--config", "more.yaml"]) == 0
    out = capsys.readouterr().out
    assert "runs: 3 restored" in out
    assert "digits: 2 of 20 runs done" in out
    remaining = pulled / "results/runs" / ALONE / "run.json"
    remaining.write_text("{")
    assert main(["restore"]) == 1
    assert f"tasktrace: {remaining.relative_to(pulled)}: damaged record" in capsys.readouterr().err
