import hashlib
import io
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from torchvision.datasets import CelebA

from tasktrace.config import Study
from tasktrace.errors import ConfigError, DataError
from tasktrace.settings import celeba
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import read_prepared

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = {"name": "celeba", "version": 1}
ATTRIBUTES, PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
PICTURES, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
TASKS = [task.name for task in celeba.TASKS]
NAMES = [f"{number:06d}.jpg" for number in range(1, 15)]
ROWS = {"train": range(7), "validation": range(7, 10), "test": range(10, 14)}


@pytest.fixture(scope="module")
def jpegs(faces):
    return faces.jpegs


@pytest.fixture(scope="module")
def marks(faces):
    return faces.marks


@pytest.fixture(params=["folder", "archive"])
def raw(request, tmp_path, faces, publish_faces):
    """A small CelebA in the official layout, with the pictures unpacked or in their archive."""
    faces.write(tmp_path / "raw", packed=request.param == "archive")
    publish_faces(tmp_path / "raw")
    return tmp_path / "raw"


def files_below(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def check_refused(raw, match):
    """Preparing fails with a message, and neither a prepared file nor anything else comes to be."""
    before = files_below(raw.parent)
    with pytest.raises(DataError, match=match) as caught:
        prepare(SPEC, raw, raw.parent / "prepared" / "celeba.safetensors")
    assert files_below(raw.parent) == before
    return str(caught.value)


def replace(raw, faces, name, content):
    """Put another picture in the place of one; None takes it away."""
    if (raw / PICTURES).is_dir():
        (raw / PICTURES / name).unlink()
        if content is not None:
            (raw / PICTURES / name).write_bytes(content)
    else:
        faces.pack(raw, {other: own for other, own in {**faces.jpegs, name: content}.items() if own is not None})


def test_the_tasks_are_the_40_attributes_by_their_official_names(faces):
    assert [name.lower() for name in faces.header.split()] == TASKS
    assert len(set(TASKS)) == 40
    assert celeba.SHARED_INPUTS
    for task in celeba.TASKS:
        assert (task.outputs, task.loss) == (1, "binary_cross_entropy")
        assert task.metrics == ("accuracy", "balanced_accuracy", "f1")


def test_the_official_split_has_the_published_numbers():
    assert celeba._COUNTS == {"train": 162_770, "validation": 19_867, "test": 19_962}
    assert sum(celeba._COUNTS.values()) == 202_599


def test_every_picture_has_its_pixels_its_split_and_all_its_attributes(tmp_path, raw, jpegs, marks):
    out = tmp_path / "celeba.safetensors"
    written = prepare(SPEC, raw, out)
    assert read_prepared(out, SPEC).content == written.content
    tensors = written.tensors
    assert tensors["inputs"].dtype == np.uint8
    assert tensors["inputs"].shape == (14, 3, 64, 64)
    for row, content in enumerate(jpegs.values()):
        with Image.open(io.BytesIO(content)) as whole:
            expected = np.asarray(whole.convert("RGB").resize((64, 64), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(tensors["inputs"][row], np.moveaxis(expected, -1, 0))
    assert tensors.keys() - {"inputs"} == {
        f"{task}/{split}/{what}" for task in TASKS for split in ROWS for what in ("index", "target")
    }
    for (column, task), (split, rows) in itertools.product(enumerate(TASKS), ROWS.items()):
        index, target = (tensors[f"{task}/{split}/{what}"] for what in ("index", "target"))
        assert index.dtype == target.dtype == np.int64
        assert index.tolist() == list(rows)
        np.testing.assert_array_equal(target, marks[rows, column] > 0)


def test_pictures_are_what_jpeg_files_look_like():
    """Colours in the order red, green, blue; the picture's top at the top."""
    pixels = np.zeros((218, 178, 3), dtype=np.uint8)
    pixels[:109, :, 0], pixels[109:, :89, 1], pixels[109:, 89:, 2] = 255, 255, 255
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=95)
    small = celeba._resized(content.getvalue(), "picture").astype(int)
    for channel, (row, column) in enumerate([(5, 30), (60, 5), (60, 60)]):
        assert small[channel, row, column] > 240
        assert np.delete(small[:, row, column], channel).max() < 15


def test_a_limit_takes_the_first_pictures_of_every_split(raw, marks):
    whole, some = celeba.prepare(raw, celeba.Options()), celeba.prepare(raw, celeba.Options(limit=3))
    kept = [0, 1, 2, 7, 8, 9, 10, 11, 12]
    np.testing.assert_array_equal(some["inputs"], whole["inputs"][kept])
    for (column, task), (start, split) in itertools.product(enumerate(TASKS), zip((0, 3, 6), ROWS, strict=True)):
        assert some[f"{task}/{split}/index"].tolist() == [start, start + 1, start + 2]
        np.testing.assert_array_equal(some[f"{task}/{split}/target"], marks[kept[start : start + 3], column] > 0)


def test_a_limit_needs_only_the_pictures_that_it_takes(raw, faces, publish_faces):
    replace(raw, faces, NAMES[6], None)
    publish_faces(raw)
    assert len(celeba.prepare(raw, celeba.Options(limit=6))["inputs"]) == 6 + 3 + 4
    with pytest.raises(DataError, match="found 13 of the 14 pictures"):
        celeba.prepare(raw, celeba.Options(limit=7))


def test_a_limit_of_none_is_refused():
    with pytest.raises(ValueError, match="limit must be at least 1, found 0"):
        celeba.Options(limit=0)


def test_pictures_are_named_with_what_was_found_when_some_are_missing(raw, faces, publish_faces):
    jpegs = faces.jpegs
    for name in NAMES[2:6]:
        jpegs = {other: content for other, content in jpegs.items() if other != name}
        if (raw / PICTURES).is_dir():
            (raw / PICTURES / name).unlink()
    if (raw / ARCHIVE).exists():
        faces.pack(raw, jpegs)
    publish_faces(raw)
    message = check_refused(raw, "found 10 of the 14 pictures that are needed")
    assert "missing 000003.jpg, 000004.jpg, 000005.jpg, ...; unpack img_align_celeba.zip again or fetch it" in message


@pytest.mark.parametrize("absent", [ATTRIBUTES, PARTITION])
def test_a_missing_list_is_named_with_its_place_and_checksum(raw, absent):
    checksum = next(md5 for _, md5, name in CelebA.file_list if name == absent)
    (raw / absent).unlink()
    message = check_refused(
        raw, f"CelebA is not complete in {raw}: found .*, missing {absent}[.] It is for non-commerc"
    )
    assert message.endswith(f"  https://drive.google.com/uc?id=id-{absent} (MD5 {checksum})\n    -> {raw / absent}")


def test_an_empty_folder_lists_everything_that_is_needed(tmp_path):
    raw = tmp_path / "raw"
    message = check_refused(raw, "found nothing, missing list_attr_celeba.txt, list_eval_partition.txt, img_align")
    for name, checksum in (
        (ATTRIBUTES, "75e246fa4810816ffd6ee81facbd244c"),
        (PARTITION, "d32c9cbf5e040fd4025c592c306e6668"),
        (ARCHIVE, "00d2c5bc6d35e252742224ab0c1e8fcb"),
    ):
        assert f"(MD5 {checksum})\n    -> {raw / name}" in message


@pytest.mark.parametrize(
    ("raw", "altered"),
    [("folder", ATTRIBUTES), ("folder", PARTITION), ("archive", PARTITION), ("archive", ARCHIVE)],
    indirect=["raw"],
)
def test_a_file_that_is_not_what_was_published_is_refused(raw, altered):
    content = bytearray((raw / altered).read_bytes())
    content[len(content) // 2] ^= 1
    (raw / altered).write_bytes(content)
    assert hashlib.md5(content).hexdigest() in check_refused(raw, f"{altered}: truncated or altered")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            PARTITION,
            "000014.jpg 2\n",
            "",
            "expected 7 train, 3 validation, 4 test pictures, found 7 train, 3 .*, 3 test",
        ),
        (PARTITION, "000008.jpg 1", "000008.jpg 0", "found 8 train, 2 validation, 4 test"),
        (PARTITION, "000008.jpg 1", "000008.jpg 3", "expected a picture's name and 0, 1 or 2 on every line"),
        (PARTITION, "000008.jpg 1", "000008.jpg", "expected a picture's name and 0, 1 or 2 on every line"),
        (
            ATTRIBUTES,
            "14\n",
            "202599\n",
            "says that it has 202,599 pictures and has 14; list_eval_partition.txt has 14",
        ),
        (ATTRIBUTES, "Bald Bangs", "Bangs Bald", "expected the names of 40 attributes on the second line"),
        (ATTRIBUTES, "000009.jpg", "000010.jpg", "expected 000009.jpg with 40 times 1 or -1, found '000010.jpg "),
        (ATTRIBUTES, "000009.jpg ", "000009.jpg 1 ", "expected 000009.jpg with 40 times 1 or -1, found '000009.jpg 1 "),
        (ATTRIBUTES, "000009.jpg ", "000009.jpg 0", "expected 000009.jpg with 40 times 1 or -1, found '000009.jpg 0"),
    ],
)
def test_lists_of_another_form_are_refused(raw, publish_faces, name, old, new, message):
    content = (raw / name).read_text()
    assert content.count(old) == 1
    (raw / name).write_text(content.replace(old, new))
    publish_faces(raw)
    check_refused(raw, f"{raw / name}: .*{message}")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5])
