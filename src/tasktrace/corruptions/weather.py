"""Snow, frost, fog and brightness.

Constants: ImageNet-C (Hendrycks and Dietterich 2019), but for one value each of snow, frost and fog; see
:mod:`tasktrace.corruptions`. Lengths are in pixels of a picture of 224 by 224.
"""

from typing import NamedTuple

import numpy as np

from tasktrace.corruptions.drawing import Corruption, Floats, Streams, pixels, uniform
from tasktrace.corruptions.fractal import clouds
from tasktrace.corruptions.kernels import convolved, streaks
from tasktrace.corruptions.resampling import along_axes, linear_weights


class _Snow(NamedTuple):
    """Snow at one severity.

    Attributes:
        mean: Of the noise that becomes flakes.
        deviation: Its standard deviation.
        size: Of a flake, in pixels.
        threshold: Below it there is no flake.
        radius: Half the length of a flake's streak, in pixels.
        sigma: Of the streak's weight, in pixels.
        clear: How much of the picture keeps its colours; the rest whitens.
    """

    mean: float
    deviation: float
    size: float
    threshold: float
    radius: float
    sigma: float
    clear: float


_SNOW = (
    _Snow(0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
    _Snow(0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
    _Snow(0.55, 0.3, 4.0, 0.9, 12, 8, 0.675),
    _Snow(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    _Snow(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_DEVIATION_LEFT = 0.7
"""What linear interpolation between grains leaves of the noise's deviation, if judged by how many pixels are flakes."""
_FROST = (0.4, 0.6, 0.7, 0.725, 0.75)
_FOG = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.75, 1.5), (3.0, 1.4))
"""Thickness, decay of the clouds' octaves."""
_BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""
_ICE = np.array([0.80, 0.90, 1.0], dtype=np.float32)
"""Colour of the thickest frost: red, green, blue."""


def snow(pictures: Floats, level: int, streams: Streams) -> Floats:
    """Streaks of falling snow, half of them upwards, on a whitened picture."""
    given = _SNOW[level]
    count, _, height, width = pictures.shape
    flakes = _flakes(given, pixels(given.size, pictures), (count, height, width), streams["flakes"])
    angles = uniform(streams["angle"], -135, -45, (count,))
    flakes = convolved(flakes, streaks(angles, pixels(2 * given.radius, pictures), pixels(given.sigma, pictures)))
    whitened = np.maximum(pictures, 1.5 * _grey(pictures) + 0.5)
    clear = np.float32(given.clear)
    snowed: Floats = clear * pictures + (1 - clear) * whitened + flakes + flakes[:, :, ::-1, ::-1]
    return snowed


def _flakes(given: _Snow, size: float, shape: tuple[int, int, int], stream: np.random.Generator) -> Floats:
    """Noise of grains of ``size`` pixels, at least one, black below the threshold; shape (N, 1, H, W).

    Between grains the noise is interpolated linearly. Every pixel is brought to the same standard deviation, so that
    the share of flakes depends neither on the grains' size nor on where they are.
    """
    count, height, width = shape
    size = max(1.0, size)
    grains = [int(np.ceil(side / size)) + 1 for side in (height, width)]
    noise = stream.standard_normal((count, *grains), dtype=np.float32)
    rows, columns = (linear_weights(np.arange(s) / size, g) for s, g in zip((height, width), grains, strict=True))
    rows, columns = (weights / np.linalg.norm(weights, axis=1, keepdims=True) for weights in (rows, columns))
    deviation = np.float32(_DEVIATION_LEFT * given.deviation)
    layer = np.float32(given.mean) + deviation * along_axes(rows, noise, columns)
    return np.where(layer < given.threshold, np.float32(0), layer.clip(0, 1))[:, None]


def _grey(pictures: Floats) -> Floats:
    """Brightness, shape (N, 1, H, W)."""
    if pictures.shape[1] == 1:
        return pictures
    grey: Floats = np.einsum("nchw,c->nhw", pictures, _LUMA)[:, None]
    return grey


def frost(pictures: Floats, level: int, streams: Streams) -> Floats:
    """(1 - o m) x + o m ice: bluish ice over the picture, o = 0.4 to 0.75 opaque where its mask m is 1.

    The ice is drawn: the ridges of two clouds are its crystals, and a third cloud says where it is thick.
    """
    count, channels, height, width = pictures.shape
    cover, coarse, fine = (
        clouds(count, height, width, decay, streams[purpose])
        for purpose, decay in (("cover", 1.6), ("coarse crystals", 1.15), ("fine crystals", 1.0))
    )
    crystals = (_ridges(coarse) + _ridges(fine)) / 2
    mask = (crystals + 1.5 * cover - 0.6).clip(0, 1)
    ice = _ICE.reshape(1, -1, 1, 1) if channels == 3 else np.float32(_ICE @ _LUMA)
    return pictures + np.float32(_FROST[level]) * mask * (ice - pictures)


def _ridges(cloud: Floats) -> Floats:
    """1 where a cloud passes its middle, falling to both sides: thin bright lines."""
    ridges: Floats = (1 - np.abs(2 * cloud - 1)) ** 4
    return ridges


def fog(pictures: Floats, level: int, streams: Streams) -> Floats:
    """(x + t p) w / (w + t): clouds p of thickness t, darkened to the brightest value w of the clean picture."""
    thickness, decay = _FOG[level]
    count, _, height, width = pictures.shape
    brightest: Floats = pictures.max(axis=(1, 2, 3), keepdims=True)
    fogged = pictures + np.float32(thickness) * clouds(count, height, width, decay, streams["fog"])
    darkened: Floats = fogged * (brightest / (brightest + np.float32(thickness)))
    return darkened


def brightness(pictures: Floats, level: int, streams: Streams) -> Floats:  # noqa: ARG001 (every corruption's form)
    """The value of HSV, which is the largest channel, raised by 0.1 to 0.5, up to 1, at the same hue and saturation."""
    value = pictures.max(axis=1, keepdims=True)
    raised = np.minimum(value + np.float32(_BRIGHTNESS[level]), 1)
    black = value == 0
    brighter: Floats = np.where(black, raised, pictures * (raised / np.where(black, 1, value)))
    return brighter


CORRUPTIONS: dict[str, Corruption] = {"snow": snow, "frost": frost, "fog": fog, "brightness": brightness}
