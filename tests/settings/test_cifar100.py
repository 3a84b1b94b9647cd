import functools
import hashlib
import http.server
import itertools
import pickle
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from torchvision.datasets import CIFAR100

from tasktrace.config import Study
from tasktrace.errors import DataError
from tasktrace.settings import cifar100
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import read_prepared

REPOSITORY = Path(__file__).resolve().parents[2]
PUBLISHED = REPOSITORY.parent / "shared" / "data" / "cifar-100"
SIZES = {"train": 2_000, "validation": 500, "test": 500}
SPEC = {"name": "cifar100", "version": 1}
SMALL = {"train": 25, "validation": 15, "test": 10}
SMALL_SPEC = {**SPEC, **SMALL}
PER_CLASS = {"train": 8, "test": 4}
ARCHIVE = "cifar-100-python.tar.gz"
TASKS = [task.name for task in cifar100.TASKS]


@pytest.fixture(scope="module")
def published():
    if not (PUBLISHED / "train.webp").exists():
        pytest.skip(f"no CIFAR-100 in {PUBLISHED}")
    return PUBLISHED


@pytest.fixture(scope="module")
def tensors(published):
    return cifar100.prepare(published, cifar100.Options())


@pytest.fixture(scope="module")
def labels(published):
    """Class and superclass of every image, (60000, 2), training images first."""
    return np.concatenate([np.load(published / f"{split}_labels.npy") for split in ("train", "test")]).astype(np.int64)


@pytest.fixture
def pictures(tmp_path, monkeypatch, few_per_class, cifar100_part):
    """A raw folder with the small parts as lossless pictures and tables, whose checksums count as published."""
    raw = tmp_path / "pictures"
    raw.mkdir()
    checksums = {"pixels": {}, "labels": {}}
    for split in PER_CLASS:
        pixels, table = cifar100_part(split)
        images = pixels.transpose(0, 2, 3, 1)
        rows = [np.concatenate(images[start : start + 100], axis=1) for start in range(0, len(images), 100)]
        Image.fromarray(np.concatenate(rows)).save(raw / f"{split}.webp", lossless=True, quality=0, method=0)
        np.save(raw / f"{split}_labels.npy", table.astype(np.uint8))
        checksums["pixels"][split] = hashlib.md5(images.tobytes()).hexdigest()
        checksums["labels"][split] = hashlib.md5(table.astype(np.uint8).tobytes()).hexdigest()
    monkeypatch.setattr(cifar100, "_PIXELS_MD5", checksums["pixels"])
    monkeypatch.setattr(cifar100, "_LABELS_MD5", checksums["labels"])
    return raw


def files_below(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file() or path.is_symlink())


def check_refused(raw, tmp_path, match):
    """Preparing fails with a message, and neither a prepared file nor anything else comes to be."""
    before = files_below(tmp_path)
    with pytest.raises(DataError, match=match) as caught:
        prepare(SMALL_SPEC, raw, tmp_path / "prepared" / "cifar100.safetensors")
    assert files_below(tmp_path) == before
    return str(caught.value)


def test_every_superclass_is_a_task_under_its_official_name(published):
    official = pickle.loads((published / "meta").read_bytes())["coarse_label_names"]
    assert [name.replace("-", "_") for name in official] == TASKS
    assert {task.outputs for task in cifar100.TASKS} == {5}


