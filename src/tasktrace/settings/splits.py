"""Disjoint, class-balanced, seeded splits, recorded by index."""

import itertools

import numpy as np
import numpy.typing as npt

from tasktrace.errors import DataError

Indices = npt.NDArray[np.int64]


def balanced_parts(labels: npt.NDArray[np.integer], sizes: list[int], rng: np.random.Generator) -> list[Indices]:
    """Draw disjoint parts, each with the same number of samples of every class.

    Args:
        labels: Class of every sample, shape (N,).
        sizes: Number of samples of each part; multiples of the number of classes.
        rng: Draws the samples and their order.

    Returns:
        One array of sample indices per part, in random order.

    Raises:
        DataError: A size is no multiple of the number of classes, or a class has too few samples.
    """
    classes = np.unique(labels)
    for size in sizes:
        if size < 0:
            raise DataError(f"a part cannot hold {size} samples")
        if size % len(classes):
            raise DataError(f"a part of {size} samples cannot hold {len(classes)} classes equally; take a multiple")
    per_class = [size // len(classes) for size in sizes]
    members = [rng.permutation(np.flatnonzero(labels == label)) for label in classes]
    for label, own in zip(classes, members, strict=True):
        if len(own) < sum(per_class):
            raise DataError(f"class {label} has {len(own)} samples, but parts of {sizes} need {sum(per_class)} of it")
    bounds = np.cumsum([0, *per_class])
    return [
        rng.permutation(np.concatenate([own[start:end] for own in members])).astype(np.int64)
        for start, end in itertools.pairwise(bounds)
    ]
