"""What names data, checkpoints and results: as DVC names them, with nothing lost of what others wrote into entries."""

import random
import shutil
import unicodedata
from pathlib import Path

import pytest
import yaml

from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest
from tasktrace.versioning.pointers import Content, content_of, forget, is_named, name_content, read_pointer

REPOSITORY = Path(__file__).resolve().parents[2]
COMMENT = "# What this study stands on.\n# Two lines of it.\n"
SOME = Content("0123456789abcdef0123456789abcdef.dir", 30, 2)


def _random_names():
    """Paths of the letters that a listing could be ordered, split or escaped by."""
    rng = random.Random(0)
    letters = "ab-.,_ 09AZ~!'\"\\\t\n#é\u0301\u2028\ufffd\U0001f642漢"
    paths = {
        "/".join("x" + "".join(rng.choices(letters, k=rng.randint(0, 3))) for _ in range(rng.randint(1, 3)))
        for _ in range(200)
    }
    folders = {path[:place] for path in paths for place, letter in enumerate(path) if letter == "/"}
    return {path: path.encode() for path in paths - folders}


TREES = {
    "a_file": b"content",
    "an_empty_file": b"",
    "a_file_of_several_blocks": bytes(range(256)) * 9000,
    "a_file_with_carriage_returns": b"one\r\ntwo\r\n",
    "one": {"only": b"1"},
    "an_empty_one": {"full": b"1", "empty": b""},
    "order": {name: b"%d" % number for number, name in enumerate(["a/b", "a-b", "a.b", "a b", "ab", "A", "a0/b/c"])},
    "equal_files": {"one/a": b"same", "two/a": b"same", "a": b"same"},
    "hidden": {".hidden": b"1", ".folder/file": b"2", "file": b"3"},
    "letters": {name: name.encode() for name in ["naïve", "zoo", "漢字/汉", "🙂", "\ufffd", "quo\"te'", "back\\slash"]},
    "accents": {unicodedata.normalize(form, "é"): form.encode() for form in ("NFC", "NFD")},
    "a_clone": {"data/a": b"1", ".git/config": b"2", "data/.git/config": b"3", ".hg/hgrc": b"4"},
    "left_behind": {
        "file": b"1",
        ".file.4711.tmp": b"2",
        "folder/.x.tmp": b"3",
        ".folder.tmp/file": b"4",
        "__pycache__/module.pyc": b"5",
        "folder/.resume/state": b"6",
        ".refit/heads/state": b"7",
        "folder/.dvc/config": b"8",
    },
    "not_left_behind": {
        "file.tmp": b"1",
        "folder/__pycache__": b"2",
        ".resume": b"3",
        ".x.tmp2": b"4",
        "a.resume/b": b"5",
    },
    "random": _random_names(),
}
"""Files by their content, folders by those of the files below."""


def _write(place, tree):
    if isinstance(tree, bytes):
        place.write_bytes(tree)
        return
    for name, content in tree.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture(scope="module")
def named_by_dvc(tmp_path_factory, dvc):
    """A repository with all trees, each named by DVC in a pointer file of its own; DVC leaves out what it does here."""
    folder = tmp_path_factory.mktemp("named")
    dvc(folder, "init", "--quiet", "--no-scm")
    shutil.copy(REPOSITORY / ".dvcignore", folder)
    for name, tree in TREES.items():
        _write(folder / name, tree)
    (folder / "nothing").mkdir()
    (folder / "links/below").mkdir(parents=True)
    (folder / "links/file").write_bytes(b"1")
    (folder / "links/link").symlink_to("../a_file")
    (folder / "links/below/folder").symlink_to("../../order")
    dvc(folder, "add", "--quiet", *TREES, "nothing", "links")
    return folder


