"""What is given to DVC, what is refused, and that a refusal changes nothing."""

import json
import shutil

import pytest
import yaml

from tasktrace.cli import main
from tasktrace.errors import BusyError, DamagedFileError, DataError, TasktraceError
from tasktrace.training.checkpoints import keep_final, load_checkpoint
from tasktrace.training.finals import final_path, read_final
from tasktrace.versioning.archive import archive
from tasktrace.versioning.cache import Cache
from tasktrace.versioning.pointers import content_of, forget, name_content, naming, read_pointer

FINALS = "checkpoints/final-epochs"
ONE, TWO = "digits/stl.digits1/adam/selected/seed0", "digits/stl.digits1/adam/selected/seed1"
SWEPT = "digits/stl.digits1/adam/lr0.005_bs16/seed0"
OTHER = "fashion/stl.fashion1/adam/selected/seed0"
NOTES = {"desc": "ours: # one", "meta": {"licence": "none"}}


@pytest.fixture(scope="session")
def templates(tmp_path_factory, empty, write_run):
    """Repositories in which nothing, final epochs and whole trajectories were archived; nobody may change them.

    They have raw and prepared data and four runs, one of them without checkpoints.
    """
    folder = tmp_path_factory.mktemp("templates")
    shutil.copytree(empty, folder / "fresh")
    for number, path in enumerate([ONE, TWO, OTHER]):
        write_run(folder / "fresh", path, value=float(number))
    write_run(folder / "fresh", SWEPT, epochs=())
    for path in ("data/raw/fashion/images", "data/prepared/digits.safetensors", "data/prepared/fashion.safetensors"):
        (folder / "fresh" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "fresh" / path).write_text(path)
    raw = content_of(folder / "fresh/data/raw/fashion")
    name_content(folder / "fresh/data.dvc", "data/raw/fashion", raw)
    for name, trajectories in (("finals", False), ("trajectories", True)):
        shutil.copytree(folder / "fresh", folder / name)
        archived(folder / name, trajectories)
    return folder


@pytest.fixture
def copy_of(templates, tmp_path):
    """A function that copies one of the repositories for the test."""

    def copy(name):
        shutil.copytree(templates / name, tmp_path / "root")
        return tmp_path / "root"

    return copy


@pytest.fixture
def fresh(copy_of):
    """A repository in which nothing was archived yet."""
    return copy_of("fresh")


@pytest.fixture
def finals(copy_of):
    """A repository in which final epochs were archived."""
    return copy_of("finals")


@pytest.fixture
def trajectories(copy_of):
    """A repository in which whole trajectories were archived too."""
    return copy_of("trajectories")


def record_of(root, path):
    return json.loads((root / "results/runs" / path / "run.json").read_text())


def records_of(root):
    return [record_of(root, path) for path in (ONE, TWO, OTHER)]


def archived(root, trajectories=None):
    """What was said while archiving."""
    said = []
    archive(root, trajectories, said.append)
    return said


@pytest.fixture
def assert_refused(snapshot):
    """A function that archives, sees it refused for all of some reasons, and that nothing has changed."""

    def check(root, kind, *parts, trajectories=None):
        before = snapshot(root)
        with pytest.raises(kind) as caught:
            archived(root, trajectories)
        for part in parts:
            assert part in str(caught.value)
        assert snapshot(root) == before

    return check


def names(root, pointer="checkpoints.dvc"):
    return set(read_pointer(root / pointer))


def take_away(root, path, *which):
    """A run's files, packed, final or both, as if they had never been pulled."""
    record = record_of(root, path)
    for own in which:
        (root / (record["checkpoints"][0]["path"] if own == "packed" else final_path(record))).unlink()


