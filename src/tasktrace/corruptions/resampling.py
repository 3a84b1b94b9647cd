"""Linear interpolation and averaging, along both axes of pictures or at free positions."""

import numpy as np
import numpy.typing as npt

from tasktrace.corruptions.drawing import Floats


def linear_weights(positions: npt.ArrayLike, size: int) -> Floats:
    """Row p interpolates ``size`` samples at position p, in samples, linearly; outside it takes the outermost sample.

    Args:
        positions: Shape (P,); 0 is the first sample, ``size - 1`` the last.
        size: Number of samples.

    Returns:
        Shape (P, size), rows with sum 1.
    """
    inside = np.clip(np.asarray(positions, dtype=np.float64), 0, size - 1)
    weights: Floats = np.maximum(0, 1 - np.abs(inside[:, None] - np.arange(size))).astype(np.float32)
    return weights


def area_weights(cells: int, size: int) -> Floats:
    """Row c averages ``size`` samples over the c-th of ``cells`` equal cells, by the share of each that it covers.

    Returns:
        Shape (cells, size), rows with sum 1.
    """
    edges = np.arange(cells + 1)[:, None] * size / cells
    samples = np.arange(size)
    covered = np.minimum(edges[1:], samples + 1) - np.maximum(edges[:-1], samples)
    shares: Floats = (np.maximum(0, covered) * cells / size).astype(np.float32)
    return shares


def along_axes(rows: Floats, pictures: Floats, columns: Floats) -> Floats:
    """Apply one matrix along each axis of the pictures.

    Args:
        rows: Shape (h, H).
        pictures: Shape (..., H, W).
        columns: Shape (w, W).

    Returns:
        Shape (..., h, w).
    """
    resampled: Floats = np.matmul(np.matmul(rows, pictures), columns.T)
    return resampled


def at_positions(pictures: Floats, y: Floats, x: Floats) -> Floats:
    """The pictures, interpolated linearly at positions of their own; beyond an edge they are mirrored at it.

    Args:
        pictures: Shape (N, C, H, W).
        y: Row of each position in pixels, shape (N, H, W).
        x: Its column.

    Returns:
        Shape (N, C, H, W).
    """
    height, width = pictures.shape[2:]
    top, down = _cell(y, height)
    left, right = _cell(x, width)
    flat = pictures.reshape(*pictures.shape[:2], -1)

    def gather(row: npt.NDArray[np.int64], column: npt.NDArray[np.int64]) -> Floats:
        index = (row * width + column).reshape(len(pictures), 1, -1)
        return np.take_along_axis(flat, index, axis=2).reshape(pictures.shape)

    down, right = down[:, None], right[:, None]
    above: Floats = gather(top, left) * (1 - right) + gather(top, left + 1) * right
    below: Floats = gather(top + 1, left) * (1 - right) + gather(top + 1, left + 1) * right
    return above + (below - above) * down


def _cell(position: Floats, size: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """The sample before each mirrored position, and how far the position is towards the next one."""
    period = 2 * (size - 1)
    folded = position % period
    folded = np.minimum(folded, period - folded)
    before = np.minimum(folded.astype(np.int64), size - 2)
    return before, (folded - before).astype(np.float32)