@pytest.mark.parametrize("name", [*TREES, "nothing", "links"])
def test_content_is_named_as_dvc_names_it(named_by_dvc, name):
    [out] = yaml.safe_load((named_by_dvc / f"{name}.dvc").read_text())["outs"]
    found = content_of(named_by_dvc / name)
    assert (found.md5, found.size, found.files) == (out["md5"], out["size"], out.get("nfiles", 1))
    assert read_pointer(named_by_dvc / f"{name}.dvc") == {name: found.md5}


def test_every_tree_is_another(named_by_dvc):
    assert len({content_of(named_by_dvc / name).md5 for name in TREES}) == len(TREES)
    assert content_of(named_by_dvc / "a_clone").files == 1
    assert content_of(named_by_dvc / "random").files > 100


def test_what_is_named_here_is_what_dvc_would_write(root, dvc):
    """So that DVC, when it gets the content, changes nothing of what was committed."""
    for name in ("order", "a_file"):
        _write(root / name, TREES[name])
        name_content(root / "data.dvc", name, content_of(root / name))
    written = (root / "data.dvc").read_text()
    dvc(root, "add", "--quiet", "order", "a_file")
    assert (root / "data.dvc").read_text() == written
    assert "up to date" in dvc(root, "status")


def test_what_is_not_known_yet_is_found_out_by_dvc(root, dvc):
    for name in ("order", "letters"):
        _write(root / name, TREES[name])
        name_content(root / "data.dvc", name)
    assert read_pointer(root / "data.dvc") == {"order": None, "letters": None}
    dvc(root, "add", "--quiet", "order", "letters")
    assert read_pointer(root / "data.dvc") == {name: content_of(root / name).md5 for name in ("order", "letters")}