def test_final_epochs_and_data_are_archived(finals):
    expected = {"data.dvc": {"data/raw/fashion"}, "prepared.dvc": {"data/prepared"}, "checkpoints.dvc": {FINALS}}
    cache = Cache(finals / ".dvc/cache")
    for pointer, paths in expected.items():
        assert names(finals, pointer) == paths
        for path, md5 in read_pointer(finals / pointer).items():
            assert md5 == content_of(finals / path).md5
            kept = cache.content(finals / path, md5)
            files = [own for own in (finals / path).rglob("*") if own.is_file()]
            assert sorted(own.path for own in kept) == sorted(files)
            assert all(cache.object(own.md5).read_bytes() == own.path.read_bytes() for own in kept)
    for record in records_of(finals):
        assert {name.partition("/")[0] for name in read_final(record, finals)} == {"epoch00001", "epoch00002"}


def test_final_epochs_that_are_there_are_not_written_again(fresh):
    keep_final(record_of(fresh, ONE), fresh)
    inode = (fresh / final_path(record_of(fresh, ONE))).stat().st_ino
    assert archived(fresh) == ["checkpoints/final-epochs: 2 of 3 runs are new"]
    assert archived(fresh) == ["checkpoints/final-epochs: 0 of 3 runs are new"]
    assert (fresh / final_path(record_of(fresh, ONE))).stat().st_ino == inode
    assert names(fresh) == {FINALS}  # trajectories are not archived unasked


def test_trajectories_are_archived_until_they_are_no_longer_asked_for(trajectories, dvc):
    everything = {FINALS, "checkpoints/digits", "checkpoints/fashion"}
    assert names(trajectories) == everything
    archived(trajectories)
    assert names(trajectories) == everything
    assert "up to date" in dvc(trajectories, "status")
    archived(trajectories, trajectories=False)
    assert names(trajectories) == {FINALS}
    assert (trajectories / f"checkpoints/{ONE}.safetensors").exists()


def test_trajectories_of_runs_that_have_no_records_are_given_up_with_the_others(trajectories):
    shutil.rmtree(trajectories / "results/runs/fashion")
    archived(trajectories, trajectories=False)
    assert names(trajectories) == {FINALS}
    archived(trajectories)
    assert names(trajectories) == {FINALS}


def test_what_else_the_files_say_stays(finals):
    for pointer in ("data.dvc", "prepared.dvc", "checkpoints.dvc"):
        path = finals / pointer
        content = yaml.safe_load(path.read_text())
        content["outs"][0] |= NOTES
        path.write_text(f"# Ours.\n{yaml.safe_dump({**content, 'meta': {'owner': 'us'}}, sort_keys=False)}")
    name_content(finals / "data.dvc", "data/raw/celeba")  # named by another, and not here
    archived(finals)
    for pointer in ("data.dvc", "prepared.dvc", "checkpoints.dvc"):
        assert (finals / pointer).read_text().startswith("# Ours.\nouts:\n")
        after = yaml.safe_load((finals / pointer).read_text())
        assert after["meta"] == {"owner": "us"}
        assert NOTES.items() <= after["outs"][0].items()
    assert read_pointer(finals / "data.dvc")["data/raw/celeba"] is None


def test_another_machine_gets_a_model_without_its_trajectory(trajectories, tmp_path, dvc):
    dvc(trajectories, "push", "--quiet")
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(trajectories, elsewhere, ignore=shutil.ignore_patterns("cache", "tmp", "checkpoints", "data"))
    dvc(elsewhere, "pull", "--quiet", FINALS)
    assert not (elsewhere / "checkpoints/digits").exists()
    for record in records_of(elsewhere):
        for epoch in (1, 2):
            assert load_checkpoint(record, epoch, elsewhere)["bias"].item() == epoch
        with pytest.raises(DamagedFileError, match="this checkpoint file is absent"):
            load_checkpoint(record, 0, elsewhere)


def test_every_damaged_checkpoint_is_named_and_nothing_is_archived(fresh, flip, assert_refused):
    paths = [fresh / f"checkpoints/{path}.safetensors" for path in (ONE, OTHER)]
    for path in paths:
        flip(path)
    assert_refused(fresh, DamagedFileError, "nothing was archived:\n", *(f"{path}: damaged" for path in paths))


