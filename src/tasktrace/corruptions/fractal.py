"""Cloud-like random pictures."""

import numpy as np

from tasktrace.corruptions.drawing import Floats
from tasktrace.corruptions.resampling import along_axes, linear_weights

_DEVIATION = 0.18


def clouds(count: int, height: int, width: int, decay: float, stream: np.random.Generator) -> Floats:
    """Sums of octaves of uniform noise, each on a grid twice as fine as the one before and weaker by ``decay``^2.

    The grids, from 2 by 2 cells to cells of at least two pixels, span a square as wide as the picture's longer side, so
    that the look does not depend on the size. The square of ``decay`` is that of ImageNet-C's plasma, which multiplies
    its amplitude with noise of the same amplitude.

    Args:
        count: Number of pictures.
        height: In pixels.
        width: In pixels.
        decay: Above 1; the less, the rougher.
        stream: One draw per picture and grid point.

    Returns:
        Shape (count, 1, height, width), values 0..1. Before they are cut there, each picture's mean is 1/2 and its
        standard deviation 0.18, as about in ImageNet-C, so that the roughness does not change how much fog there is.
    """
    side = max(height, width)
    cells = [2**octave for octave in range(1, max(2, int(np.log2(side))))]
    ends = np.cumsum([(many + 1) ** 2 for many in cells])
    drawn = stream.random((count, ends[-1]), dtype=np.float32)
    total = np.zeros((count, height, width), dtype=np.float32)
    for octave, (many, grid) in enumerate(zip(cells, np.split(drawn, ends[:-1], axis=1), strict=True)):
        rows = linear_weights(np.arange(height) * many / (side - 1), many + 1)
        columns = linear_weights(np.arange(width) * many / (side - 1), many + 1)
        amplitude = np.float32(decay ** (-2 * octave))
        total += amplitude * along_axes(rows, grid.reshape(count, many + 1, many + 1), columns)
    total -= total.mean(axis=(1, 2), keepdims=True)
    total *= np.float32(_DEVIATION) / total.std(axis=(1, 2), keepdims=True)
    values: Floats = (total + np.float32(0.5)).clip(0, 1)[:, None]
    return values