def test_a_truncated_picture_is_named(raw, faces, publish_faces, kept):
    content = faces.jpegs[NAMES[4]]
    replace(raw, faces, NAMES[4], content[: int(kept * len(content))])
    publish_faces(raw)
    check_refused(raw, "img_align_celeba.*/000005.jpg: no whole picture")


def test_pictures_of_another_size_are_refused(raw, faces, publish_faces):
    content = io.BytesIO()
    Image.new("RGB", (218, 178)).save(content, "JPEG")
    replace(raw, faces, NAMES[4], content.getvalue())
    publish_faces(raw)
    check_refused(raw, "000005.jpg: expected an aligned picture of 178x218 pixels, found 218x178")


@pytest.mark.parametrize("raw", ["archive"], indirect=True)
def test_a_file_that_is_no_archive_is_refused(raw, publish_faces):
    (raw / ARCHIVE).write_text("<html>Too many users have downloaded this file recently</html>")
    publish_faces(raw)
    check_refused(raw, "img_align_celeba.zip: no zip archive")


@pytest.mark.parametrize("raw", ["archive"], indirect=True)
def test_members_with_paths_elsewhere_are_not_extracted(raw, publish_faces):
    with zipfile.ZipFile(raw / ARCHIVE, "a") as archive:
        for name in ("../escaped.jpg", f"{PICTURES}/../../escaped.jpg", "/escaped.jpg"):
            archive.writestr(name, b"x")
    publish_faces(raw)
    before = files_below(raw.parent)
    assert len(celeba.prepare(raw, celeba.Options())["inputs"]) == 14
    assert files_below(raw.parent) == before