@pytest.mark.parametrize("packed", ["here", "elsewhere"])
def test_a_damaged_file_of_final_epochs_is_named_and_does_not_take_the_whole_ones_place(
    finals, flip, assert_refused, packed
):
    path = finals / final_path(record_of(finals, ONE))
    flip(path)
    if packed == "elsewhere":
        take_away(finals, ONE, "packed")
    assert_refused(finals, DamagedFileError, "nothing was archived:\n", f"{path}: damaged, or of another run")


def test_a_file_of_final_epochs_that_was_deleted_is_made_anew_where_the_checkpoints_are(finals):
    before = read_pointer(finals / "checkpoints.dvc")
    take_away(finals, ONE, "final")
    assert archived(finals)[0].startswith("checkpoints/final-epochs: 1 of 3")
    assert read_pointer(finals / "checkpoints.dvc") == before


def test_a_run_that_was_trained_anew_is_archived_anew_beside_one_whose_final_epochs_alone_are_here(finals, write_run):
    before = read_pointer(finals / "checkpoints.dvc")
    take_away(finals, TWO, "packed")
    record = write_run(finals, ONE, value=7.0)
    assert archived(finals)[0].startswith("checkpoints/final-epochs: 1 of 3")
    assert read_final(record, finals)["epoch00002/weight"].tolist() == [7.0] * 4
    assert read_final(record_of(finals, TWO), finals)
    assert read_pointer(finals / "checkpoints.dvc") != before


def test_snakemake_is_not_disturbed(fresh, assert_refused):
    (fresh / ".snakemake/locks").mkdir(parents=True)
    (fresh / ".snakemake/locks/0.input.lock").touch()
    assert_refused(fresh, BusyError, "Snakemake is at work here")


@pytest.mark.usefixtures("without_dvc")
def test_without_dvc_nothing_is_begun(fresh, assert_refused):
    assert_refused(fresh, TasktraceError, "DVC is not installed here")


def test_without_git_nothing_is_begun(fresh, assert_refused):
    (fresh / ".dvc/config").write_text("[core]\n    analytics = false\n")
    assert_refused(fresh, TasktraceError, "no git repository")


def test_raw_data_is_shared_before_there_is_a_run(fresh):
    for name in ("results", "checkpoints", "data/prepared"):
        shutil.rmtree(fresh / name)
    assert archived(fresh) == ["checkpoints/final-epochs: 0 of 0 runs are new"]
    md5 = read_pointer(fresh / "data.dvc")["data/raw/fashion"]
    assert Cache(fresh / ".dvc/cache").object(md5).exists()
    assert not (fresh / "checkpoints.dvc").exists()


def test_while_it_works_nothing_else_is_named(fresh, monkeypatch):
    monkeypatch.setattr("tasktrace.versioning.pointers._PATIENCE", 0.1)

    def say(_):
        with pytest.raises(BusyError, match=r"data.dvc, .*: process \d+ on .* is fetching or archiving"), naming(fresh):
            pass

    archive(fresh, None, say)
    with naming(fresh):
        pass


def test_while_something_is_named_nothing_is_archived(fresh, held_elsewhere, assert_refused, monkeypatch):
    monkeypatch.setattr("tasktrace.versioning.pointers._PATIENCE", 0.1)
    with held_elsewhere(fresh / "logs/pointers.lock"):
        assert_refused(fresh, BusyError, "process 4711 on elsewhere is fetching or archiving; wait for it")


@pytest.mark.parametrize("change", ["text", "moved", "parts"])
def test_a_damaged_record_is_named(fresh, assert_refused, change):
    record = record_of(fresh, ONE)
    path = fresh / "results/runs" / (ONE if change != "moved" else "digits/elsewhere") / "run.json"
    path.parent.mkdir(exist_ok=True)
    content = {"text": "{", "moved": json.dumps(record), "parts": json.dumps({**record, "checkpoints": None})}
    path.write_text(content[change])
    assert_refused(fresh, DamagedFileError, f"{path}: damaged record of a run")


