"""Defocus, glass, motion and zoom blur.

Constants: ImageNet-C (Hendrycks and Dietterich 2019); lengths are in pixels of a picture of 224 by 224.
"""

from itertools import product

import numpy as np

from tasktrace.corruptions.drawing import Corruption, Floats, Streams, pixels, uniform
from tasktrace.corruptions.kernels import convolved, disk, smoothed, streaks
from tasktrace.corruptions.resampling import along_axes, linear_weights

_RADIUS = (3.0, 4.0, 6.0, 8.0, 10.0)
_GLASS = ((0.7, 1.0), (0.9, np.sqrt(2)), (1.0, np.sqrt(6)), (1.1, 3.0), (1.5, 4.0))
"""Sigma of the smoothing, reach of a pixel."""
_ROUNDS = 2
"""Of swaps; ImageNet-C's are 2, 1, 3, 2, 2 with reaches of 1, 2, 2, 3, 4, for the same mean squared displacement."""
_MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
"""Half the length of the streak (ImageMagick's radius), sigma of its weight."""
_ZOOM = ((0.01, 11), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11))
"""Step and number of the zoom factors, the first of which is 1."""


def defocus_blur(pictures: Floats, level: int, streams: Streams) -> Floats:  # noqa: ARG001 (every corruption's form)
    """The average over a disk around each pixel."""
    return convolved(pictures, disk(pixels(_RADIUS[level], pictures))[None, None])


def glass_blur(pictures: Floats, level: int, streams: Streams) -> Floats:
    """Pixels swapped with neighbours, all channels together, between two Gaussian blurs."""
    sigma, reach = (pixels(length, pictures) for length in _GLASS[level])
    shuffled = smoothed(pictures, sigma)
    for number in range(_ROUNDS):
        shuffled = _swapped(shuffled, reach, streams[f"swaps {number}"])
    return smoothed(shuffled, sigma)


def _swapped(pictures: Floats, reach: float, stream: np.random.Generator) -> Floats:
    """Every pixel in turn swapped with one whose row and column differ by up to ``reach`` pixels.

    The differences are uniform in [-reach, reach], rounded up or down at random so that their mean stays. Pixels more
    than twice as far apart cannot meet, so all of such a lattice are swapped at once.
    """
    count, channels, height, width = pictures.shape
    farthest = int(np.ceil(reach))
    drawn = stream.random((count, 4, height, width), dtype=np.float32)
    moves = np.floor(drawn[:, :2] * np.float32(2 * reach) - np.float32(reach) + drawn[:, 2:]).astype(np.int64)
    rows = (np.arange(height)[:, None] + moves[:, 0]).clip(0, height - 1)
    columns = (np.arange(width) + moves[:, 1]).clip(0, width - 1)
    partners = rows * width + columns
    places = np.arange(height * width).reshape(height, width)
    flat = pictures.reshape(count, channels, -1).copy()
    spacing = 2 * farthest + 1
    for first_row, first_column in product(range(min(spacing, height)), range(min(spacing, width))):
        lattice = (slice(first_row, None, spacing), slice(first_column, None, spacing))
        here = places[lattice].reshape(1, 1, -1)
        there = partners[:, *lattice].reshape(count, 1, -1)
        old = np.take_along_axis(flat, here, axis=2)
        np.put_along_axis(flat, here, np.take_along_axis(flat, there, axis=2), axis=2)
        np.put_along_axis(flat, there, old, axis=2)
    return flat.reshape(pictures.shape)


def motion_blur(pictures: Floats, level: int, streams: Streams) -> Floats:
    """The average along a streak to one side, of a direction within 45 degrees of the horizontal."""
    radius, sigma = _MOTION[level]
    angles = uniform(streams["angle"], -45, 45, (len(pictures),))
    return convolved(pictures, streaks(angles, pixels(2 * radius, pictures), pixels(sigma, pictures)))


def zoom_blur(pictures: Floats, level: int, streams: Streams) -> Floats:  # noqa: ARG001
    """The average of the picture and its enlargements about the centre by up to 1.10, 1.15, 1.20, 1.24 and 1.30."""
    step, number = _ZOOM[level]
    total = pictures.copy()
    for index in range(number):
        rows, columns = (_zoom_weights(1 + step * index, side) for side in pictures.shape[2:])
        total += along_axes(rows, pictures, columns)
    return total / np.float32(number + 1)


def _zoom_weights(factor: float, side: int) -> Floats:
    centre = (side - 1) / 2
    return linear_weights(centre + (np.arange(side) - centre) / factor, side)


CORRUPTIONS: dict[str, Corruption] = {
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
}
