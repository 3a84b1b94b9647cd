"""Kernels of blurs whose lengths may be below a pixel, and the convolution with them.

A kernel holds the weight that each pixel gets when the linearly interpolated picture is averaged over a disk, a
Gaussian or a streak. So it changes with every change of the length, however short.
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d  # type: ignore[import-untyped]
from scipy.signal import fftconvolve  # type: ignore[import-untyped]

from tasktrace.corruptions.drawing import Floats
from tasktrace.corruptions.resampling import linear_weights

_POINTS_PER_UNIT = 32
_POINTS_PER_STREAK_UNIT = 4
_SIGMAS = 4.0


def disk(radius: float) -> Floats:
    """The kernel of a disk.

    Args:
        radius: In pixels.

    Returns:
        Shape (K, K), K odd, sum 1.
    """
    points, weights = _points(radius)
    inside = (points[:, None] ** 2 + points**2 <= radius**2).astype(np.float32)
    kernel: Floats = weights.T @ (inside / inside.sum()) @ weights
    return kernel


def gaussian(sigma: float) -> Floats:
    """The kernel of a Gaussian along one axis, cut at four standard deviations.

    Args:
        sigma: In pixels.

    Returns:
        Shape (K,), K odd, sum 1.
    """
    points, weights = _points(_SIGMAS * sigma)
    density = np.exp(-0.5 * (points / sigma) ** 2).astype(np.float32)
    kernel: Floats = density / density.sum() @ weights
    return kernel


def _points(reach: float) -> tuple[npt.NDArray[np.float64], Floats]:
    """Points from -reach to reach, shape (P,), and what each gives to the pixels around 0, shape (P, K)."""
    half = int(np.ceil(reach))
    points = np.linspace(-reach, reach, 2 * _POINTS_PER_UNIT * max(1, half) + 1)
    return points, linear_weights(points + half, 2 * half + 1)


def streaks(angles: Floats, length: float, sigma: float) -> Floats:
    """Kernels of streaks from the centre outwards, whose weight falls as a Gaussian.

    Args:
        angles: Direction of each streak in degrees, shape (N,).
        length: In pixels.
        sigma: Standard deviation of the Gaussian, in pixels.

    Returns:
        Shape (N, 1, K, K), K odd, sum 1 each.
    """
    half = int(np.ceil(length))
    steps = _POINTS_PER_STREAK_UNIT * half
    points = (np.arange(steps) + 0.5) * length / steps
    weights = np.exp(-0.5 * (points / sigma) ** 2)
    weights /= weights.sum()
    directions = np.deg2rad(angles.astype(np.float64))[:, None]
    side = 2 * half + 1
    rows = linear_weights((half + np.sin(directions) * points).ravel(), side).reshape(len(angles), -1, side)
    columns = linear_weights((half + np.cos(directions) * points).ravel(), side).reshape(len(angles), -1, side)
    kernels: Floats = rows.transpose(0, 2, 1) @ (columns * weights[:, None].astype(np.float32))
    return kernels[:, None]


def convolved(pictures: Floats, kernels: Floats) -> Floats:
    """The pictures' convolution with one kernel, or one each; beyond an edge they are mirrored at it.

    Args:
        pictures: Shape (N, C, H, W).
        kernels: Shape (N or 1, 1, K, K), K odd.

    Returns:
        Shape (N, C, H, W).
    """
    half = kernels.shape[-1] // 2
    padded = np.pad(pictures, ((0, 0), (0, 0), (half, half), (half, half)), mode="reflect")
    result: Floats = fftconvolve(padded, kernels, mode="valid", axes=(2, 3))
    return result


def smoothed(pictures: Floats, sigma: float) -> Floats:
    """The pictures (..., H, W) after a Gaussian blur with ``sigma`` in pixels."""
    kernel = gaussian(sigma)
    result: Floats = correlate1d(correlate1d(pictures, kernel, axis=-1, mode="mirror"), kernel, axis=-2, mode="mirror")
    return result
