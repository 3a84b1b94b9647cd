"""Miniature folders in the layout of both raw forms: the npy release, and the official tree of PNGs."""

import numpy as np
import pytest
from PIL import Image

from tasktrace.config.components import component
from tasktrace.errors import ConfigError, DataError
from tasktrace.settings import cityscapes
from tasktrace.settings.preparation import prepare
from tasktrace.settings.prepared import read_prepared

SIZES = {"train": 3, "validation": 2, "test": 2}
OPTIONS = cityscapes.Options(**SIZES)
SPEC = {"name": "cityscapes", "version": 1, **SIZES}
FOLDER = {"train": "train", "validation": "train", "test": "val"}
COUNTS = {"train": 5, "val": 2}
KINDS = ("image", "label_7", "depth")


CITIES = {
    "train": ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "bochum/bochum_000000_000313"],
    "val": ["frankfurt/frankfurt_000000_000294"],
}


@pytest.fixture
def release(cityscapes_release):
    return cityscapes_release


@pytest.fixture
def official(cityscapes_official):
    return cityscapes_official


def test_options_default_to_the_published_split():
    options = cityscapes.Options()
    assert (options.train + options.validation, options.test) == (2_975, 500)
    with pytest.raises(ConfigError, match="validation must be at least 1"):
        component("setting", "cityscapes", {"validation": 0}, "somewhere")


def test_the_release_is_what_is_stored_and_every_sample_is_found_by_its_row(release, cityscapes_arrays):
    tensors = cityscapes.prepare(release, OPTIONS)
    assert tensors["inputs"].shape == (7, 3, 128, 256)
    raw = [cityscapes_arrays(folder, number) for folder, count in COUNTS.items() for number in range(count)]
    rows = [tensors[f"depth/{split}/index"] for split in SIZES]
    np.testing.assert_array_equal(np.sort(np.concatenate(rows)), np.arange(7))
    np.testing.assert_array_equal(rows[2], [5, 6])
    for split, own in zip(SIZES, rows, strict=True):
        assert len(own) == SIZES[split]
        np.testing.assert_array_equal(tensors[f"segmentation/{split}/index"], own)
        for place, row in enumerate(own):
            labels, depth = (tensors[f"{task}/{split}/target"][place] for task in ("segmentation", "depth"))
            np.testing.assert_array_equal(labels, raw[row]["label_7"])
            expected = raw[row]["depth"][..., 0]
            np.testing.assert_array_equal(np.isnan(depth), expected == 0)
            np.testing.assert_allclose(depth[expected > 0], expected[expected > 0], rtol=1e-7)
            error = np.moveaxis(tensors["inputs"][row], 0, -1) / 255 - raw[row]["image"]
            assert np.abs(error).max() <= 0.5 / 255 + 1e-12
    types = {name: array.dtype for name, array in tensors.items() if "train" in name or name == "inputs"}
    assert types == {
        "inputs": np.uint8,
        "segmentation/train/index": np.int64,
        "segmentation/train/target": np.int8,
        "depth/train/index": np.int64,
        "depth/train/target": np.float32,
    }


def test_validation_is_drawn_by_the_seed_and_the_test_images_are_not(release):
    def drawn(seed):
        tensors = cityscapes.prepare(release, cityscapes.Options(**SIZES, seed=seed))
        return [tensors[f"depth/{split}/index"].tolist() for split in SIZES]

    by_seed = [drawn(seed) for seed in range(4)]
    assert drawn(0) == by_seed[0]
    assert len({tuple(validation) for _, validation, _ in by_seed}) > 1
    assert all(test == [5, 6] for *_, test in by_seed)


def test_fewer_images_are_a_part_of_the_folder(release, cityscapes_arrays):
    tensors = cityscapes.prepare(release, cityscapes.Options(train=2, validation=1, test=1))
    assert len(tensors["inputs"]) == 4
    known = [np.rint(cityscapes_arrays(folder, n)["image"] * 255) for folder in COUNTS for n in range(COUNTS[folder])]
    found = [np.flatnonzero([(np.moveaxis(image, 0, -1) == own).all() for own in known]) for image in tensors["inputs"]]
    numbers = np.concatenate(found)
    assert len(numbers) == 4
    assert (np.diff(numbers) > 0).all()
    assert (numbers[:3] < 5).all()
    assert numbers[3] >= 5


