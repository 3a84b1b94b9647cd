"""Real pictures of every kind that is corrupted."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images


def enlarged(digits, side):
    pictures = (Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC) for digit in digits)
    return np.stack([np.asarray(picture) for picture in pictures])[:, None]


def crops(photos, height, width, count):
    places = np.random.default_rng(0)
    taken = []
    for number in range(count):
        photo = photos[number % len(photos)]
        y, x = places.integers(photo.shape[0] - height), places.integers(photo.shape[1] - width)
        taken.append(photo[y : y + height, x : x + width].transpose(2, 0, 1))
    return np.stack(taken)


def shrunk(photos, side, count):
    large = crops(photos, 400, 400, count).transpose(0, 2, 3, 1)
    small = (Image.fromarray(picture).resize((side, side)) for picture in large)
    return np.stack([np.asarray(picture) for picture in small]).transpose(0, 3, 1, 2)


@pytest.fixture(scope="session")
def pictures():
    """Real pictures by name with the value of white."""
    digits = load_digits().images
    stretched = np.rint(digits * 255 / 16).astype(np.uint8)
    photos = load_sample_images().images
    return {
        "8x8": (digits[:100, None].astype(np.uint8), 16),
        "28x28": (enlarged(stretched[:150], 28), 255),
        "64x64 grey": (shrunk(photos, 64, 32)[:, 1:2], 255),
        "32x32": (shrunk(photos, 32, 32), 255),
        "64x64": (shrunk(photos, 64, 24), 255),
        "128x256": (crops(photos, 128, 256, 8), 255),
    }
