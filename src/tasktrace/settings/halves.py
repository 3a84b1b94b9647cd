"""The construction of FashionMTL: two halves of one data set, and the second half with permuted labels."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasktrace.seeding import numpy_generator
from tasktrace.settings.prepared import SPLITS, Tensors
from tasktrace.settings.splits import Indices, balanced_parts

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HalfNames:
    """Names of the three tasks: the first half, the second, and the second with permuted labels."""

    first: str
    second: str
    noisy: str


def halved(labels: Labels, pools: dict[str, Indices], sizes: dict[str, int], names: HalfNames, seed: int) -> Tensors:
    """Index and target arrays of the three tasks.

    The noisy task has the second task's inputs; its labels are permuted within each split, so that its classes stay
    balanced and no label says anything about its image.

    Args:
        labels: Class of every sample, shape (N,).
        pools: For ``train`` the samples that training and validation parts are drawn from, for ``test`` those of
            the test parts.
        sizes: Samples of ``train``, ``validation`` and ``test`` per task.
        names: The tasks' names.
        seed: Seeds the split and the permutation.
    """
    train = [sizes["train"], sizes["train"], sizes["validation"], sizes["validation"]]
    rng = numpy_generator(seed, "split", "train")
    parts = _drawn(labels, pools["train"], train, rng)
    tests = _drawn(labels, pools["test"], [sizes["test"]] * 2, numpy_generator(seed, "split", "test"))
    by_split = {"train": parts[:2], "validation": parts[2:], "test": tests}
    tensors: Tensors = {}
    for split in SPLITS:
        first, second = by_split[split]
        noise = numpy_generator(seed, "noise", split)
        for task, index, target in (
            (names.first, first, labels[first]),
            (names.second, second, labels[second]),
            (names.noisy, second, noise.permutation(labels[second])),
        ):
            tensors[f"{task}/{split}/index"] = index
            tensors[f"{task}/{split}/target"] = target
    return tensors


def _drawn(labels: Labels, pool: Indices, sizes: list[int], rng: np.random.Generator) -> list[Indices]:
    return [pool[part] for part in balanced_parts(labels[pool], sizes, rng)]
