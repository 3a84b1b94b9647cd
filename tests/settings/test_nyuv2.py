"""A miniature folder in the layout of the npy release."""

import numpy as np
import pytest

from tasktrace.errors import DataError
from tasktrace.settings import nyuv2

SIZES = {"train": 2, "validation": 1, "test": 2}
OPTIONS = nyuv2.Options(**SIZES)


@pytest.fixture
def release(nyuv2_release):
    return nyuv2_release


def test_options_default_to_the_published_split():
    options = nyuv2.Options()
    assert (options.train + options.validation, options.validation, options.test) == (795, 159, 654)


def test_the_release_is_what_is_stored(release, nyuv2_arrays):
    tensors = nyuv2.prepare(release, OPTIONS)
    raw = [nyuv2_arrays("train", number) for number in range(3)] + [nyuv2_arrays("val", number) for number in range(2)]
    rows = np.concatenate([tensors[f"normals/{split}/index"] for split in SIZES])
    np.testing.assert_array_equal(np.sort(rows), np.arange(5))
    for split, size in SIZES.items():
        for task in ("segmentation", "depth", "normals"):
            np.testing.assert_array_equal(tensors[f"{task}/{split}/index"], tensors[f"depth/{split}/index"])
        for place in range(size):
            own = raw[tensors[f"depth/{split}/index"][place]]
            row = tensors[f"depth/{split}/index"][place]
            assert np.abs(np.moveaxis(tensors["inputs"][row], 0, -1) / 255 - own["image"]).max() < 0.5 / 255 + 1e-6
            np.testing.assert_array_equal(tensors[f"segmentation/{split}/target"][place], own["label"])
            invalid = own["depth"][..., 0] == 0
            depth, normals = (tensors[f"{task}/{split}/target"][place] for task in ("depth", "normals"))
            np.testing.assert_array_equal(depth, np.where(invalid, np.nan, own["depth"][..., 0]))
            np.testing.assert_array_equal(normals, np.where(invalid, np.nan, np.moveaxis(own["normal"], -1, 0)))
    targets = {task: tensors[f"{task}/train/target"] for task in ("segmentation", "depth", "normals")}
    assert {task: (array.dtype, array.shape) for task, array in targets.items()} == {
        "segmentation": (np.int8, (2, 288, 384)),
        "depth": (np.float32, (2, 288, 384)),
        "normals": (np.float32, (2, 3, 288, 384)),
    }


def test_a_normal_whose_components_add_up_to_zero_is_invalid_as_in_the_fields_code(release):
    path = release / "val/normal/0.npy"
    normals = np.load(path)
    normals[5, 6] = [0.6, -0.6, 0]
    normals[7, 8] = [0.6, 0.8, 0]
    np.save(path, normals)
    stored = nyuv2.prepare(release, OPTIONS)["normals/test/target"][0]
    assert np.isnan(stored[:, 5, 6]).all()
    np.testing.assert_allclose(stored[:, 7, 8], [0.6, 0.8, 0])


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("label", lambda array: array + 1, "expected values from -1 to 12, found 0 to 13"),
        ("depth", lambda array: array * 1_000, "expected values from 0 to 10, found 0 to 99"),
        (
            "depth",
            lambda array: array[..., 0],
            "expected numbers of shape (288, 384, 1), found float32 of shape (288, 384)",
        ),
        ("normal", lambda array: array * 127.5 + 127.5, "expected values from -1 to 1, found"),
    ],
)
def test_a_file_of_other_content_is_refused_by_name(release, kind, change, expected):
    path = release / "train" / kind / "1.npy"
    np.save(path, change(np.load(path)))
    with pytest.raises(DataError) as caught:
        nyuv2.prepare(release, OPTIONS)
    message = str(caught.value)
    assert message.startswith(f"{path}: {expected}")
    assert f"into {release}" in message


def test_too_few_images_are_refused(release):
    with pytest.raises(DataError, match="train/ has 3 images; expected are 795, and 795 are asked for") as caught:
        nyuv2.prepare(release, nyuv2.Options())
    assert "docs/settings.md" in str(caught.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"expected 0\.npy, 1\.npy and so on, found no such file"):
        nyuv2.prepare(tmp_path, OPTIONS)
