import functools
import gzip
import hashlib
import http.server
import itertools
import re
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

from tasktrace.errors import DataError
from tasktrace.settings import fashion
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import read_prepared

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "data" / "fashion-mnist"
LETTERS = PUBLISHED.with_name("notmnist")
SIZES = {"train": 25_000, "validation": 5_000, "test": 5_000}
SPEC = {"name": "fashion", "version": 1}
# SHA-256 over the arrays of the three tasks at default sizes.
ARRAYS = "b4ceca2de051af41563b542ff69dccc29d2cd2e1be0f1349f56726bdf9000ec3"
TASKS = ("fashion1", "fashion2", "noisy_fashion")
FOLDER = Path("FashionMNIST/raw")
LETTERS_FOLDER = Path("notMNIST/raw")
LETTERS_NAMES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
NAMES = [name for name, _ in FashionMNIST.resources]


@pytest.fixture(scope="module")
def published():
    if not (PUBLISHED / FOLDER).is_dir():
        pytest.skip(f"no Fashion-MNIST in {PUBLISHED}")
    return PUBLISHED


@pytest.fixture(scope="module")
def tensors(published):
    return fashion.prepare(published, fashion.Options())


@pytest.fixture(scope="module")
def as_torchvision_reads(published, tmp_path_factory):
    """Images (70000, 28, 28) and labels of the same files, training images first."""
    root = tmp_path_factory.mktemp("torchvision")
    (root / FOLDER).mkdir(parents=True)
    for name in NAMES:
        with gzip.open(published / FOLDER / name) as packed, (root / FOLDER / name).with_suffix("").open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    parts = [FashionMNIST(str(root), train=train) for train in (True, False)]
    yield tuple(np.concatenate([getattr(part, what).numpy() for part in parts]) for what in ("data", "targets"))
    shutil.rmtree(root)


@pytest.fixture
def made_up(write_fashion):
    """Files of Fashion-MNIST's layout and number with images of one pixel, whose checksums count as published."""
    return write_fashion(60_000, 10_000, 1)


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def mirror(made_up, monkeypatch):
    """A server on this machine with the made-up files, in place of the published mirror."""
    monkeypatch.setenv("no_proxy", "*")
    handler = functools.partial(QuietHandler, directory=made_up / FOLDER)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield made_up / FOLDER
        server.shutdown()
        thread.join()


@pytest.fixture
def letters(tmp_path, write_letters):
    """A function that writes files of NotMNIST's form into a raw folder, and gives that folder."""

    def write(images, labels):
        write_letters(tmp_path / "letters", images, labels)
        return tmp_path / "letters"

    return write


def add_letters(raw, train=20, validation=10, test=10, seed=0):
    """What the task ``notmnist`` adds to a thousand images of Fashion-MNIST."""
    tensors = {"inputs": np.zeros((1000, 1, 28, 28), dtype=np.uint8)}
    sizes = {"notmnist_train": train, "notmnist_validation": validation, "notmnist_test": test}
    fashion._add_notmnist(tensors, raw, fashion.Options(notmnist=True, seed=seed, **sizes))
    return tensors


