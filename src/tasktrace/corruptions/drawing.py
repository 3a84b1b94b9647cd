"""What every family of corruptions builds on: pictures as floats, random streams and the unit of lengths."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tasktrace.seeding import numpy_generator

Floats = npt.NDArray[np.float32]
"""float32; pictures have shape (N, C, H, W) and values 0 (black) to 1 (white)."""

_SIDE = 224
_LEAST_SIDE = 32


class Streams:
    """One random stream per purpose, read on from chunk to chunk.

    Draws of one purpose are made picture by picture, in one call; so no number depends on where a chunk ends.

    Args:
        seed: Of all streams.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._streams: dict[str, np.random.Generator] = {}

    def __getitem__(self, purpose: str) -> np.random.Generator:
        if purpose not in self._streams:
            self._streams[purpose] = numpy_generator(self._seed, purpose)
        return self._streams[purpose]


Corruption = Callable[[Floats, int, Streams], Floats]
"""A corruption of pictures (N, C, H, W) at a level 0..4, one below its severity; what leaves 0..1 is clipped later."""


def pixels(length: float, pictures: Floats) -> float:
    """A length, in pixels of these pictures, that is given in pixels of a picture of 224 by 224."""
    side = max(int(min(pictures.shape[2:])), _LEAST_SIDE)
    return length * side / _SIDE


def uniform(stream: np.random.Generator, low: float, high: float, shape: tuple[int, ...]) -> Floats:
    """Uniform draws in [low, high), float32."""
    drawn: Floats = stream.random(shape, dtype=np.float32) * np.float32(high - low) + np.float32(low)
    return drawn
