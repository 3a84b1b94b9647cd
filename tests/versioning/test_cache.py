"""What DVC's cache says of what is named, and whether it is whole."""

import shutil

import pytest

from tasktrace.files import file_digest
from tasktrace.versioning.cache import Cache, Named
from tasktrace.versioning.pointers import content_of, read_pointer

FILES = {"a/b": b"1", "a-b": b"2", "naïve": b"3", "empty": b""}


@pytest.fixture(scope="module")
def filled(tmp_path_factory, empty, dvc):
    """A repository with a folder and a file, which two pointer files name; nobody may change it."""
    root = tmp_path_factory.mktemp("filled") / "root"
    shutil.copytree(empty, root)
    for name, content in FILES.items():
        path = root / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "file").write_bytes(b"4")
    dvc(root, "add", "--quiet", "folder", "file")
    return root


@pytest.fixture
def root(filled, tmp_path):
    """A copy of it."""
    shutil.copytree(filled, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def cache(root):
    """Its cache."""
    return Cache(root / ".dvc/cache")


def md5(root, name):
    return read_pointer(root / f"{name}.dvc")[name]


def test_a_folder_consists_of_its_files(cache, root):
    found = cache.content(root / "folder", md5(root, "folder"))
    assert sorted(own.path for own in found) == sorted(root / "folder" / name for name in FILES)
    for named in found:
        assert named.md5 == file_digest(named.path, "md5")
        assert cache.object(named.md5).read_bytes() == named.path.read_bytes()
        assert not cache.is_damaged(named.md5)


def test_a_file_is_itself_wherever_its_content_is(cache, root):
    assert cache.content(root / "file", md5(root, "file")) == [Named(root / "file", file_digest(root / "file", "md5"))]
    assert cache.content(root / "other", "0" * 32) == [Named(root / "other", "0" * 32)]


def test_without_a_listing_there_is_no_saying(cache, root):
    name = md5(root, "folder")
    cache.object(name).unlink()
    assert cache.content(root / "folder", name) is None
    assert not cache.is_damaged(name)
    shutil.rmtree(root / ".dvc/cache")
    assert cache.content(root / "folder", name) is None


@pytest.mark.parametrize("name", ["folder", "file"])
def test_damage_is_seen(cache, root, flip, name):
    own = md5(root, name)
    assert own == content_of(root / name).md5
    assert not cache.is_damaged(own)
    flip_or_empty = flip if name == "folder" else lambda path: (path.chmod(0o644), path.write_bytes(b""))
    flip_or_empty(cache.object(own))
    assert cache.is_damaged(own)
    if name == "folder":
        assert cache.content(root / "folder", own) is None
