"""Gaussian, shot and impulse noise; independent for every value of a picture.

Constants: ImageNet-C (Hendrycks and Dietterich 2019).
"""

import numpy as np

from tasktrace.corruptions.drawing import Corruption, Floats, Streams

_STANDARD_DEVIATION = (0.08, 0.12, 0.18, 0.26, 0.38)
_PHOTONS = (60, 25, 12, 5, 3)
_SHARE = (0.03, 0.06, 0.09, 0.17, 0.27)


def gaussian_noise(pictures: Floats, level: int, streams: Streams) -> Floats:
    """Noise added to every value, normal with a standard deviation of 0.08 to 0.38 of white."""
    noise = streams["noise"].standard_normal(pictures.shape, dtype=np.float32)
    return pictures + np.float32(_STANDARD_DEVIATION[level]) * noise


def shot_noise(pictures: Floats, level: int, streams: Streams) -> Floats:
    """Poisson(x p) / p: counts of photons, of which white has p = 60 to 3 on average."""
    photons = _PHOTONS[level]
    return (streams["photons"].poisson(pictures * photons) / photons).astype(np.float32)


def impulse_noise(pictures: Floats, level: int, streams: Streams) -> Floats:
    """Salt and pepper: a share of 0.03 to 0.27 of the values becomes 0 or 1, each as often."""
    drawn = streams["impulses"].random(pictures.shape, dtype=np.float32)
    share = np.float32(_SHARE[level])
    return np.where(drawn < share, (drawn < share / 2).astype(np.float32), pictures)


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
}