@pytest.mark.parametrize("has_run", [True, False])
def test_where_neither_data_nor_checkpoints_are_it_is_told(root, write_run, assert_refused, has_run):
    if has_run:
        write_run(root, SWEPT, epochs=())
    assert_refused(root, DataError, f"{root}: neither data nor checkpoints are here to archive")


def test_where_dvc_fails_nothing_has_another_name_or_none(trajectories, capfd):
    pointers = [trajectories / name for name in ("data.dvc", "checkpoints.dvc")]
    (trajectories / "prepared.dvc").unlink()
    before = [path.read_text() for path in pointers]
    (trajectories / "dvc.yaml").write_text("stages: 3\n")
    with pytest.raises(TasktraceError, match=r"^`dvc add data/raw/fashion .* failed; its own message is above"):
        archived(trajectories, trajectories=False)
    assert "dvc.yaml" in capfd.readouterr().err
    assert [path.read_text() for path in pointers] == before
    assert not (trajectories / "prepared.dvc").exists()


def missing(path, pointer, example):
    """What is said of a folder that has lost one of the files that are named."""
    return (
        f"{path}: 1 files that {pointer} names are not here, such as {example}, and would be left out of it",
        f"`dvc pull {path}`",
        f"take its entry out of {pointer}",
    )


def test_trajectories_that_are_elsewhere_are_not_forgotten(trajectories, assert_refused):
    take_away(trajectories, TWO, "packed")
    said = missing("checkpoints/digits", "checkpoints.dvc", f"checkpoints/{TWO}.safetensors")
    assert_refused(trajectories, DataError, *said)
    archived(trajectories, trajectories=False)  # a way out
    assert names(trajectories) == {FINALS}


def test_trajectories_of_which_none_is_here_stay_as_they_are_named(trajectories):
    before = read_pointer(trajectories / "checkpoints.dvc")
    take_away(trajectories, OTHER, "packed")
    archived(trajectories)
    assert read_pointer(trajectories / "checkpoints.dvc") == before


@pytest.mark.parametrize("has_record", [True, False], ids=["with its record", "without"])
def test_final_epochs_that_are_elsewhere_are_not_forgotten(trajectories, assert_refused, has_record):
    take_away(trajectories, TWO, "packed", "final")
    if not has_record:
        shutil.rmtree(trajectories / "results/runs" / TWO)
    said = missing(FINALS, "checkpoints.dvc", f"{FINALS}/{TWO}.safetensors")
    assert_refused(trajectories, DataError, *said, trajectories=False)
    forget(trajectories / "checkpoints.dvc", {FINALS})  # a way out
    archived(trajectories, trajectories=False)
    kept = Cache(trajectories / ".dvc/cache").content(
        trajectories, read_pointer(trajectories / "checkpoints.dvc")[FINALS]
    )
    assert [own.path.name for own in kept] == ["seed0.safetensors"] * 2


def test_final_epochs_that_were_never_pulled_are_not_forgotten_where_a_run_is_new(finals, assert_refused, write_run):
    """Of them there are neither files nor records here, nor does the cache say which they were."""
    for name in (".dvc/cache", "checkpoints", "results"):
        shutil.rmtree(finals / name)
    write_run(finals, SWEPT)
    said = (
        f"{FINALS}: not what checkpoints.dvc names",
        f"`dvc fetch {FINALS}`",
        "take its entry out of checkpoints.dvc",
    )
    assert_refused(finals, DataError, *said)


@pytest.mark.parametrize("is_listed", [True, False], ids=["with its listing", "as in a clone"])
def test_a_new_run_is_archived_beside_those_that_are_here(finals, write_run, is_listed):
    if not is_listed:
        shutil.rmtree(finals / ".dvc/cache")
    write_run(finals, SWEPT)
    assert archived(finals) == ["checkpoints/final-epochs: 1 of 4 runs are new"]
    md5 = read_pointer(finals / "checkpoints.dvc")[FINALS]
    assert len(Cache(finals / ".dvc/cache").content(finals / FINALS, md5)) == 4