@pytest.fixture
def pointer(tmp_path):
    """A pointer file with a comment, two folders, and keys of its owner's."""
    path = tmp_path / "data.dvc"
    content = {
        "outs": [
            {"md5": "a" * 32 + ".dir", "size": 1, "nfiles": 1, "hash": "md5", "path": "data/raw/celeba", "push": False},
            {"md5": "b" * 32, "size": 2, "hash": "md5", "path": "data/raw/naïve.csv", "desc": "one file: ours"},
        ],
        "meta": {"owner": "ours"},
        "desc": "raw data",
    }
    path.write_text(COMMENT + yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


def test_a_new_name_keeps_the_others_the_keys_and_the_comment(pointer):
    before = yaml.safe_load(pointer.read_text())
    name_content(pointer, "data/raw/fashion", SOME)
    after = yaml.safe_load(pointer.read_text())
    entry = {"md5": SOME.md5, "size": 30, "nfiles": 2, "hash": "md5", "path": "data/raw/fashion"}
    assert after == {**before, "outs": [*before["outs"], entry]}
    assert list(after) == list(before)
    assert pointer.read_text().startswith(COMMENT + "outs:\n")
    assert pointer.read_text().count("#") == 2


def test_another_content_takes_the_place_of_the_one_before_and_leaves_the_entry_its_owners_keys(pointer):
    before = yaml.safe_load(pointer.read_text())["outs"]
    name_content(pointer, "data/raw/celeba", SOME)
    name_content(pointer, "data/raw/naïve.csv")
    after = yaml.safe_load(pointer.read_text())["outs"]
    assert after == [
        {**before[0], "md5": SOME.md5, "size": 30, "nfiles": 2},
        {"hash": "md5", "path": "data/raw/naïve.csv", "desc": "one file: ours"},
    ]
    assert read_pointer(pointer) == {"data/raw/celeba": SOME.md5, "data/raw/naïve.csv": None}


def test_a_file_has_no_number_of_files(tmp_path):
    name_content(tmp_path / "data.dvc", "a.csv", Content("c" * 32, 5, 1))
    expected = {"md5": "c" * 32, "size": 5, "hash": "md5", "path": "a.csv"}
    assert yaml.safe_load((tmp_path / "data.dvc").read_text()) == {"outs": [expected]}


def test_forgetting_takes_the_named_paths_alone(pointer):
    before = yaml.safe_load(pointer.read_text())
    forget(pointer, {"data/raw/celeba", "data/raw/unheard_of"})
    assert yaml.safe_load(pointer.read_text()) == {**before, "outs": before["outs"][1:]}
    forget(pointer, set(read_pointer(pointer)))
    assert read_pointer(pointer) == {}
    assert pointer.read_text().startswith(COMMENT)


def test_nothing_is_left_of_a_name_that_could_not_be_written(pointer, monkeypatch):
    before = pointer.read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        name_content(pointer, "data/raw/fashion", SOME)
    assert pointer.read_bytes() == before
    assert [path.name for path in pointer.parent.iterdir()] == ["data.dvc"]


@pytest.mark.parametrize("text", ["", COMMENT, "outs: []\n", "outs:\n", COMMENT + "outs:\n", "schema: '2.0'\n"])
def test_a_pointer_file_may_name_nothing(tmp_path, text):
    path = tmp_path / "data.dvc"
    assert read_pointer(path) == {}
    path.write_text(text)
    assert read_pointer(path) == {}
    name_content(path, "a", SOME)
    assert read_pointer(path) == {"a": SOME.md5}


def test_the_outputs_of_all_stages_of_a_lock_are_read(root, dvc):
    (root / "dvc.yaml").write_text(
        "stages:\n"
        "  one: {cmd: mkdir made && echo 1 > made/a, outs: [made]}\n"
        "  two: {cmd: echo 2 > b, deps: [made], outs: [b]}\n"
        "  three: {cmd: echo 3, always_changed: true}\n"
    )
    dvc(root, "repro", "--quiet")
    assert read_pointer(root / "dvc.lock") == {
        "made": content_of(root / "made").md5,
        "b": file_digest(root / "b", "md5"),
    }


@pytest.mark.parametrize(
    "text",
    [
        "outs: 3\n",
        "outs: [a, b]\n",
        "outs: [{md5: abc}]\n",
        "outs: {path: a}\n",
        "- a\n",
        "just words\n",
        "stages: [1]\n",
        "stages:\n",
        "stages: {a: [1]}\n",
        "outs: [\n",
        "outs:\n\t- a\n",
        "<<<<<<< ours\nouts: []\n=======\nouts: []\n>>>>>>> theirs\n",
    ],
)
def test_what_is_no_pointer_file_is_named_with_the_remedy(tmp_path, text):
    path = tmp_path / "data.dvc"
    path.write_text(text)
    for use in (read_pointer, lambda file: name_content(file, "a"), lambda file: forget(file, {"a"})):
        with pytest.raises(DamagedFileError) as caught:
            use(path)
        assert str(caught.value).startswith(f"{path}: expected a file of DVC with `outs`")
        assert f"`git checkout {path}`" in str(caught.value)
    assert path.read_text() == text


def test_bytes_that_are_no_text_are_named(tmp_path):
    path = tmp_path / "data.dvc"
    path.write_bytes(b"outs: [\xff]")
    with pytest.raises(DamagedFileError, match="expected a file of DVC"):
        read_pointer(path)


def test_content_is_held_against_its_name(pointer):
    name_content(pointer, "data/raw/fashion", SOME)
    name_content(pointer, "data/raw/cifar100")
    assert is_named(pointer, "data/raw/fashion", SOME)
    assert not is_named(pointer, "data/raw/cifar100", SOME)
    assert not is_named(pointer, "data/raw/unheard_of", SOME)
    other = Content("f" * 32 + ".dir", 1234567, 3)
    with pytest.raises(DataError) as caught:
        is_named(pointer, "data/raw/fashion", other)
    for expected in ("data/raw/fashion: ", SOME.md5, other.md5, "3 files with 1,234,567 bytes", "`dvc pull data/raw/"):
        assert expected in str(caught.value)