def test_the_published_images_make_20_tasks_of_the_documented_sizes(tensors):
    assert tensors["inputs"].shape == (60_000, 3, 32, 32)
    assert tensors["inputs"].dtype == np.uint8
    assert tensors.keys() - {"inputs"} == {
        f"{task}/{split}/{what}" for task in TASKS for split in SIZES for what in ("index", "target")
    }
    for task, (split, size) in itertools.product(TASKS, SIZES.items()):
        index, target = (tensors[f"{task}/{split}/{what}"] for what in ("index", "target"))
        assert index.dtype == target.dtype == np.int64
        assert index.shape == (size,)
        np.testing.assert_array_equal(np.bincount(target), [size // 5] * 5)


def test_the_tasks_use_every_published_image_once_and_test_images_for_tests_only(tensors):
    parts = {split: np.concatenate([tensors[f"{task}/{split}/index"] for task in TASKS]) for split in SIZES}
    training = np.concatenate([parts["train"], parts["validation"]])
    np.testing.assert_array_equal(np.sort(training), np.arange(50_000))
    np.testing.assert_array_equal(np.sort(parts["test"]), np.arange(50_000, 60_000))


def test_targets_are_the_published_classes_in_ascending_order(tensors, labels):
    for number, task in enumerate(TASKS):
        classes = sorted(set(labels[labels[:, 1] == number, 0]))
        for split in SIZES:
            index, target = (tensors[f"{task}/{split}/{what}"] for what in ("index", "target"))
            assert (labels[index, 1] == number).all()
            np.testing.assert_array_equal(np.array(classes)[target], labels[index, 0])


def test_pixels_have_the_published_means_and_deviations(tensors):
    pixels = tensors["inputs"][:50_000]
    levels = [np.bincount(pixels[:, channel].ravel(), minlength=256) / pixels[:, channel].size for channel in range(3)]
    values = np.arange(256) / 255
    means = [share @ values for share in levels]
    deviations = [np.sqrt(share @ (values - mean) ** 2) for share, mean in zip(levels, means, strict=True)]
    np.testing.assert_allclose(means, [0.507075159237, 0.486548873315, 0.440917843367], atol=1e-12)
    np.testing.assert_allclose(deviations, [0.267334285879, 0.256438462917, 0.276150471326], atol=1e-12)


def test_a_published_image_is_where_its_picture_shows_it(tensors, published):
    with Image.open(published / "test.webp") as grid:
        tile = np.asarray(grid.convert("RGB").crop((7 * 32, 42 * 32, 8 * 32, 43 * 32)))
    np.testing.assert_array_equal(tensors["inputs"][50_000 + 4207], tile.transpose(2, 0, 1))


def test_the_archive_is_read_as_it_was_packed(tmp_path, cifar100_archive, cifar100_part, cifar100_members):
    raw = cifar100_archive(cifar100_members)
    out = tmp_path / "cifar100.safetensors"
    written = prepare(SMALL_SPEC, raw, out)
    assert read_prepared(out, SMALL_SPEC).content == written.content
    parts = [cifar100_part(split) for split in PER_CLASS]
    np.testing.assert_array_equal(written.tensors["inputs"], np.concatenate([pixels for pixels, _ in parts]))
    labels = np.concatenate([labels for _, labels in parts])
    used = []
    for number, task in enumerate(TASKS):
        classes = sorted(fine for fine in range(100) if fine * 7 % 20 == number)
        for split, size in SMALL.items():
            index, target = (written.tensors[f"{task}/{split}/{what}"] for what in ("index", "target"))
            assert ((index >= 800) == (split == "test")).all()
            assert [classes[own] for own in target] == labels[index, 0].tolist()
            np.testing.assert_array_equal(np.bincount(target), [size // 5] * 5)
            used += index.tolist()
    assert len(set(used)) == len(used) == 20 * sum(SMALL.values())


def test_archive_and_pictures_give_the_same_data(cifar100_archive, pictures, cifar100_members):
    raw = cifar100_archive(cifar100_members)
    options = cifar100.Options(**SMALL)
    packed, shown = cifar100.prepare(raw, options), cifar100.prepare(pictures, options)
    assert packed.keys() == shown.keys()
    for name, array in packed.items():
        assert array.dtype == shown[name].dtype
        np.testing.assert_array_equal(array, shown[name])


def test_the_seed_chooses_the_samples(cifar100_archive, cifar100_members):
    raw = cifar100_archive(cifar100_members)
    first, again, other = (cifar100.prepare(raw, cifar100.Options(**SMALL, seed=seed)) for seed in (0, 0, 1))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not any(np.array_equal(first[f"{task}/train/index"], other[f"{task}/train/index"]) for task in TASKS)


class Burglar:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_is_unpickled_before_the_checksum_is_that_published(
    tmp_path, monkeypatch, cifar100_archive, cifar100_members
):
    trace = tmp_path / "trace"
    raw = cifar100_archive({**cifar100_members, "cifar-100-python/train": pickle.dumps(Burglar(trace))})
    found, published = CIFAR100.tgz_md5, "eb9058c3a382ffc7106e4002c42a8d85"
    with pytest.raises(TypeError):  # as long as its checksum counts as published, it is let in
        cifar100.prepare(raw, cifar100.Options(**SMALL))
    trace.unlink()
    monkeypatch.setattr(CIFAR100, "tgz_md5", published)
    message = check_refused(raw, tmp_path, "truncated or altered")
    assert str(raw / ARCHIVE) in message
    assert found in message
    assert published in message
    assert CIFAR100.url in message


def test_members_with_paths_elsewhere_are_not_extracted(tmp_path, cifar100_archive, cifar100_members):
    outside = {"../escaped": b"x", "cifar-100-python/../../escaped": b"x", str(tmp_path / "absolute"): b"x"}
    raw = cifar100_archive({**cifar100_members, **outside}, [("cifar-100-python/link", "/etc/passwd")])
    before = files_below(tmp_path)
    cifar100.prepare(raw, cifar100.Options(**SMALL))
    assert files_below(tmp_path) == before == [Path("made_up") / ARCHIVE]


@pytest.mark.parametrize("split", PER_CLASS)
def test_an_archive_without_a_part_is_refused(tmp_path, cifar100_archive, split, cifar100_members):
    members = dict(cifar100_members)
    members["elsewhere/" + split] = members.pop(f"cifar-100-python/{split}")
    check_refused(cifar100_archive(members), tmp_path, f"{ARCHIVE}: has no member cifar-100-python/{split}")


def test_a_link_in_the_place_of_a_part_is_refused(tmp_path, cifar100_archive, cifar100_members):
    members = dict(cifar100_members)
    members["elsewhere"] = members.pop("cifar-100-python/test")
    raw = cifar100_archive(members, [("cifar-100-python/test", "../elsewhere")])
    check_refused(raw, tmp_path, "cifar-100-python/test is no plain file")


def change_one_class(labels):
    labels[0] = labels[labels[:, 0] != labels[0, 0]][0]


def change_one_superclass(labels):
    labels[0, 1] = (labels[0, 1] + 1) % 20


def swap_two_classes(labels):
    """Of two superclasses, so that all counts stay."""
    swapped = labels[:, 0] < 2
    labels[swapped, 0] = 1 - labels[swapped, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_one_class, r"the train part of CIFAR-100 has 8 images of each of 100 .* found 800 .* 7 to 9 images"),
        (change_one_superclass, "found 800 images with 800 labels, 101 pairs of class and superclass, 1 to 8 images"),
        (swap_two_classes, "training and test part do not agree on which class is in which superclass"),
    ],
)
def test_labels_in_other_numbers_than_published_are_refused(
    tmp_path, cifar100_archive, change, message, cifar100_part, cifar100_pickle, cifar100_members
):
    pixels, labels = cifar100_part("train")
    change(labels)
    members = {**cifar100_members, "cifar-100-python/train": cifar100_pickle("train", pixels, labels)}
    check_refused(cifar100_archive(members), tmp_path, message)


def test_a_part_with_too_few_images_is_refused(
    tmp_path, cifar100_archive, cifar100_part, cifar100_pickle, cifar100_members
):
    pixels, labels = cifar100_part("test")
    members = {**cifar100_members, "cifar-100-python/test": cifar100_pickle("test", pixels[:-1], labels[:-1])}
    check_refused(
        cifar100_archive(members), tmp_path, "the test part of CIFAR-100 has 4 images .* found 399 .* 3 to 4 images"
    )


def test_altered_pixels_are_refused(tmp_path, pictures):
    with Image.open(pictures / "train.webp") as picture:
        pixels = np.array(picture)
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(pictures / "train.webp", lossless=True)
    message = check_refused(pictures, tmp_path, "train.webp: altered")
    assert cifar100._PIXELS_MD5["train"] in message


def test_altered_labels_are_refused(tmp_path, pictures):
    table = np.load(pictures / "test_labels.npy")
    np.save(pictures / "test_labels.npy", table[::-1])
    assert cifar100._LABELS_MD5["test"] in check_refused(pictures, tmp_path, "test_labels.npy: altered")


@pytest.mark.parametrize("name", ["train.webp", "test.webp", "train_labels.npy", "test_labels.npy"])
@pytest.mark.parametrize("content", [b"", b"no such thing"])
def test_files_that_are_no_pictures_or_tables_are_refused(tmp_path, pictures, name, content):
    (pictures / name).write_bytes(content)
    check_refused(pictures, tmp_path, f"{name}.* no picture of CIFAR-100 with its labels")


def test_a_picture_of_another_size_is_refused(tmp_path, pictures):
    Image.new("RGB", (3200, 33)).save(pictures / "test.webp", lossless=True)
    check_refused(pictures, tmp_path, r"test.webp.* no picture of CIFAR-100 with its labels")


def test_a_pickle_in_the_place_of_labels_is_not_unpickled(tmp_path, pictures):
    np.save(pictures / "train_labels.npy", np.array([Burglar(tmp_path / "trace")]), allow_pickle=True)
    check_refused(pictures, tmp_path, "train_labels.npy: no picture of CIFAR-100 with its labels")


def test_sources_are_what_torchvision_publishes_unless_pictures_take_its_place(tmp_path, pictures):
    (source,) = cifar100.sources(tmp_path)
    assert (source.path, source.md5, source.url) == (tmp_path / ARCHIVE, CIFAR100.tgz_md5, CIFAR100.url)
    assert cifar100.sources(pictures) == []
    (pictures / ARCHIVE).touch()
    assert len(cifar100.sources(pictures)) == 1
    (pictures / ARCHIVE).unlink()
    (pictures / "test.webp").unlink()
    assert len(cifar100.sources(pictures)) == 1


def test_without_network_the_message_says_what_to_fetch_and_nothing_stays(tmp_path, monkeypatch):
    def unreachable(*arguments, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    message = check_refused(tmp_path / "raw", tmp_path, "could not be downloaded")
    first, *lines = message.splitlines()
    assert str(tmp_path / "raw") in first
    assert "Name or service not known" in first
    assert lines == [f"  {CIFAR100.url} (MD5 {CIFAR100.tgz_md5})", f"    -> {tmp_path / 'raw' / ARCHIVE}"]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def mirror(cifar100_archive, monkeypatch, cifar100_members):
    """A server on this machine with a made-up archive, in place of the published address."""
    monkeypatch.setenv("no_proxy", "*")
    folder = cifar100_archive(cifar100_members)
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(CIFAR100, "url", f"http://127.0.0.1:{server.server_port}/{ARCHIVE}")
        yield folder
        server.shutdown()
        thread.join()


def test_a_missing_archive_is_downloaded(tmp_path, mirror):
    raw = tmp_path / "raw"
    prepare(SMALL_SPEC, raw, tmp_path / "cifar100.safetensors")
    assert files_below(raw) == [Path(ARCHIVE)]
    assert (raw / ARCHIVE).read_bytes() == (mirror / ARCHIVE).read_bytes()


def test_a_download_that_is_not_what_was_published_leaves_no_file(tmp_path, mirror):
    (mirror / ARCHIVE).write_bytes((mirror / ARCHIVE).read_bytes()[:-10])
    message = check_refused(tmp_path / "raw", tmp_path, "could not be downloaded")
    assert f"-> {tmp_path / 'raw' / ARCHIVE}" in message


def test_the_shipped_configuration_trains_all_tasks_and_section_5s_sets():
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    config.update(settings=["cifar100"], demo=[], overrides={"cifar100": {"model": {"model": "lenet"}}})
    study = Study(config, REPOSITORY)
    groups = {arm.group: arm.tasks for arm in study.arms("cifar100")}
    assert groups["mtl.all"] == tuple(TASKS)
    assert {f"stl.{task}" for task in TASKS} <= groups.keys()
    assert len([group for group in groups if group.startswith("mtl.aux_fish_")]) == 10
    assert study.data_spec("cifar100") == SPEC