def test_prepared_data_is_read_back_and_progress_is_told(release, tmp_path, capsys):
    out = tmp_path / "prepared/cityscapes.safetensors"
    written = prepare(SPEC, release, out)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "Cityscapes: 7 of 7 images read"
    found = read_prepared(out, SPEC)
    assert found.content == written.content
    assert len(found.mean) == 3
    np.testing.assert_allclose(found.mean, 127.5, atol=1)


def test_libmtls_copy_of_the_release_has_another_name_for_the_labels(release):
    expected = cityscapes.prepare(release, OPTIONS)["segmentation/train/target"]
    for folder in COUNTS:
        (release / folder / "label_7").rename(release / folder / "label")
    np.testing.assert_array_equal(cityscapes.prepare(release, OPTIONS)["segmentation/train/target"], expected)


def refusal(raw, options=OPTIONS):
    with pytest.raises(DataError) as caught:
        cityscapes.prepare(raw, options)
    message = str(caught.value)
    assert f"into {raw}" in message
    assert "docs/settings.md" in message
    return message


def test_a_folder_without_either_form_is_refused(tmp_path):
    assert "found neither train/ nor leftImg8bit/" in refusal(tmp_path)
    for name in ("train", "leftImg8bit"):
        (tmp_path / name).mkdir()
    assert "found both train/ and leftImg8bit/" in refusal(tmp_path)


def test_too_few_images_are_refused_with_what_was_found_and_expected(release):
    message = refusal(release, cityscapes.Options())
    assert "train/ has 5 images; expected are 2,975, and 2,975 are asked for" in message
    assert "(train and validation)" in message
    assert "val/ has 2 images; expected are 500, and 3 are" in refusal(
        release, cityscapes.Options(train=1, validation=1, test=3)
    )


def test_more_images_than_the_data_set_has_are_refused(release):
    for kind in KINDS:
        for number in range(2, 501):
            (release / "val" / kind / f"{number}.npy").symlink_to(release / "val" / kind / "0.npy")
    assert "val/ has 501 images; expected are 500" in refusal(release)


def test_a_missing_file_or_folder_is_named(release):
    (release / "train/depth/4.npy").unlink()
    assert "found image/ 5, label_7/ 5, depth/ 4" in refusal(release)
    (release / "train/depth/1.npy").rename(release / "train/depth/4.npy")
    assert f"{release / 'train/depth'}: expected 0.npy to 3.npy, found 4 files without 1.npy" in refusal(release)
    for path in (release / "train/depth").iterdir():
        path.unlink()
    assert f"{release / 'train/depth'}: expected 0.npy, 1.npy and so on, found no such file" in refusal(release)


