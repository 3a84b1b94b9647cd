"""One seed per (seed, purpose): no random number in tasktrace comes from a shared generator."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of one run.

    Adding a new use of randomness, or drawing more numbers in one of them, leaves every other use as it was.

    Args:
        seed: The run's seed.
        purpose: What the numbers are for, from general to particular, e.g. ``("order", "fashion1", 3)``.
    """
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def numpy_generator(seed: int, *purpose: str | int) -> "np.random.Generator":
    """A NumPy generator seeded from (seed, purpose)."""
    import numpy as np  # not needed by the workflow's process, which draws auxiliary sets

    return np.random.default_rng(derive_seed(seed, *purpose))
