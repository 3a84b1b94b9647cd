"""The corruptions of ImageNet-C: what holds for all of them, on real pictures."""

import subprocess
import sys

import numpy as np
import pytest

from tasktrace import corruptions
from tasktrace.corruptions import FAMILIES, NAMES, SEVERITIES, corrupt
from tasktrace.errors import ConfigError

KINDS = ["8x8", "28x28", "64x64 grey", "32x32", "64x64", "128x256"]
FIXED = ("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression")
"""Corruptions without randomness."""


def seeded(seed=0):
    return np.random.default_rng(seed)


def flat(value, channels=1, side=64, count=8):
    """Pictures of one colour."""
    return np.full((count, channels, side, side), value, np.uint8)


def test_there_are_fifteen_corruptions_in_four_families():
    assert len(NAMES) == len(set(NAMES)) == 15
    assert tuple(name for names in FAMILIES.values() for name in names) == NAMES
    assert set(corruptions._CORRUPTIONS) == set(NAMES)


def test_the_names_are_read_without_heavy_imports():
    code = "import sys, tasktrace.config.corruptions; print({'numpy', 'torch', 'scipy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_severity_changes_real_pictures_and_all_but_the_smallest_ever_more(pictures, kind, name):
    clean, white = pictures[kind]
    before = clean.copy()
    distances = []
    for severity in SEVERITIES:
        corrupted = corrupt(clean, name, severity, seeded(), white)
        assert corrupted.dtype == np.uint8
        assert corrupted.shape == clean.shape
        assert corrupted.max() <= white
        distances.append(np.mean(((corrupted.astype(float) - clean) / white) ** 2))
    assert (clean == before).all()
    assert min(distances) > 0
    if kind != "8x8":
        assert (np.diff(distances) > 0).all(), distances


@pytest.mark.parametrize("name", NAMES)
def test_severity_five_leaves_something_of_the_picture(pictures, name):
    clean, _ = pictures["64x64"]
    corrupted = corrupt(clean, name, 5, seeded())
    correlations = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(clean, corrupted, strict=True)]
    assert np.mean(correlations) > 0.4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["28x28", "64x64"])
def test_the_generator_alone_decides_and_chunks_do_not_matter(pictures, kind, name, monkeypatch):
    clean = pictures[kind][0][:20]
    generator = seeded(3)
    whole = corrupt(clean, name, 4, generator)
    assert (whole == corrupt(clean, name, 4, seeded(3))).all()
    assert (whole != corrupt(clean, name, 4, generator)).any() == (name not in FIXED), "a second call draws anew"
    monkeypatch.setattr(corruptions, "_CHUNK", 7 * clean[0].size)
    assert (whole == corrupt(clean, name, 4, seeded(3))).all()
    assert (whole[:9] == corrupt(clean[:9], name, 4, seeded(3))).all()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in FIXED])
def test_each_picture_has_its_own_draws(pictures, name):
    same = np.repeat(pictures["64x64"][0][:1], 3, axis=0)
    first, second, third = corrupt(same, name, 3, seeded())
    assert (first != second).any()
    assert (second != third).any()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 1, 28, 28), (1, 3, 8, 41), (2, 1, 37, 9)])
def test_any_number_and_format_is_taken(name, shape):
    images = seeded().integers(0, 256, shape, dtype=np.uint8)
    assert corrupt(images, name, 5, seeded()).shape == shape


@pytest.mark.parametrize("name", [*FAMILIES["blur"], "snow", "brightness", "contrast", "elastic_transform", "pixelate"])
def test_grey_is_corrupted_as_rgb_of_equal_channels(pictures, name):
    grey = pictures["28x28"][0][:5]
    rgb = corrupt(np.repeat(grey, 3, axis=1), name, 3, seeded())
    assert np.abs(rgb.astype(int) - corrupt(grey, name, 3, seeded())).max() <= 1


@pytest.mark.parametrize("name", ["", "blur", "Fog"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ConfigError, match=f"unknown corruption '{name}'; available: gaussian_noise, .*jpeg_comp"):
        corrupt(flat(0), name, 1, seeded())


@pytest.mark.parametrize("severity", [0, 6, 2.0, "3", True, None])
def test_an_unknown_severity_is_refused(severity):
    with pytest.raises(ConfigError, match=rf"severity of fog must be one of 1, 2, 3, 4, 5, found {severity!r}"):
        corrupt(flat(0), "fog", severity, seeded())


def test_a_severity_may_be_numpy_s():
    clean = flat(90)
    assert (corrupt(clean, "fog", np.int64(2), seeded()) == corrupt(clean, "fog", 2, seeded())).all()


@pytest.mark.parametrize(
    ("images", "white", "message"),
    [
        (flat(0).astype(np.float32), 255, "uint8, found float32"),
        ([[0]], 255, "NumPy array of uint8, found <class 'list'>"),
        (flat(0)[0], 255, r"\(N, C, H, W\).*found \(1, 64, 64\)"),
        (flat(0, 2), 255, r"found \(8, 2, 64, 64\)"),
        (flat(0, side=7), 255, "at least 8"),
        (flat(17), 16, "white = 16, found 17"),
        (flat(0), 0, r"1..255, found 0"),
        (flat(0), 256, r"1..255, found 256"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(images, white, message):
    with pytest.raises(ValueError, match=message):
        corrupt(images, "fog", 1, seeded(), white)
