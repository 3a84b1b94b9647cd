"""The 15 corruptions of ImageNet-C at five severities, for pictures of any size.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations"
(2019); the severities' constants are those of the authors' script that makes ImageNet-C.

One rule for every size: strengths are ImageNet-C's; those that are lengths hold for its 224 pixels and are scaled by
min(H, W) / 224, but by no less than 32 / 224, where radii of defocus are those of CIFAR-10-C. A length below a pixel
still counts: blurs average the linearly interpolated picture, and glass moves a pixel with that probability; only a
flake of snow is never less than one pixel.

What differs from ImageNet-C:

- the mean squared distance to the clean picture grows with every severity, if the picture has detail of a few pixels.
  So severities 1 and 2 of ``elastic_transform``, by far the strongest there (affine, up to 49 pixels), are weaker forms
  of its 3; where a severity of ``snow`` (3), ``frost`` and ``fog`` (4) is as thick there as the one before it, it is
  put halfway to the next one; and ``glass_blur`` makes two rounds of swaps at every severity, as far as there in the
  mean square;
- frost is drawn and covers the picture, where ImageNet-C adds photographs of frost;
- fog and frost are made of octaves of noise with a fixed mean and deviation, not stretched from black to white;
- glass swaps all channels of sparse lattices of pixels, not row by row, which drags pixels along;
- pixelated blocks need not fall on whole pixels: a pixel across two blocks shows a mixture;
- nothing but ``jpeg_compression`` compresses its result.

At 28x28 all that holds, though little is seen of ``defocus_blur`` at severities 1 and 2. At 8x8 there are too few
pixels and values for some: ``pixelate`` has three different severities, ``contrast`` leaves two of 17 levels at
severity 5, and ``glass_blur``, ``snow`` and ``impulse_noise`` act on single pixels. Leave out by configuration what
makes no sense there.
"""

import numpy as np
import numpy.typing as npt

from tasktrace.config.corruptions import FAMILIES, NAMES, SEVERITIES, VERSION, check_corruption
from tasktrace.corruptions import blur, digital, noise, weather
from tasktrace.corruptions.drawing import Streams

__all__ = ["FAMILIES", "NAMES", "SEVERITIES", "VERSION", "corrupt"]

_CORRUPTIONS = noise.CORRUPTIONS | blur.CORRUPTIONS | weather.CORRUPTIONS | digital.CORRUPTIONS
_CHUNK = 1 << 20
"""Values that are corrupted at once, so that memory does not grow with the number of pictures."""
_LEAST_SIDE = 8


def corrupt(
    images: npt.NDArray[np.uint8], name: str, severity: int, generator: np.random.Generator, white: int = 255
) -> npt.NDArray[np.uint8]:
    """The pictures under one corruption; each picture gets its own draws.

    Args:
        images: Shape (N, C, H, W), uint8, C = 1 (grey) or 3 (RGB), H and W at least 8, values 0..white.
        name: One of ``NAMES``.
        severity: One of ``SEVERITIES``.
        generator: One number is drawn from it; all others follow from that one and from each picture's position, so
            that a batch's first pictures do not depend on how many follow.
        white: The value of the brightest pixel, 1..255.

    Returns:
        A new array of the same shape, uint8, rounded, values 0..white.

    Raises:
        ConfigError: Unknown name or severity.
        ValueError: The array or ``white`` is not as described.
    """
    check_corruption(name, severity)
    _check_images(images, white)
    streams = Streams(int(generator.integers(2**63)))
    corruption = _CORRUPTIONS[name]
    corrupted = np.empty_like(images)
    at_once = max(1, _CHUNK // max(1, int(np.prod(images.shape[1:]))))
    for start in range(0, len(images), at_once):
        part = slice(start, start + at_once)
        pictures = images[part].astype(np.float32) / np.float32(white)
        changed = corruption(pictures, severity - 1, streams)
        corrupted[part] = np.rint(changed.clip(0, 1) * np.float32(white))
    return corrupted


def _check_images(images: npt.NDArray[np.uint8], white: int) -> None:
    if not 1 <= white <= 255:
        raise ValueError(f"white must be in 1..255, found {white!r}")
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise ValueError(f"images must be a NumPy array of uint8, found {getattr(images, 'dtype', type(images))}")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or min(images.shape[2:]) < _LEAST_SIDE:
        raise ValueError(
            f"images must have shape (N, C, H, W) with C 1 or 3 and H, W at least {_LEAST_SIDE}, found {images.shape}"
        )
    if images.size and images.max() > white:
        raise ValueError(f"images must have values up to white = {white}, found {images.max()}")