def test_sources_are_the_lists_and_the_archive_unless_it_is_unpacked(raw):
    found = [source.path.name for source in celeba.sources(raw)]
    assert found == [ATTRIBUTES, PARTITION] + ([] if (raw / PICTURES).is_dir() else [ARCHIVE])


def shipped(**changes):
    config = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    config.update(settings=["celeba"], demo=[], overrides={"celeba": {"model": {"model": "lenet"}, **changes}})
    return Study(config, REPOSITORY)


def test_the_shipped_configuration_trains_all_attributes_for_both_studies():
    study = shipped()
    groups = {arm.group: arm.tasks for arm in study.arms("celeba")}
    assert groups == {**{f"stl.{task}": (task,) for task in TASKS}, "mtl.all": tuple(TASKS)}
    grid = {(arm.group, arm.method, arm.optimizer) for arm in study.grid_arms("celeba")}
    assert len([arm for arm in grid if arm[1] is None]) == 40
    assert len([arm for arm in grid if arm[1] is not None]) == 7 * 3 + 2
    assert study.data_spec("celeba") == SPEC
    run = next(run for run in study.runs.values() if run.arm.group == "grid")
    spec = study.run_spec(run)
    assert (spec["optimizer"]["weight_decay"], spec["epochs"]) == (1e-5, 100)
    assert spec["schedule"] == {"factor": 0.5, "every": 30}


def test_a_limit_in_the_configuration_is_part_of_the_data_s_spec():
    assert shipped(data={"limit": 100}).data_spec("celeba") == {**SPEC, "limit": 100}
    with pytest.raises(ConfigError, match="limit must be at least 1"):
        shipped(data={"limit": 0})
