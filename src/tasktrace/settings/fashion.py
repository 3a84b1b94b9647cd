"""FashionMTL (study A): two halves of Fashion-MNIST, the second half with permuted labels, and on request NotMNIST."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasktrace.config.bounds import check_range
from tasktrace.errors import DataError
from tasktrace.seeding import numpy_generator
from tasktrace.settings.halves import HalfNames, halved
from tasktrace.settings.prepared import SPLITS, Tensors
from tasktrace.settings.raw import Source, download, missing, verify
from tasktrace.settings.splits import Indices, balanced_parts
from tasktrace.tasks import Task

VERSION = 1

TASKS = (
    Task(name="fashion1", outputs=10),
    Task(name="fashion2", outputs=10),
    Task(name="noisy_fashion", outputs=10, is_noise=True),
    Task(name="notmnist", outputs=10),  # prepared only with the option `notmnist`
)

NAMES = HalfNames("fashion1", "fashion2", "noisy_fashion")
_TRAIN_IMAGES, _TEST_IMAGES = 60_000, 10_000

_LETTERS = "ABCDEFGHIJ"
_NOTMNIST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
_NOTMNIST_PAGE = "https://github.com/davidflanagan/notMNIST-to-MNIST"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Samples of each split of each task, and the seed of the split.

    The sizes are proposed (docs/settings.md): the paper's are lost, and these are the only ones with equal halves, one
    number for validation and test, and all of Fashion-MNIST used.

    Attributes:
        train: Training samples of a task made of Fashion-MNIST.
        validation: Its validation samples.
        test: Its test samples.
        seed: Seeds the split and the permutation of labels.
        notmnist: Whether the task ``notmnist`` is prepared as well, from files that users place.
        notmnist_train: Its training samples.
        notmnist_validation: Its validation samples.
        notmnist_test: Its test samples.
    """

    train: int = 25_000
    validation: int = 5_000
    test: int = 5_000
    seed: int = 0
    notmnist: bool = False
    notmnist_train: int = 6_500
    notmnist_validation: int = 1_000
    notmnist_test: int = 1_000

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)
        check_range(self, "notmnist_train", "notmnist_validation", "notmnist_test", low=1)


def sources(raw: Path) -> list[Source]:
    """The four files of Fashion-MNIST with the checksums and addresses that torchvision publishes."""
    from torchvision.datasets import FashionMNIST

    folder = raw / "FashionMNIST" / "raw"
    return [Source(folder / name, md5, FashionMNIST.mirrors[0] + name) for name, md5 in FashionMNIST.resources]


def prepare(raw: Path, options: Options) -> Tensors:
    """Fashion1 and Fashion2 are disjoint halves of the training and of the test images; labels as published.

    NotMNIST's images follow those of Fashion-MNIST.
    """
    files = sources(raw)
    if missing(files):
        download("Fashion-MNIST", raw, files)
    verify(files)
    train_images, train_labels, test_images, test_labels = (_read_idx(source.path) for source in files)
    labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
    everything = np.arange(len(labels))
    pools = {"train": everything[:_TRAIN_IMAGES], "test": everything[_TRAIN_IMAGES:]}
    sizes = {"train": options.train, "validation": options.validation, "test": options.test}
    tensors: Tensors = {
        "inputs": np.concatenate([train_images, test_images])[:, None],
        **halved(labels, pools, sizes, NAMES, options.seed),
    }
    if options.notmnist:
        _add_notmnist(tensors, raw, options)
    return tensors


def _read_idx(path: Path) -> npt.NDArray[Any]:
    """The array in a gzipped IDX file of bytes: 0, 0, 8 and the rank; each length in 4 bytes; then the data."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _add_notmnist(tensors: Tensors, raw: Path, options: Options) -> None:
    """Add the task ``notmnist``, letters A to J, with its images behind the others.

    Its samples are distinct images, so that no image of one split has a copy in another.
    """
    images, labels = _read_notmnist(raw)
    distinct = _distinct(images, labels)
    sizes = [options.notmnist_train, options.notmnist_validation, options.notmnist_test]
    counts = np.bincount(labels[distinct], minlength=len(_LETTERS))
    if sum(sizes) > len(_LETTERS) * counts.min():
        raise DataError(
            f"NotMNIST: {sum(sizes):,} samples are asked for (notmnist_train {sizes[0]}, notmnist_validation "
            f"{sizes[1]}, notmnist_test {sizes[2]}), and at most {len(_LETTERS) * counts.min():,} can be had: "
            f"{len(distinct):,} of the {len(images):,} images are distinct with one label, {counts.min():,} of them "
            f"{_LETTERS[counts.argmin()]}, the rarest letter; lower the sizes in the setting's data"
        )
    first = len(tensors["inputs"])
    tensors["inputs"] = np.concatenate([tensors["inputs"], images[:, None]])
    parts = balanced_parts(labels[distinct], sizes, numpy_generator(options.seed, "split", "notmnist"))
    for split, part in zip(SPLITS, parts, strict=True):
        tensors[f"notmnist/{split}/index"] = first + distinct[part]
        tensors[f"notmnist/{split}/target"] = labels[distinct[part]]


def _read_notmnist(raw: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (N, 28, 28) and letters (N,), 0 for A.

    Raises:
        DataError: A file is absent, damaged, or not of this form.
    """
    paths = [raw / "notMNIST" / "raw" / name for name in _NOTMNIST_FILES]
    absent = [path for path in paths if not path.exists()]
    if absent:
        places = "\n".join(f"  {path.name}\n    -> {path}" for path in absent)
        raise DataError(
            f"NotMNIST is not complete in {raw}, and the setting's data asks for it. Fetch these files from "
            f"{_NOTMNIST_PAGE} and put them here:\n{places}"
        )
    try:
        images, labels = (_read_idx(path) for path in paths)
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
        raise DataError(f"{' or '.join(map(str, paths))}: truncated or altered ({error}); fetch it anew") from error
    if images.shape != (len(labels), 28, 28) or labels.ndim != 1 or labels.max(initial=0) >= len(_LETTERS):
        raise DataError(
            f"{paths[0].parent}: expected images of 28x28 pixels and as many labels from 0 to {len(_LETTERS) - 1}, "
            f"found arrays {images.shape} and {labels.shape}, largest label {labels.max(initial=0)}"
        )
    return images, labels.astype(np.int64)


def _distinct(images: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64]) -> Indices:
    """The first of each set of identical images; none of a set with several labels, of which any could be right.

    Returns:
        Rows of ``images`` in ascending order.
    """
    _, first, group = np.unique(images.reshape(len(images), -1), axis=0, return_index=True, return_inverse=True)
    is_alike = np.ones(len(first), dtype=bool)
    np.logical_and.at(is_alike, group.ravel(), labels == labels[first[group.ravel()]])
    return np.sort(first[is_alike]).astype(np.int64)
