"""Digits: FashionMTL's construction on scikit-learn's 1,797 scanned digits (8x8, 17 grey levels), no network needed."""

from dataclasses import dataclass
from pathlib import Path

from tasktrace.config.bounds import check_range
from tasktrace.seeding import numpy_generator
from tasktrace.settings.halves import HalfNames, halved
from tasktrace.settings.prepared import Tensors
from tasktrace.settings.raw import no_sources
from tasktrace.settings.scans import load_scans
from tasktrace.settings.splits import balanced_parts
from tasktrace.tasks import Task

VERSION = 1

TASKS = (
    Task(name="digits1", outputs=10),
    Task(name="digits2", outputs=10),
    Task(name="noisy_digits", outputs=10, is_noise=True),
)

WHITE = 16

NAMES = HalfNames("digits1", "digits2", "noisy_digits")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Samples of each split of each task, and the seed of the split.

    The rarest digit has 174 scans, 87 for a half: 60 train, 13 validation and 13 test samples per class.
    """

    train: int = 600
    validation: int = 130
    test: int = 130
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)


sources = no_sources


def prepare(_raw: Path, options: Options) -> Tensors:
    """Digits1 and Digits2 are disjoint halves; NoisyDigits is Digits2 with its labels permuted."""
    images, labels = load_scans()
    # The digits have no test set of their own: set one aside first.
    test, training = balanced_parts(
        labels,
        [2 * options.test, 2 * (options.train + options.validation)],
        numpy_generator(options.seed, "split", "pools"),
    )
    sizes = {"train": options.train, "validation": options.validation, "test": options.test}
    return {
        "inputs": images,
        **halved(labels, {"train": training, "test": test}, sizes, NAMES, options.seed),
    }
