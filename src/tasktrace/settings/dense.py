"""What settings of dense prediction share: the npy files they are read from, and how images become tensors.

Images are read one by one into arrays that are allocated once, so preparing takes little more memory than its result.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from tasktrace.errors import DataError
from tasktrace.seeding import numpy_generator
from tasktrace.settings.prepared import SPLITS, Tensors

Array = NDArray[Any]
Scene = dict[str, Array]
"""One image: ``inputs``, uint8 (3, H, W), and by task its map."""

T = TypeVar("T")

FOLDERS = {"train": "train", "validation": "train", "test": "val"}
"""The folder that each split is drawn from; the data sets publish no labels of test images of their own."""


@dataclass(frozen=True)
class Published:
    """What a data set is known to be.

    Attributes:
        name: Its name, in messages.
        images: Number of images in each folder.
        advice: What to put where, for messages.
    """

    name: str
    images: Mapping[str, int]
    advice: str


class Scenes(Protocol):
    """The raw images of a data set, numbered from 0 in each folder."""

    def count(self, folder: str) -> int:
        """Number of images in a folder, all of whose files are there."""

    def read(self, folder: str, number: int) -> Scene:
        """One image with its maps."""


def split_tensors(scenes: Scenes, published: Published, sizes: Mapping[str, int], seed: int) -> Tensors:
    """A setting's tensors, every split shared by all tasks.

    Validation is drawn at random from the folder of the training images. The rows of ``inputs`` are the used images in
    the order of the files, training folder first: with all images in use, row i is training image i.

    Args:
        scenes: The raw images.
        published: What they should be.
        sizes: Images of each split.
        seed: Of the draw.

    Raises:
        DataError: There are fewer images than asked for, or more than the data set has; or a file is not what it
            should be.
    """
    for folder, known in published.images.items():
        _check_count(scenes.count(folder), known, _asked(folder, sizes), folder, published)
    numbers = draw_numbers({folder: scenes.count(folder) for folder in published.images}, sizes, seed)
    index = _rows(numbers)
    order = [(split, place) for split in SPLITS for place in range(sizes[split])]
    tensors: Tensors = {}
    for split, place in _announced(order, published.name):
        scene = scenes.read(FOLDERS[split], int(numbers[split][place]))
        if not tensors:
            tensors = _allocated(scene, sizes)
        tensors["inputs"][index[split][place]] = scene.pop("inputs")
        for task, own in scene.items():
            tensors[f"{task}/{split}/target"][place] = own
    for name in list(tensors):
        if name.endswith("/target"):
            tensors[name.replace("/target", "/index")] = index[name.split("/")[1]]
    return tensors


def draw_numbers(counts: Mapping[str, int], sizes: Mapping[str, int], seed: int) -> dict[str, NDArray[np.int64]]:
    """The images of each split, as numbers in its folder, ascending."""
    drawn, used = {}, dict.fromkeys(counts, 0)
    for split in SPLITS:
        folder = FOLDERS[split]
        shuffled = numpy_generator(seed, "split", folder).permutation(counts[folder])
        drawn[split] = np.sort(shuffled[used[folder] : used[folder] + sizes[split]]).astype(np.int64)
        used[folder] += sizes[split]
    return drawn


def _rows(numbers: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """The rows of ``inputs`` that each split's images have."""
    rows, first = {}, 0
    for folder in dict.fromkeys(FOLDERS.values()):
        own = [split for split in SPLITS if FOLDERS[split] == folder]
        used = np.sort(np.concatenate([numbers[split] for split in own]))
        rows.update({split: first + np.searchsorted(used, numbers[split]) for split in own})
        first += len(used)
    return rows


def _allocated(scene: Scene, sizes: Mapping[str, int]) -> Tensors:
    tensors = {"inputs": np.empty((sum(sizes.values()), *scene["inputs"].shape), np.uint8)}
    for task, own in scene.items():
        if task != "inputs":
            tensors.update(
                {f"{task}/{split}/target": np.empty((sizes[split], *own.shape), own.dtype) for split in SPLITS}
            )
    return tensors


def _asked(folder: str, sizes: Mapping[str, int]) -> int:
    return sum(sizes[split] for split in SPLITS if FOLDERS[split] == folder)


def _check_count(found: int, known: int, asked: int, folder: str, published: Published) -> None:
    if not asked <= found <= known:
        splits = " and ".join(split for split, own in FOLDERS.items() if own == folder)
        raise DataError(
            f"{published.name}: {folder}/ has {found:,} images; expected are {known:,}, and {asked:,} are asked for "
            f"by the setting's data options ({splits}); {published.advice}"
        )


