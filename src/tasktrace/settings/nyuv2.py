"""NYUv2 (study B): segmentation into 13 classes, depth and surface normals of indoor scenes, at 288x384."""

from dataclasses import dataclass
from pathlib import Path

from tasktrace.config.bounds import check_range
from tasktrace.settings.dense import (
    NpyRelease,
    Part,
    Published,
    class_map,
    depth_map,
    normal_map,
    pixels,
    split_tensors,
)
from tasktrace.settings.prepared import SPLITS, Tensors
from tasktrace.settings.raw import Source
from tasktrace.tasks import Task

VERSION = 1

TASKS = (
    Task(
        name="segmentation",
        outputs=13,
        loss="cross_entropy",
        metric="mean_iou",
        more_metrics=("pixel_accuracy",),
    ),
    Task(name="depth", outputs=1, loss="l1", metric="absolute_error", more_metrics=("relative_error",)),
    Task(
        name="normals",
        outputs=3,
        loss="cosine",
        metric="mean_angle",
        more_metrics=("median_angle", "within_11", "within_22", "within_30"),
    ),
)

SHARED_INPUTS = True

HEIGHT, WIDTH = 288, 384
CLASSES = 13
MOST_DEPTH = 10
"""Metres; the sensor's reach."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Images of each split, and the seed of the split; study B's numbers, which use every image."""

    train: int = 636
    validation: int = 159
    test: int = 654
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)


PLACED_BY_USER = "the preprocessed release: train/ and val/ with image, label, depth and normal"


def sources(_raw: Path) -> list[Source]:
    """None: no checksums of the release are published, so users put it there themselves."""
    return []


def prepare(raw: Path, options: Options) -> Tensors:
    """Classes, depth in metres and normals of every image; validation is drawn at random from the training images."""
    advice = (
        f"put the preprocessed release (train/ and val/ with image/, label/, depth/ and normal/) into {raw}; "
        "docs/settings.md says where it comes from"
    )
    published = Published("NYUv2", {"train": 795, "val": 654}, advice)
    parts = {
        "inputs": Part("image", (HEIGHT, WIDTH, 3), pixels),
        "segmentation": Part("label", (HEIGHT, WIDTH), class_map(CLASSES)),
        "depth": Part("depth", (HEIGHT, WIDTH, 1), depth_map(MOST_DEPTH)),
        "normals": Part("normal", (HEIGHT, WIDTH, 3), normal_map),
    }
    sizes = {split: getattr(options, split) for split in SPLITS}
    return split_tensors(NpyRelease(raw, parts, published), published, sizes, options.seed)