def files_below(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def test_the_three_tasks_have_the_documented_sizes(tensors):
    assert [task.name for task in fashion.TASKS] == [*TASKS, "notmnist"]
    sizes = {name: array.shape for name, array in tensors.items() if name != "inputs"}
    assert sizes == {
        f"{task}/{split}/{what}": (size,)
        for task in TASKS
        for split, size in SIZES.items()
        for what in ("index", "target")
    }


def test_every_task_and_split_is_balanced(tensors):
    for task, split in itertools.product(TASKS, SIZES):
        np.testing.assert_array_equal(np.bincount(tensors[f"{task}/{split}/target"]), [SIZES[split] // 10] * 10)


def test_the_halves_use_every_image_exactly_once(tensors):
    parts = [tensors[f"{task}/{split}/index"] for task in ("fashion1", "fashion2") for split in SIZES]
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(70_000))


def test_test_samples_are_the_published_test_images(tensors):
    tests = [tensors[f"{task}/test/index"] for task in ("fashion1", "fashion2")]
    np.testing.assert_array_equal(np.sort(np.concatenate(tests)), np.arange(60_000, 70_000))


def test_pixels_and_labels_are_those_that_torchvision_reads(tensors, as_torchvision_reads):
    images, labels = as_torchvision_reads
    assert tensors["inputs"].dtype == np.uint8
    np.testing.assert_array_equal(tensors["inputs"], images[:, None])
    for task, split in itertools.product(("fashion1", "fashion2"), SIZES):
        np.testing.assert_array_equal(tensors[f"{task}/{split}/target"], labels[tensors[f"{task}/{split}/index"]])


def test_noisy_fashion_has_the_images_of_fashion2_and_their_labels_permuted(tensors):
    for split, size in SIZES.items():
        np.testing.assert_array_equal(tensors[f"noisy_fashion/{split}/index"], tensors[f"fashion2/{split}/index"])
        agreement = np.mean(tensors[f"noisy_fashion/{split}/target"] == tensors[f"fashion2/{split}/target"])
        assert abs(agreement - 0.1) < 5 * np.sqrt(0.09 / size)


@pytest.mark.parametrize("files", ["published", "made_up"])
@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_raw_file_is_named_with_both_checksums_and_nothing_is_prepared(tmp_path, request, files, damage):
    good = request.getfixturevalue(files)
    raw = tmp_path / "raw"
    (raw / FOLDER).mkdir(parents=True)
    name, checksum = FashionMNIST.resources[3]
    for other in NAMES[:3]:
        (raw / FOLDER / other).symlink_to(good / FOLDER / other)
    content = bytearray((good / FOLDER / name).read_bytes())
    if damage == "truncated":
        del content[-100:]
    else:
        content[len(content) // 2] ^= 1
    (raw / FOLDER / name).write_bytes(content)
    before = files_below(raw)
    out = tmp_path / "prepared" / "fashion.safetensors"
    with pytest.raises(DataError) as caught:
        prepare(SPEC, raw, out)
    message = str(caught.value)
    assert message.startswith(f"{raw / FOLDER / name}: truncated or altered: ")
    assert hashlib.md5(content).hexdigest() in message
    assert checksum in message
    assert FashionMNIST.mirrors[0] + name in message
    assert not out.parent.exists()
    assert files_below(raw) == before
    assert (raw / FOLDER / name).read_bytes() == content


def test_without_network_the_message_lists_what_to_fetch_and_nothing_stays(tmp_path, monkeypatch):
    def unreachable(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    raw, out = tmp_path / "raw", tmp_path / "prepared" / "fashion.safetensors"
    with pytest.raises(DataError) as caught:
        prepare(SPEC, raw, out)
    first, *lines = str(caught.value).splitlines()
    assert str(raw) in first
    assert "Name or service not known" in first
    assert lines == [
        line
        for name, checksum in FashionMNIST.resources
        for line in (f"  {FashionMNIST.mirrors[0]}{name} (MD5 {checksum})", f"    -> {raw / FOLDER / name}")
    ]
    assert files_below(tmp_path) == []


def test_missing_files_are_downloaded_and_the_others_left_alone(tmp_path, mirror):
    raw, out = tmp_path / "raw", tmp_path / "fashion.safetensors"
    (raw / FOLDER).mkdir(parents=True)
    shutil.copy(mirror / NAMES[0], raw / FOLDER)
    inode = (raw / FOLDER / NAMES[0]).stat().st_ino
    written = prepare(SPEC, raw, out)
    assert files_below(raw) == sorted(FOLDER / name for name in NAMES)
    for name in NAMES:
        assert (raw / FOLDER / name).read_bytes() == (mirror / name).read_bytes()
    assert (raw / FOLDER / NAMES[0]).stat().st_ino == inode
    assert read_prepared(out, SPEC).content == written.content
    pixels = written.tensors["inputs"].ravel()
    np.testing.assert_array_equal(pixels, np.concatenate([np.arange(60_000) % 251, np.arange(10_000) % 251]))


def test_a_download_that_is_not_what_was_published_leaves_no_file_under_its_name(tmp_path, mirror):
    (mirror / NAMES[2]).write_bytes((mirror / NAMES[2]).read_bytes()[:-10])
    raw, out = tmp_path / "raw", tmp_path / "prepared" / "fashion.safetensors"
    with pytest.raises(DataError) as caught:
        prepare(SPEC, raw, out)
    message = str(caught.value)
    assert "could not be downloaded" in message
    assert all(f"-> {raw / FOLDER / name}" in message for name in NAMES[2:])
    assert not any(f"-> {raw / FOLDER / name}" in message for name in NAMES[:2])
    assert files_below(raw) == sorted(FOLDER / name for name in NAMES[:2])
    assert not out.parent.exists()


def test_sources_are_what_torchvision_publishes():
    raw = Path("data/raw/fashion")
    found = [(source.path, source.md5, source.url) for source in fashion.sources(raw)]
    assert found == [
        (raw / FOLDER / name, checksum, FashionMNIST.mirrors[0] + name) for name, checksum in FashionMNIST.resources
    ]
    assert len(found) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", checksum) for _, checksum, _ in found)


@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (300, 1)])
def test_an_idx_file_is_read_with_its_shape(tmp_path, idx, shape):
    array = (np.arange(np.prod(shape)) % 256).astype(np.uint8).reshape(shape)
    (tmp_path / "x.gz").write_bytes(idx(array))
    found = fashion._read_idx(tmp_path / "x.gz")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, array)


def test_more_samples_than_there_are_images_is_an_error_and_leaves_no_file(tmp_path, made_up):
    out = tmp_path / "prepared" / "fashion.safetensors"
    with pytest.raises(DataError, match=r"class 0 has 6000 samples, but parts of .* need 6002 of it"):
        prepare({**SPEC, "train": 25_010}, made_up, out)
    assert not out.parent.exists()


def test_runs_without_notmnist_have_the_data_they_had(tensors):
    state = hashlib.sha256()
    for name in sorted(tensors):
        state.update(name.encode() + tensors[name].tobytes())
    assert state.hexdigest() == ARRAYS


def test_notmnist_comes_on_top_of_the_same_three_tasks(tmp_path, tensors, published):
    if not LETTERS.is_dir():
        pytest.skip(f"no NotMNIST in {LETTERS}")
    for folder in (published, LETTERS):
        (own,) = folder.iterdir()
        (tmp_path / own.name).symlink_to(own)
    found = fashion.prepare(tmp_path, fashion.Options(notmnist=True))
    np.testing.assert_array_equal(found["inputs"][:70_000], tensors["inputs"])
    for name in tensors.keys() - {"inputs"}:
        np.testing.assert_array_equal(found[name], tensors[name])
    images, labels = (fashion._read_idx(LETTERS / LETTERS_FOLDER / name) for name in LETTERS_NAMES)
    np.testing.assert_array_equal(found["inputs"][70_000:], images[:, None])
    seen = {}
    for split, size in {"train": 6_500, "validation": 1_000, "test": 1_000}.items():
        index, target = found[f"notmnist/{split}/index"], found[f"notmnist/{split}/target"]
        assert index.dtype == target.dtype == np.int64
        np.testing.assert_array_equal(np.bincount(target), [size // 10] * 10)
        np.testing.assert_array_equal(target, labels[index - 70_000])
        seen[split] = {found["inputs"][row].tobytes() for row in index}
        assert len(seen[split]) == size
    assert all(seen[one].isdisjoint(seen[other]) for one, other in itertools.combinations(seen, 2))
    assert found.keys() - tensors.keys() == {
        f"notmnist/{split}/{what}" for split in SIZES for what in ("index", "target")
    }


def test_of_identical_letters_one_is_used_and_none_if_their_labels_differ(letters):
    rng = np.random.default_rng(0)
    own = rng.integers(0, 256, (50, 28, 28), dtype=np.uint8)
    images = np.concatenate([own, own[:10], own[[10, 11]], own[[10]]])
    labels = np.concatenate([np.arange(50) % 10, np.arange(10), [3, 1], [0]])  # the 11th image is an A and twice no A
    raw = letters(images, labels)
    found = add_letters(raw)
    used = np.concatenate([found[f"notmnist/{split}/index"] for split in SIZES]) - 1000
    assert len(used) == 40
    assert set(used) <= set(range(50)) - {10}
    np.testing.assert_array_equal(fashion._distinct(images, labels), np.delete(np.arange(50), 10))
    for split in SIZES:
        index, target = found[f"notmnist/{split}/index"], found[f"notmnist/{split}/target"]
        np.testing.assert_array_equal(found["inputs"][index, 0], images[index - 1000])
        np.testing.assert_array_equal(target, labels[index - 1000])
        np.testing.assert_array_equal(np.bincount(target), [len(target) // 10] * 10)
    other = add_letters(raw, seed=1)
    assert not np.array_equal(other["notmnist/train/index"], found["notmnist/train/index"])


def test_more_letters_than_there_are_is_an_error_that_says_how_many_there_are(letters):
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    labels = np.arange(50) % 10
    images[[7, 17]] = images[27]
    raw = letters(images, labels)
    with pytest.raises(DataError) as caught:
        add_letters(raw, train=20)
    assert str(caught.value) == (
        "NotMNIST: 40 samples are asked for (notmnist_train 20, notmnist_validation 10, notmnist_test 10), and at most "
        "30 can be had: 48 of the 50 images are distinct with one label, 3 of them H, the rarest letter; "
        "lower the sizes in the setting's data"
    )
    assert len(add_letters(raw, train=10)["notmnist/train/index"]) == 10


def test_a_letter_without_any_image_is_the_rarest(letters):
    images = np.random.default_rng(0).integers(0, 256, (18, 28, 28), dtype=np.uint8)
    with pytest.raises(DataError, match=r"at most 0 can be had: .* 0 of them J, the rarest letter"):
        add_letters(letters(images, np.arange(18) % 9), 10, 10, 10)


def test_missing_letters_are_named_with_their_place_and_nothing_is_prepared(tmp_path, made_up):
    out = tmp_path / "prepared" / "fashion.safetensors"
    with pytest.raises(DataError) as caught:
        prepare({**SPEC, "notmnist": True}, made_up, out)
    first, *lines = str(caught.value).splitlines()
    assert fashion._NOTMNIST_PAGE in first
    assert lines == [
        line for name in LETTERS_NAMES for line in (f"  {name}", f"    -> {made_up / LETTERS_FOLDER / name}")
    ]
    assert not out.parent.exists()


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.9])
@pytest.mark.parametrize("damaged", LETTERS_NAMES)
def test_truncated_letters_are_refused(letters, damaged, kept):
    images = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    raw = letters(images, np.arange(50) % 10)
    path = raw / LETTERS_FOLDER / damaged
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=f"{path}.*truncated or altered"):
        add_letters(raw)


@pytest.mark.parametrize(
    ("shape", "count", "largest"),
    [((50, 28, 28), 49, 9), ((50, 28, 27), 50, 9), ((50, 28, 28), 50, 10), ((50, 28), 50, 9)],
)
def test_files_that_hold_something_else_than_letters_are_refused(letters, shape, count, largest):
    labels = np.arange(count) % 10
    labels[3] = largest
    raw = letters(np.zeros(shape), labels)
    with pytest.raises(DataError) as caught:
        add_letters(raw)
    assert str(caught.value) == (
        f"{raw / LETTERS_FOLDER}: expected images of 28x28 pixels and as many labels from 0 to 9, "
        f"found arrays {shape} and {(count,)}, largest label {largest}"
    )
