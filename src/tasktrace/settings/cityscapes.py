"""Cityscapes (both studies): segmentation into seven categories and inverse depth, at 128x256.

Read from either of two raw forms: the preprocessed release of Liu et al. (2019), which both studies' sources use, or
the data set as its makers publish it. docs/settings.md says what is known of how the first was made of the second.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasktrace.config.bounds import check_range
from tasktrace.errors import DataError
from tasktrace.settings.dense import (
    Array,
    NpyRelease,
    Part,
    Published,
    Scene,
    Scenes,
    class_map,
    depth_map,
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
        outputs=7,
        loss="cross_entropy",
        metric="mean_iou",
        more_metrics=("pixel_accuracy",),
    ),
    Task(name="depth", outputs=1, loss="l1", metric="absolute_error", more_metrics=("relative_error",)),
)

SHARED_INPUTS = True

HEIGHT, WIDTH = 128, 256
FULL_HEIGHT, FULL_WIDTH = 1024, 2048
_STEP = FULL_HEIGHT // HEIGHT

CATEGORIES = ("flat", "construction", "object", "nature", "sky", "human", "vehicle")

CATEGORY_OF_LABEL: NDArray[np.int8] = np.repeat(np.arange(-1, 7, dtype=np.int8), [7, 4, 6, 4, 2, 1, 2, 8])
"""By label id (cityscapesScripts' labels.py, 0 to 33) the number of its category, -1 for void."""

DISPARITY_UNIT = 65_535
"""Stored disparities over this are the release's inverse depths: their largest values are 32,257 and 0.4922."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Images of each split, and the seed of the split; study B's numbers, which use every image."""

    train: int = 2_380
    validation: int = 595
    test: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)


PLACED_BY_USER = "the preprocessed release (train/ and val/ with image, label_7 and depth) or Cityscapes' own folders"


def sources(_raw: Path) -> list[Source]:
    """None: the licence lets nobody pass the data on, so users put it there themselves."""
    return []


def prepare(raw: Path, options: Options) -> Tensors:
    """Segmentation and inverse depth of every image; validation is drawn at random from the training images."""
    published = Published("Cityscapes", {"train": 2_975, "val": 500}, _advice(raw))
    sizes = {split: getattr(options, split) for split in SPLITS}
    return split_tensors(_scenes(raw, published), published, sizes, options.seed)


def _advice(raw: Path) -> str:
    return (
        "put either the preprocessed 128x256 release (train/ and val/ with image/, label_7/ and depth/) or the "
        f"original data set (leftImg8bit/, gtFine/ and disparity/ with train/ and val/) into {raw}; docs/settings.md "
        "says where they come from"
    )


def _scenes(raw: Path, published: Published) -> Scenes:
    forms = [name for name in ("train", "leftImg8bit") if (raw / name).is_dir()]
    if len(forms) != 1:
        found = "both train/ and leftImg8bit/" if forms else "neither train/ nor leftImg8bit/"
        raise DataError(f"{raw}: expected one raw form of Cityscapes, found {found}; {published.advice}")
    if forms == ["leftImg8bit"]:
        return Original(raw, published)
    labels = "label_7" if (raw / "train/label_7").is_dir() else "label"  # LibMTL's copy of the release has no other
    parts = {
        "inputs": Part("image", (HEIGHT, WIDTH, 3), pixels),
        "segmentation": Part(labels, (HEIGHT, WIDTH), class_map(len(CATEGORIES))),
        "depth": Part("depth", (HEIGHT, WIDTH, 1), depth_map(1)),
    }
    return NpyRelease(raw, parts, published)


@dataclass(frozen=True)
class Original:
    """The tree of the official archives; images are numbered in the order of their names.

    Attributes:
        root: The folder with ``leftImg8bit``, ``gtFine`` and ``disparity``.
        published: What they should be.
    """

    root: Path
    published: Published

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """By folder the images' names up to ``_leftImg8bit.png``, with their city: ``aachen/aachen_000000_000019``."""
        return {folder: self._found(folder) for folder in self.published.images}

    def _found(self, folder: str) -> list[str]:
        root, ending = self.root / "leftImg8bit" / folder, "_leftImg8bit.png"
        return sorted(str(path.relative_to(root)).removesuffix(ending) for path in root.glob(f"*/*{ending}"))

    def count(self, folder: str) -> int:
        """Number of images in a folder.

        Raises:
            DataError: An image has no labels or no disparity.
        """
        for name in self._names[folder]:
            for path in (self._labels(folder, name), self._disparity(folder, name)):
                if not path.exists():
                    raise DataError(f"{path}: expected a file for {name}, found none; {self.published.advice}")
        return len(self._names[folder])

    def read(self, folder: str, number: int) -> Scene:
        """One image with its maps, an eighth of their size.

        A pixel is the mean of 8x8; a label or disparity, of which there is no mean, that of the pixel in their middle.
        """
        name = self._names[folder][number]
        colours = self._opened(self.root / "leftImg8bit" / folder / f"{name}_leftImg8bit.png", ("RGB",))
        small = colours.reduce(_STEP)
        return {
            "inputs": np.moveaxis(np.asarray(small), -1, 0),
            "segmentation": self._categories(self._labels(folder, name)),
            "depth": inverse_depth(_middles(self._opened(self._disparity(folder, name), ("I;16", "I")))),
        }

    def _categories(self, path: Path) -> NDArray[np.int8]:
        labels = _middles(self._opened(path, ("L",)))
        if labels.max() >= len(CATEGORY_OF_LABEL):
            known = len(CATEGORY_OF_LABEL) - 1
            raise DataError(
                f"{path}: expected label ids from 0 to {known}, found {labels.max()}; {self.published.advice}"
            )
        return CATEGORY_OF_LABEL[labels]

    def _labels(self, folder: str, name: str) -> Path:
        return self.root / "gtFine" / folder / f"{name}_gtFine_labelIds.png"

    def _disparity(self, folder: str, name: str) -> Path:
        return self.root / "disparity" / folder / f"{name}_disparity.png"

    def _opened(self, path: Path, modes: tuple[str, ...]) -> Image.Image:
        try:
            with Image.open(path) as image:
                image.load()
        except (OSError, SyntaxError) as error:  # Pillow's for a damaged PNG
            raise DataError(f"{path}: not a readable PNG ({error}); {self.published.advice}") from error
        if image.size != (FULL_WIDTH, FULL_HEIGHT) or image.mode not in modes:
            raise DataError(
                f"{path}: expected {FULL_WIDTH}x{FULL_HEIGHT} pixels of mode {' or '.join(modes)}, found "
                f"{image.width}x{image.height} of mode {image.mode}; {self.published.advice}"
            )
        return image


def _middles(image: Image.Image) -> Array:
    """The pixel right below the middle of every 8x8, which is Pillow's nearest neighbour at this size."""
    return np.asarray(image)[_STEP // 2 :: _STEP, _STEP // 2 :: _STEP]


def inverse_depth(disparities: Array) -> NDArray[np.float32]:
    """Stored 16-bit disparities in the release's unit, NaN where there is no measurement (0).

    A stored value v is a disparity of (v - 1) / 256 pixels of the full image, so the unit is about 256 of them; a depth
    is baseline times focal length over disparity.
    """
    depth = (disparities / DISPARITY_UNIT).astype(np.float32)
    depth[disparities == 0] = np.nan
    return depth
