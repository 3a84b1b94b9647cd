"""Contrast, elastic transform, pixelation and JPEG compression.

Constants: ImageNet-C (Hendrycks and Dietterich 2019), but for severities 1 and 2 of the elastic transform; see
:mod:`tasktrace.corruptions`. Lengths are in pixels of a picture of 224 by 224.
"""

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasktrace.corruptions.drawing import Corruption, Floats, Streams, pixels, uniform
from tasktrace.corruptions.kernels import gaussian, smoothed
from tasktrace.corruptions.resampling import along_axes, area_weights, at_positions

_CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
_ELASTIC = ((0.02, 0.010), (0.035, 0.015), (0.05, 0.02), (0.07, 0.02), (0.12, 0.02))
"""Factor of the smoothed noise, reach of the affine map's corners; in 244 pixels, as in ImageNet-C's script."""
_ELASTIC_UNIT = 244
_ELASTIC_SIGMA = 0.01
_PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
_QUALITY = (25, 18, 15, 10, 7)


def contrast(pictures: Floats, level: int, streams: Streams) -> Floats:  # noqa: ARG001 (every corruption's form)
    """The picture m + c (x - m), about the mean m of each channel of each picture, c = 0.4 to 0.05."""
    mean: Floats = pictures.mean(axis=(2, 3), keepdims=True)
    return mean + np.float32(_CONTRAST[level]) * (pictures - mean)


def elastic_transform(pictures: Floats, level: int, streams: Streams) -> Floats:
    """Pixels taken from displaced positions: a random affine map and smoothed uniform noise."""
    factor, reach = _ELASTIC[level]
    height, width = pictures.shape[2:]
    affine = _affine(pictures, pixels(reach * _ELASTIC_UNIT, pictures), streams["corners"])
    local = _local(pictures, factor, streams["displacements"])
    y = np.arange(height, dtype=np.float32)[:, None] + affine[:, 0] + local[:, 0]
    x = np.arange(width, dtype=np.float32) + affine[:, 1] + local[:, 1]
    return at_positions(pictures, y, x)


def _affine(pictures: Floats, reach: float, stream: np.random.Generator) -> Floats:
    """Displacements by the affine map that moves three corners of a central square by up to ``reach`` pixels.

    The square's half side is a third of the picture's shorter side. Displacements are linear in the position, so they
    follow from the corners': with (v, u) the row and column in half sides, (1, 1), (1, -1) and (-1, -1).

    Returns:
        Rows and columns, shape (N, 2, H, W), in pixels.
    """
    height, width = pictures.shape[2:]
    half = min(height, width) // 3
    v = ((np.arange(height, dtype=np.float32) - height // 2) / half)[:, None]
    u = (np.arange(width, dtype=np.float32) - width // 2) / half
    first, second, third = np.moveaxis(uniform(stream, -reach, reach, (len(pictures), 3, 2, 1, 1)), 1, 0)
    moves: Floats = (first + third) / 2 + v * (second - third) / 2 + u * (first - second) / 2
    return moves


def _local(pictures: Floats, factor: float, stream: np.random.Generator) -> Floats:
    """Displacements by noise of ``factor`` * 244 pixels in [-1, 1], smoothed with a sigma of 2.44 pixels of 224.

    White noise that is smoothed keeps a standard deviation of 1 / (2 sqrt(pi) sigma) of its own, sigma in pixels.
    The displacements are brought to that of a picture of 224 by 224, in its pixels, whatever the size.

    Returns:
        Rows and columns, shape (N, 2, H, W), in pixels.
    """
    sigma = _ELASTIC_SIGMA * _ELASTIC_UNIT
    wanted = pixels(factor * _ELASTIC_UNIT / (2 * np.sqrt(np.pi) * sigma), pictures)
    noise = uniform(stream, -1, 1, (len(pictures), 2, *pictures.shape[2:]))
    kept = np.sum(gaussian(pixels(sigma, pictures)) ** 2)
    return smoothed(noise, pixels(sigma, pictures)) * np.float32(wanted / kept)


def pixelate(pictures: Floats, level: int, streams: Streams) -> Floats:  # noqa: ARG001
    """Averages over blocks: the picture at 0.6 to 0.25 of its height and width, drawn at its full size."""
    rows, columns = (_block_weights(int(side * _PIXELATE[level]), side) for side in pictures.shape[2:])
    return along_axes(rows, pictures, columns)


def _block_weights(blocks: int, side: int) -> Floats:
    """Row i is what pixel i shows of the averages over blocks: its own, or its share of each that it lies in."""
    return area_weights(side, blocks) @ area_weights(blocks, side)


def jpeg_compression(pictures: Floats, level: int, streams: Streams) -> Floats:  # noqa: ARG001
    """Compressed as JPEG with a quality of 25 to 7, chroma at half the resolution, and decompressed."""
    levels = np.rint(pictures * np.float32(255)).astype(np.uint8)
    decoded = [_through_jpeg(picture, _QUALITY[level]) for picture in levels]
    return np.stack(decoded).astype(np.float32) / np.float32(255)


def _through_jpeg(picture: npt.NDArray[np.uint8], quality: int) -> npt.NDArray[np.uint8]:
    """One picture (C, H, W), uint8, after compression."""
    buffer = BytesIO()
    grey = len(picture) == 1
    Image.fromarray(picture[0] if grey else picture.transpose(1, 2, 0)).save(
        buffer, "JPEG", quality=quality, subsampling="4:2:0"
    )
    decoded = np.asarray(Image.open(buffer))
    return decoded[None] if grey else decoded.transpose(2, 0, 1)


CORRUPTIONS: dict[str, Corruption] = {
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
