"""Digit traits: three tasks on the same scanned digits: which digit, odd or even, and how much ink."""

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

TASKS = (
    Task(name="digit", outputs=10),
    Task(name="parity", outputs=2),
    Task(name="ink", outputs=1, loss="l1", metric="absolute_error", more_metrics=("relative_error",)),
)

SHARED_INPUTS = True

WHITE = 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """Samples of each split, and the seed of the split; the rarest digit has 174 scans."""

    train: int = 1000
    validation: int = 300
    test: int = 400
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)


sources = no_sources


def prepare(_raw: Path, options: Options) -> Tensors:
    """Every scan has a target for every task; ink is the mean grey level, as a share of the darkest."""
    images, labels = load_scans()
    targets = {
        "digit": labels,
        "parity": labels % 2,
        "ink": (images.mean(axis=(1, 2, 3)) / WHITE).astype(np.float32),
    }
    sizes = [getattr(options, split) for split in SPLITS]
    parts = balanced_parts(labels, sizes, numpy_generator(options.seed, "split"))
    tensors: Tensors = {"inputs": images}
    for task in TASKS:
        for split, part in zip(SPLITS, parts, strict=True):
            tensors[f"{task.name}/{split}/index"] = part
            tensors[f"{task.name}/{split}/target"] = targets[task.name][part]
    return tensors
