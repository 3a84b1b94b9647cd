"""CIFAR-100 (study A): each of the 20 superclasses is a task, to tell its five classes apart."""

import hashlib
import pickle
import tarfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tasktrace.config.bounds import check_range
from tasktrace.errors import DataError
from tasktrace.seeding import numpy_generator
from tasktrace.settings.prepared import Tensors
from tasktrace.settings.raw import Source, download, missing, verify
from tasktrace.settings.splits import balanced_parts
from tasktrace.tasks import Task

VERSION = 1

TASKS = tuple(
    Task(name=name, outputs=5)
    for name in (
        "aquatic_mammals",
        "fish",
        "flowers",
        "food_containers",
        "fruit_and_vegetables",
        "household_electrical_devices",
        "household_furniture",
        "insects",
        "large_carnivores",
        "large_man_made_outdoor_things",
        "large_natural_outdoor_scenes",
        "large_omnivores_and_herbivores",
        "medium_mammals",
        "non_insect_invertebrates",
        "people",
        "reptiles",
        "small_mammals",
        "trees",
        "vehicles_1",
        "vehicles_2",
    )
)

_PER_CLASS = {"train": 500, "test": 100}
_CLASSES, _CLASSES_A_TASK = 100, 5

# Of the decoded pixels, (N, 32, 32, 3), and of the labels, (N, 2) bytes, both in the official order.
_PIXELS_MD5 = {"train": "111db26282d380128f3126515677de38", "test": "f56c971f508f38ef6f45ff5a2db65ea6"}
_LABELS_MD5 = {"train": "d7ee373787367d001693378d8e2987fa", "test": "dc2df375ebd231648abc182028565693"}
_SIDE, _PICTURES_A_ROW = 32, 100


@dataclass(frozen=True, kw_only=True)
class Options:
    """Samples of each split of each task, and the seed of the split.

    The sizes are proposed (docs/settings.md): the paper's are lost, and these use all 2,500 training and 500 test
    images of a superclass.
    """

    train: int = 2_000
    validation: int = 500
    test: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)


@dataclass(frozen=True)
class _Part:
    """The official training or test part.

    Attributes:
        images: Pixels, uint8, (N, 3, 32, 32).
        labels: Class (0 to 99, "fine") and superclass (0 to 19, "coarse") of each, int64, (N, 2).
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def sources(raw: Path) -> list[Source]:
    """The archive of Python pickles as torchvision publishes it; nothing where pictures take its place."""
    from torchvision.datasets import CIFAR100

    archive = Source(raw / CIFAR100.filename, CIFAR100.tgz_md5, CIFAR100.url)
    has_pictures = all((raw / name).exists() for split in _PER_CLASS for name in _lossless_names(split))
    return [] if has_pictures and missing([archive]) else [archive]


def prepare(raw: Path, options: Options) -> Tensors:
    """Training and validation samples are official training images, test samples official test images.

    A task's classes 0 to 4 are those of its superclass in ascending order of their official numbers.
    """
    parts = _read_parts(raw)
    labels = np.concatenate([part.labels for part in parts.values()])
    tensors: Tensors = {"inputs": np.concatenate([part.images for part in parts.values()])}
    is_test = np.arange(len(labels)) >= len(parts["train"].labels)
    for number, task in enumerate(TASKS):
        fine = np.where(labels[:, 1] == number, labels[:, 0], -1)
        classes = np.unique(fine[fine >= 0])
        sizes = {False: [options.train, options.validation], True: [options.test]}
        drawn = []
        for test, own_sizes in sizes.items():
            pool = np.flatnonzero((fine >= 0) & (is_test == test))
            rng = numpy_generator(options.seed, "split", "test" if test else "train", task.name)
            drawn += [pool[part] for part in balanced_parts(fine[pool], own_sizes, rng)]
        for split, index in zip(("train", "validation", "test"), drawn, strict=True):
            tensors[f"{task.name}/{split}/index"] = index
            tensors[f"{task.name}/{split}/target"] = np.searchsorted(classes, fine[index]).astype(np.int64)
    return tensors


def _read_parts(raw: Path) -> dict[str, _Part]:
    """The official parts, ``train`` and ``test``, from whichever form is there."""
    files = sources(raw)
    if files:
        (archive,) = files
        if missing(files):
            download("CIFAR-100", raw, [archive])
        verify(files)  # before anything is unpickled: a pickle can run code
        parts = _read_archive(archive.path)
    else:
        parts = {split: _read_lossless(raw, split) for split in _PER_CLASS}
    _check_counts(raw, parts)
    return parts


def _read_archive(path: Path) -> dict[str, _Part]:
    """Both parts, read out of the archive by their members' names; nothing is extracted to the disk."""
    with tarfile.open(path, "r:gz") as archive:
        return {split: _read_pickle(archive, f"cifar-100-python/{split}", path) for split in _PER_CLASS}