WRONG = {
    "another size": ("image", lambda array: array[:64], r"expected numbers of shape \(128, 256, 3\), found float64 of"),
    "texts": ("image", lambda array: array.astype(str), "expected numbers"),
    "bytes for colours": ("image", lambda array: array * 255, "expected values from 0 to 1, found 0.00"),
    "no number": (
        "image",
        lambda array: np.where(array < 0.5, np.nan, array),
        "expected values from 0 to 1, found nan",
    ),
    "19 classes": ("label_7", lambda array: array + 12, "expected values from -1 to 6, found 11 to 18"),
    "a fraction": ("label_7", lambda array: array + 0.25 * (array == 0), "expected whole class numbers"),
    "pixels": ("depth", lambda array: array * 256, "expected values from 0 to 1, found 0 to 12"),
    "-1 for invalid": ("depth", lambda array: array - (array == 0), "expected values from 0 to 1, found -1 to 0.49"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_file_of_other_content_is_refused_by_name(release, what):
    kind, change, expected = WRONG[what]
    path = release / "train" / kind / "3.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(DataError, match=expected) as caught:
        cityscapes.prepare(release, OPTIONS)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("left", [0, 60, 5_000])
def test_a_truncated_file_is_refused_by_name(release, left):
    path = release / "val/image/1.npy"
    path.write_bytes(path.read_bytes()[:left])
    assert refusal(release).startswith(f"{path}: ")


# The official tree

OFFICIAL = cityscapes.Options(train=2, validation=1, test=1)


def test_the_official_tree_is_read_at_an_eighth_of_its_size(official, cityscapes_pictures):
    tensors = cityscapes.prepare(official, OFFICIAL)
    assert tensors["inputs"].shape == (4, 3, 128, 256)
    splits = {row: (split, place) for split in SIZES for place, row in enumerate(tensors[f"depth/{split}/index"])}
    seeds = [(len("train"), 0), (len("train"), 1), (len("train"), 2), (len("val"), 0)]
    category = [-1] * 7 + [0] * 4 + [1] * 6 + [2] * 4 + [3] * 2 + [4] + [5] * 2 + [6] * 8
    for row, seed in enumerate(seeds):
        colours, labels, disparities = cityscapes_pictures(list(seed))
        means = colours.reshape(128, 8, 256, 8, 3).mean(axis=(1, 3))
        assert np.abs(np.moveaxis(tensors["inputs"][row], 0, -1) - means).max() <= 0.51
        split, place = splits[row]
        classes, depth = (tensors[f"{task}/{split}/target"][place] for task in ("segmentation", "depth"))
        np.testing.assert_array_equal(classes, np.array(category)[labels[4::8, 4::8]])
        stored = disparities[4::8, 4::8]
        np.testing.assert_array_equal(np.isnan(depth), stored == 0)
        np.testing.assert_allclose(depth[stored > 0], stored[stored > 0] / 65_535, rtol=1e-6)
    assert tensors["depth/test/index"].tolist() == [3]


def test_labels_and_disparities_are_pillows_nearest_neighbours(official):
    name = CITIES["val"][0]
    with Image.open(official / "gtFine/val" / f"{name}_gtFine_labelIds.png") as image:
        np.testing.assert_array_equal(
            np.asarray(image.resize((256, 128), Image.Resampling.NEAREST)), cityscapes._middles(image)
        )


def test_every_label_id_has_the_category_that_cityscapes_gives_it():
    named = {7: "flat", 8: "flat", 9: "flat", 11: "construction", 13: "construction", 17: "object", 20: "object"}
    named |= {21: "nature", 22: "nature", 23: "sky", 24: "human", 25: "human", 26: "vehicle", 33: "vehicle"}
    for label, category in named.items():
        assert cityscapes.CATEGORIES[cityscapes.CATEGORY_OF_LABEL[label]] == category
    assert (cityscapes.CATEGORY_OF_LABEL[:7] == -1).all()
    assert len(cityscapes.CATEGORY_OF_LABEL) == 34


def test_the_inverse_depths_have_the_releases_range():
    found = cityscapes.inverse_depth(np.array([0, 1, 257, 32_257], np.uint16))
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], [1 / 65_535, 257 / 65_535, 0.4922], rtol=1e-4)


@pytest.fixture
def broken(official, tmp_path):
    """A copy of the tree, of links, and a function that replaces one of its files."""
    for path in official.rglob("*.png"):
        link = tmp_path / "broken" / path.relative_to(official)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    return tmp_path / "broken"


def test_an_image_without_labels_or_disparity_is_named(broken):
    for kind, ending in (("disparity", "disparity"), ("gtFine", "gtFine_labelIds")):
        path = broken / kind / "train" / f"{CITIES['train'][2]}_{ending}.png"
        path.unlink()
        assert refusal(broken, OFFICIAL).startswith(f"{path}: expected a file for bochum/bochum_000000_000313")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGB", (256, 128)), "expected 2048x1024 pixels of mode RGB, found 256x128 of mode RGB"),
        (Image.new("L", (2048, 1024)), "expected 2048x1024 pixels of mode RGB, found 2048x1024 of mode L"),
    ],
)
def test_a_picture_of_another_kind_is_refused_by_name(broken, image, expected):
    path = broken / "leftImg8bit/train" / f"{CITIES['train'][0]}_leftImg8bit.png"
    path.unlink()
    image.save(path)
    assert refusal(broken, OFFICIAL).startswith(f"{path}: {expected}")


def test_unknown_label_ids_and_damaged_files_are_refused_by_name(broken):
    path = broken / "gtFine/train" / f"{CITIES['train'][0]}_gtFine_labelIds.png"
    path.unlink()
    Image.new("L", (2048, 1024), 255).save(path)
    assert refusal(broken, OFFICIAL).startswith(f"{path}: expected label ids from 0 to 33, found 255")
    path.write_bytes(path.read_bytes()[:300])
    assert refusal(broken, OFFICIAL).startswith(f"{path}: not a readable PNG")