def test_what_was_lost_is_fetched_beside_what_is_new_as_the_refusal_says(trajectories, dvc, write_run, assert_refused):
    dvc(trajectories, "push", "--quiet")
    for name in (".dvc/cache", "results/runs/digits", f"checkpoints/{TWO}.safetensors"):
        path = trajectories / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    write_run(trajectories, SWEPT)
    assert_refused(trajectories, DataError, "checkpoints/digits: not what", "`dvc fetch checkpoints/digits`")
    dvc(trajectories, "fetch", "--quiet", "checkpoints/digits")
    example = f"checkpoints/{TWO}.safetensors"
    assert_refused(
        trajectories, DataError, *missing("checkpoints/digits", "checkpoints.dvc", example), f"`dvc pull {example}`"
    )
    dvc(trajectories, "pull", "--quiet", example)
    archived(trajectories)
    md5 = read_pointer(trajectories / "checkpoints.dvc")["checkpoints/digits"]
    assert len(Cache(trajectories / ".dvc/cache").content(trajectories, md5)) == 3


def test_final_epochs_of_other_checkpoints_do_not_stand_for_those_that_are_elsewhere(finals, write_run, assert_refused):
    """As where new results were pulled, and new checkpoints were not."""
    write_run(finals, ONE, value=7.0)
    take_away(finals, ONE, "packed")
    said = f"{FINALS}: 1 runs' files are not of the checkpoints that run.json names, such as that of {ONE}"
    assert_refused(finals, DataError, said, f"`dvc pull {FINALS}`", "delete these runs' folders below results/runs")


def test_raw_data_other_than_the_named_is_refused(fresh, assert_refused):
    (fresh / "data/raw/fashion/images").write_text("half")
    assert_refused(fresh, DataError, "data/raw/fashion: not what data.dvc names")
    name_content(fresh / "data.dvc", "data/raw/fashion")
    archived(fresh)
    assert read_pointer(fresh / "data.dvc") == {"data/raw/fashion": content_of(fresh / "data/raw/fashion").md5}


@pytest.mark.parametrize("is_listed", [True, False], ids=["with its listing", "as in a clone"])
def test_prepared_data_is_not_archived_in_part(finals, assert_refused, is_listed):
    if not is_listed:
        shutil.rmtree(finals / ".dvc/cache")
    (finals / "data/prepared/fashion.safetensors").unlink()
    whole = missing("data/prepared", "prepared.dvc", "data/prepared/fashion.safetensors")
    told = ("data/prepared: not what prepared.dvc names", "`dvc fetch data/prepared`", "its entry out of prepared.dvc")
    assert_refused(finals, DataError, *(whole if is_listed else told))


@pytest.mark.parametrize("is_listed", [True, False], ids=["with its listing", "as in a clone"])
def test_prepared_data_that_is_whole_is_archived(finals, is_listed):
    if is_listed:
        (finals / "data/prepared/fashion.safetensors").write_text("prepared anew")
        (finals / "data/prepared/glue.safetensors").write_text("new")
        (finals / "data/corrupted/digits").mkdir(parents=True)
        (finals / "data/corrupted/digits/corrupted.json").write_text("{}")
    else:
        shutil.rmtree(finals / ".dvc/cache")
    archived(finals)
    folders = ["data/prepared", "data/corrupted"][: 1 + is_listed]
    assert read_pointer(finals / "prepared.dvc") == {path: content_of(finals / path).md5 for path in folders}


def test_the_verb_takes_what_is_wanted_of_trajectories(fresh, monkeypatch, capfd):
    monkeypatch.chdir(fresh)
    assert main(["archive", "--trajectories"]) == 0
    assert capfd.readouterr().out.startswith("checkpoints/final-epochs: 3 of 3")
    assert "checkpoints/digits" in names(fresh)
    assert main(["archive", "--no-trajectories"]) == 0
    assert names(fresh) == {FINALS}
    (fresh / "data/raw/fashion/images").write_text("half")
    capfd.readouterr()
    assert main(["archive"]) == 1
    assert capfd.readouterr().err.startswith("tasktrace: data/raw/fashion: not what data.dvc names")