def _read_pickle(archive: tarfile.TarFile, name: str, path: Path) -> _Part:
    try:
        member = archive.getmember(name)
    except KeyError:
        raise DataError(f"{path}: has no member {name}; it is not the archive that was published") from None
    stream = archive.extractfile(member) if member.isreg() else None  # a link could point to any other member
    if stream is None:
        raise DataError(f"{path}: its member {name} is no plain file; it is not the archive that was published")
    with stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of NumPy object to the types as Python 2 pickled them
        content = pickle.load(stream, encoding="latin1")
    labels = np.column_stack([content["fine_labels"], content["coarse_labels"]]).astype(np.int64)
    return _Part(content["data"].reshape(-1, 3, _SIDE, _SIDE), labels)


def _lossless_names(split: str) -> tuple[str, str]:
    return f"{split}.webp", f"{split}_labels.npy"


def _read_lossless(raw: Path, split: str) -> _Part:
    """A part from one lossless picture, 100 images a row, row by row, and a table of labels.

    Raises:
        DataError: A file cannot be read, or what is in it is not what was published.
    """
    picture, table = (raw / name for name in _lossless_names(split))
    try:
        with Image.open(picture) as opened:
            grid = np.asarray(opened.convert("RGB"))
        tiles = grid.reshape(-1, _SIDE, _PICTURES_A_ROW, _SIDE, 3).swapaxes(1, 2)
        images = np.ascontiguousarray(tiles).reshape(-1, _SIDE, _SIDE, 3)
        labels = np.load(table, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{picture} and {table}: no picture of CIFAR-100 with its labels ({error})") from error
    for path, content, published in ((picture, images, _PIXELS_MD5[split]), (table, labels, _LABELS_MD5[split])):
        found = hashlib.md5(content.tobytes(), usedforsecurity=False).hexdigest()
        if found != published:
            raise DataError(
                f"{path}: altered: the MD5 of what it holds is {found}, that of CIFAR-100's {split} part {published}; "
                "delete it, or make it anew as docs/settings.md says"
            )
    return _Part(np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels.reshape(-1, 2).astype(np.int64))


def _check_counts(raw: Path, parts: dict[str, _Part]) -> None:
    """Refuse parts without the published number of images of every class, or with classes in other superclasses."""
    classes, tasks = np.arange(_CLASSES), np.repeat(np.arange(len(TASKS)), _CLASSES_A_TASK)
    for split, part in parts.items():
        pairs, counts = np.unique(part.labels, axis=0, return_counts=True)
        is_whole = np.array_equal(pairs[:, 0], classes) and np.array_equal(np.sort(pairs[:, 1]), tasks)
        if not is_whole or set(counts) != {_PER_CLASS[split]} or len(part.images) != len(part.labels):
            raise DataError(
                f"{raw}: the {split} part of CIFAR-100 has {_PER_CLASS[split]} images of each of {_CLASSES} classes, "
                f"five classes in each of {len(TASKS)} superclasses; found {len(part.images)} images with "
                f"{len(part.labels)} labels, {len(pairs)} pairs of class and superclass, {counts.min()} to "
                f"{counts.max()} images of each"
            )
    train, test = (np.unique(part.labels, axis=0) for part in parts.values())
    if not np.array_equal(train, test):
        raise DataError(f"{raw}: CIFAR-100's training and test part do not agree on which class is in which superclass")
