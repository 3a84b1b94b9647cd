"""FashionMTL (study A): two halves of Fashion-MNIST, and the second half with permuted labels."""

import gzip
import http.client
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasktrace.config.bounds import check_range
from tasktrace.errors import DataError
from tasktrace.settings.halves import HalfNames, halved
from tasktrace.settings.prepared import Tensors
from tasktrace.settings.raw import Source, how_to_fetch, missing, verify
from tasktrace.tasks import Task

VERSION = 1

TASKS = (
    Task(name="fashion1", outputs=10),
    Task(name="fashion2", outputs=10),
    Task(name="noisy_fashion", outputs=10),
)

NAMES = HalfNames("fashion1", "fashion2", "noisy_fashion")
_TRAIN_IMAGES, _TEST_IMAGES = 60_000, 10_000


@dataclass(frozen=True, kw_only=True)
class Options:
    """Samples of each split of each task, and the seed of the split.

    The sizes are proposed (docs/settings.md): the paper's are lost, and these are the only ones with equal halves, one
    number for validation and test, and all of Fashion-MNIST used.
    """

    train: int = 25_000
    validation: int = 5_000
    test: int = 5_000
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        check_range(self, "train", "validation", "test", low=1)


def sources(raw: Path) -> list[Source]:
    """The four files of Fashion-MNIST with the checksums and addresses that torchvision publishes."""
    from torchvision.datasets import FashionMNIST

    folder = raw / "FashionMNIST" / "raw"
    return [Source(folder / name, md5, FashionMNIST.mirrors[0] + name) for name, md5 in FashionMNIST.resources]


def prepare(raw: Path, options: Options) -> Tensors:
    """Fashion1 and Fashion2 are disjoint halves of the training and of the test images; labels as published."""
    files = sources(raw)
    if missing(files):
        _download(raw, files)
    verify(files)
    train_images, train_labels, test_images, test_labels = (_read_idx(source.path) for source in files)
    labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
    everything = np.arange(len(labels))
    pools = {"train": everything[:_TRAIN_IMAGES], "test": everything[_TRAIN_IMAGES:]}
    sizes = {"train": options.train, "validation": options.validation, "test": options.test}
    return {
        "inputs": np.concatenate([train_images, test_images])[:, None],
        **halved(labels, pools, sizes, NAMES, options.seed),
    }


def _download(raw: Path, files: list[Source]) -> None:
    """Fetch the missing files with torchvision's downloader, which checks each against its MD5."""
    from torchvision.datasets.utils import download_url

    for source in missing(files):
        partial = source.path.with_name(f".{source.path.name}.partial")
        try:
            download_url(source.url, str(partial.parent), partial.name, source.md5)
            partial.rename(source.path)
        except (urllib.error.URLError, http.client.HTTPException, OSError, RuntimeError) as error:
            raise DataError(
                f"Fashion-MNIST is not in {raw} and could not be downloaded ({error}). Fetch these files on a machine "
                f"with a network and put them here:\n{how_to_fetch(missing(files))}"
            ) from error
        finally:
            partial.unlink(missing_ok=True)


def _read_idx(path: Path) -> npt.NDArray[Any]:
    """The array in a gzipped IDX file of bytes: 0, 0, 8 and the rank; each length in 4 bytes; then the data."""
    content = gzip.decompress(path.read_bytes())
    rank = content[3]
    shape = np.frombuffer(content, ">u4", rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
