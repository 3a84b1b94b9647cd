"""Digit pairs: scikit-learn's scanned digits as 45 two-class tasks, for the study of random auxiliary tasks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasktrace.config.bounds import check_range
from tasktrace.seeding import numpy_generator
from tasktrace.settings.prepared import SPLITS, Tensors
from tasktrace.settings.raw import no_sources
from tasktrace.settings.scans import load_scans
from tasktrace.settings.splits import balanced_parts
from tasktrace.tasks import Task

VERSION = 1

TASKS = tuple(Task(name=f"pair_{low}_{high}", outputs=2) for low in range(10) for high in range(low + 1, 10))

WHITE = 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """Scans of each digit in each split, and the seed of the split.

    The rarest digit has 174 scans. Few train, or every pair would be told apart without help from others.
    """

    train: int = 30
    validation: int = 40
    test: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)


sources = no_sources


def prepare(_raw: Path, options: Options) -> Tensors:
    """Every digit's scans are split once; a pair has the scans of its two, class 0 the lower digit.

    So tasks that share a digit share its scans, and no scan is training data of one task and test data of another.
    """
    images, labels = load_scans()
    sizes = [10 * getattr(options, split) for split in SPLITS]
    parts = dict(zip(SPLITS, balanced_parts(labels, sizes, numpy_generator(options.seed, "split")), strict=True))
    tensors: Tensors = {"inputs": images}
    for task in TASKS:
        low, high = map(int, task.name.removeprefix("pair_").split("_"))
        for split, part in parts.items():
            index = part[np.isin(labels[part], (low, high))]
            tensors[f"{task.name}/{split}/index"] = index
            tensors[f"{task.name}/{split}/target"] = (labels[index] == high).astype(np.int64)
    return tensors