def _announced(items: Sequence[T], name: str) -> Iterator[T]:
    """The items, with a bar on a terminal, a line every tenth of them in a log."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, f"reading {name}", console=console)
        return
    for done, item in enumerate(items, 1):
        yield item
        if 10 * done // len(items) > 10 * (done - 1) // len(items):
            print(f"{name}: {done} of {len(items)} images read", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Part:
    """One kind of npy file.

    Attributes:
        folder: Where its files are, below ``train`` and ``val``.
        shape: Of the array in each.
        convert: From that array to what is stored; a ValueError says what is wrong with it.
    """

    folder: str
    shape: tuple[int, ...]
    convert: Callable[[Array], Array]


@dataclass(frozen=True)
class NpyRelease:
    """A preprocessed release of Liu et al. (MTAN, 2019).

    ``train`` and ``val`` hold a folder for each kind of file, and that ``0.npy``, ``1.npy`` and so on.

    Attributes:
        root: The folder with ``train`` and ``val``.
        parts: ``inputs`` and each task's kind of file.
        published: What the release should be.
    """

    root: Path
    parts: Mapping[str, Part]
    published: Published

    def count(self, folder: str) -> int:
        """Number of images in a folder.

        Raises:
            DataError: A kind of file is absent, or not numbered like the images.
        """
        counts = {part.folder: self._count_files(self.root / folder / part.folder) for part in self.parts.values()}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name}/ {count:,}" for name, count in counts.items())
            raise DataError(
                f"{self.root / folder}: expected as many files of each kind, found {found}; {self.published.advice}"
            )
        return next(iter(counts.values()))

    def read(self, folder: str, number: int) -> Scene:
        """One image with its maps."""
        return {
            name: self._converted(self.root / folder / part.folder / f"{number}.npy", part)
            for name, part in self.parts.items()
        }

    def _count_files(self, folder: Path) -> int:
        names = {path.name for path in folder.glob("*.npy")}
        for number in range(len(names)):
            if f"{number}.npy" not in names:
                raise DataError(
                    f"{folder}: expected 0.npy to {len(names) - 1}.npy, found {len(names):,} files without "
                    f"{number}.npy; {self.published.advice}"
                )
        if not names:
            raise DataError(f"{folder}: expected 0.npy, 1.npy and so on, found no such file; {self.published.advice}")
        return len(names)

    def _converted(self, path: Path, part: Part) -> Array:
        try:
            array = np.load(path, allow_pickle=False)
            if array.shape != part.shape or array.dtype.kind not in "fiu":
                raise ValueError(f"expected numbers of shape {part.shape}, found {array.dtype} of shape {array.shape}")
            return part.convert(array)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: {error}; {self.published.advice}") from error


def pixels(array: Array) -> NDArray[np.uint8]:
    """Colours (H, W, 3) from 0 to 1 as bytes (3, H, W): rounded to the nearest 1/255, so off by 1/510 at most."""
    _check_within(array, 0, 1)
    rounded: Array = np.rint(np.moveaxis(array, -1, 0) * 255)
    return rounded.astype(np.uint8)


def class_map(classes: int) -> Callable[[Array], NDArray[np.int8]]:
    """A converter of maps of class numbers (H, W), -1 where there is none."""

    def convert(array: Array) -> NDArray[np.int8]:
        _check_within(array, -1, classes - 1)
        labels = array.astype(np.int8)
        if not np.array_equal(labels, array):
            raise ValueError("expected whole class numbers, found fractions")
        return labels

    return convert


def depth_map(most: float) -> Callable[[Array], NDArray[np.float32]]:
    """A converter of maps of depth (H, W, 1) from 0 to ``most``; 0 is invalid and becomes NaN."""

    def convert(array: Array) -> NDArray[np.float32]:
        _check_within(array, 0, most)
        depth = array[..., 0].astype(np.float32)
        depth[depth == 0] = np.nan
        return depth

    return convert


def normal_map(array: Array) -> NDArray[np.float32]:
    """Surface normals (H, W, 3) as (3, H, W), NaN where the three add up to 0: the field's mark of invalid ones."""
    _check_within(array, -1, 1)
    normals = np.ascontiguousarray(np.moveaxis(array, -1, 0), np.float32)
    normals[:, normals.sum(axis=0) == 0] = np.nan
    return normals


_SLACK = 1e-5
"""What interpolation in single precision may add to a range."""


def _check_within(array: Array, low: float, high: float) -> None:
    least, most = float(array.min()), float(array.max())
    if not (low - _SLACK <= least and most <= high + _SLACK):  # also true of NaN
        raise ValueError(f"expected values from {low:g} to {high:g}, found {least:g} to {most:g}")
