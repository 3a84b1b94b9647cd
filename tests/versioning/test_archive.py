"""What is given to DVC, what is refused, and that a refusal changes nothing."""

import json
import shutil

import pytest

from tasktrace.cli import main
from tasktrace.errors import BusyError, DamagedFileError, DataError, TasktraceError
from tasktrace.training.checkpoints import keep_final, load_checkpoint
from tasktrace.training.finals import final_path, read_final
from tasktrace.versioning.archive import archive
from tasktrace.versioning.cache import Cache
from tasktrace.versioning.pointers import content_of, name_content, read_pointer

FINALS = "checkpoints/final-epochs"
ONE, TWO = "digits/stl.digits1/adam/selected/seed0", "digits/stl.digits1/adam/selected/seed1"
SWEPT = "digits/stl.digits1/adam/lr0.005_bs16/seed0"
OTHER = "fashion/stl.fashion1/adam/selected/seed0"


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


def test_what_else_the_files_say_stays(finals):
    for pointer in ("data.dvc", "prepared.dvc", "checkpoints.dvc"):
        path = finals / pointer
        path.write_text(f"# Ours.\n{path.read_text()}meta: {{owner: us}}\n")
    name_content(finals / "data.dvc", "data/raw/celeba")  # named by another, and not here
    archived(finals)
    for pointer in ("data.dvc", "prepared.dvc", "checkpoints.dvc"):
        assert (finals / pointer).read_text().startswith("# Ours.\nouts:\n")
        assert "meta:" in (finals / pointer).read_text()
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


def test_without_a_finished_run_there_is_nothing_to_archive(root, assert_refused):
    assert_refused(root, DataError, f"{root}/results/runs: no finished runs to archive", "`dvc repro`")


@pytest.mark.parametrize("change", ["text", "moved", "parts"])
def test_a_damaged_record_is_named(fresh, assert_refused, change):
    record = record_of(fresh, ONE)
    path = fresh / "results/runs" / (ONE if change != "moved" else "digits/elsewhere") / "run.json"
    path.parent.mkdir(exist_ok=True)
    content = {"text": "{", "moved": json.dumps(record), "parts": json.dumps({**record, "checkpoints": None})}
    path.write_text(content[change])
    assert_refused(fresh, DamagedFileError, f"{path}: damaged record of a run")


def test_where_neither_data_nor_checkpoints_are_it_is_told(root, write_run, assert_refused):
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


def test_trajectories_that_are_elsewhere_are_not_forgotten(trajectories, assert_refused):
    for path in (OTHER, TWO):
        take_away(trajectories, path, "packed")
        folder = f"checkpoints/{path.partition('/')[0]}"
        parts = (f"{folder}: 1 runs' checkpoints are not here, such as {path}", f"`dvc pull {folder}`")
        assert_refused(trajectories, DataError, *parts)
    archived(trajectories, trajectories=False)  # the other way out
    assert names(trajectories) == {FINALS}


def test_final_epochs_that_are_elsewhere_are_not_forgotten(trajectories, assert_refused):
    take_away(trajectories, TWO, "packed", "final")
    parts = (f"{FINALS}: 1 runs' checkpoints are not here, such as {TWO}", f"`dvc pull {FINALS}`")
    assert_refused(trajectories, DataError, *parts, trajectories=False)
    shutil.rmtree(trajectories / "results/runs" / TWO)  # the other way out
    archived(trajectories, trajectories=False)
    assert not (trajectories / final_path({"run": TWO})).exists()


def test_final_epochs_of_other_checkpoints_do_not_stand_for_those_that_are_elsewhere(finals, write_run, assert_refused):
    """As where new results were pulled, and new checkpoints were not."""
    write_run(finals, ONE, value=7.0)
    take_away(finals, ONE, "packed")
    assert_refused(finals, DataError, f"{FINALS}: 1 runs' checkpoints are not here, such as {ONE}")


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
    named = "data/prepared: some of the files that prepared.dvc names are not here"
    assert_refused(finals, DataError, named, "`dvc pull data/prepared`")


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
