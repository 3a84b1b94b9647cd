"""CelebA (both studies): 40 attributes of a face, each a binary task on the same pictures."""

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console
from rich.progress import track

from tasktrace.config.bounds import check_range
from tasktrace.errors import DataError
from tasktrace.settings.prepared import SPLITS, Tensors
from tasktrace.settings.raw import Source, how_to_fetch, missing, verify
from tasktrace.tasks import Task

VERSION = 1

TASKS = tuple(
    Task(
        name=name,
        outputs=1,
        loss="binary_cross_entropy",
        metric="accuracy",
        more_metrics=("balanced_accuracy", "f1"),
    )
    for name in (
        "5_o_clock_shadow",
        "arched_eyebrows",
        "attractive",
        "bags_under_eyes",
        "bald",
        "bangs",
        "big_lips",
        "big_nose",
        "black_hair",
        "blond_hair",
        "blurry",
        "brown_hair",
        "bushy_eyebrows",
        "chubby",
        "double_chin",
        "eyeglasses",
        "goatee",
        "gray_hair",
        "heavy_makeup",
        "high_cheekbones",
        "male",
        "mouth_slightly_open",
        "mustache",
        "narrow_eyes",
        "no_beard",
        "oval_face",
        "pale_skin",
        "pointy_nose",
        "receding_hairline",
        "rosy_cheeks",
        "sideburns",
        "smiling",
        "straight_hair",
        "wavy_hair",
        "wearing_earrings",
        "wearing_hat",
        "wearing_lipstick",
        "wearing_necklace",
        "wearing_necktie",
        "young",
    )
)

SHARED_INPUTS = True

_ATTRIBUTES, _PARTITION = "list_attr_celeba.txt", "list_eval_partition.txt"
_PICTURES, _ARCHIVE = "img_align_celeba", "img_align_celeba.zip"

_COUNTS = {"train": 162_770, "validation": 19_867, "test": 19_962}
_ALIGNED = (178, 218)  # width and height of the aligned pictures
_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much of the official split is used.

    Attributes:
        limit: At most so many pictures of each split, the first in the official order; null for all.
    """

    limit: int | None = None

    def __post_init__(self) -> None:
        """Refuse an empty split."""
        if self.limit is not None:
            check_range(self, "limit", low=1)


Names = list[str]
Codes = npt.NDArray[np.int8]


PLACED_BY_USER = "CelebA's terms have to be agreed to"


def sources(raw: Path) -> list[Source]:
    """The two lists and the archive of pictures with torchvision's checksums; not the archive if it is unpacked.

    Nothing fetches them: those who use them have to agree to their terms.
    """
    from torchvision.datasets import CelebA

    published = {
        name: Source(raw / name, md5, f"https://drive.google.com/uc?id={identifier}")
        for identifier, md5, name in CelebA.file_list
    }
    names = [_ATTRIBUTES, _PARTITION] + ([] if (raw / _PICTURES).is_dir() else [_ARCHIVE])
    return [published[name] for name in names]


def prepare(raw: Path, options: Options) -> Tensors:
    """The official split; every picture has a target for every attribute, 1 where the face has it.

    The pictures are resized one by one into one array, 2.5 GB for all of them.
    """
    files = sources(raw)
    _check_present(raw, files)
    verify(files)
    names, partition = _read_partition(raw / _PARTITION)
    attributes = _read_attributes(raw / _ATTRIBUTES, names)
    parts = [np.flatnonzero(partition == code)[: options.limit] for code in range(len(SPLITS))]
    chosen = np.sort(np.concatenate(parts))
    tensors: Tensors = {"inputs": _read_pictures(raw, [names[row] for row in chosen])}
    for code, split in enumerate(SPLITS):
        index = np.flatnonzero(partition[chosen] == code).astype(np.int64)
        for column, task in enumerate(TASKS):
            tensors[f"{task.name}/{split}/index"] = index
            tensors[f"{task.name}/{split}/target"] = (attributes[chosen[index], column] == 1).astype(np.int64)
    return tensors


def _check_present(raw: Path, files: list[Source]) -> None:
    absent = missing(files)
    if absent:
        found = [name for name in (_ATTRIBUTES, _PARTITION, _PICTURES, _ARCHIVE) if (raw / name).exists()]
        raise DataError(
            f"CelebA is not complete in {raw}: found {', '.join(found) or 'nothing'}, missing "
            f"{', '.join(source.path.name for source in absent)}. It is for non-commercial research: agree to its "
            "terms on https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html and put these files here, the pictures as the "
            f"zip file or unpacked in {_PICTURES}/ (torchvision's CelebA(root, download=True) fetches them as well):\n"
            f"{how_to_fetch(absent)}"
        )


def _read_partition(path: Path) -> tuple[Names, Codes]:
    """Names of all pictures and the split of each: 0 train, 1 validation, 2 test; one picture a line."""
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if any(len(line) != 2 or line[1] not in ("0", "1", "2") for line in lines):
        raise DataError(f"{path}: expected a picture's name and 0, 1 or 2 on every line")
    names, codes = [name for name, _ in lines], np.array([int(code) for _, code in lines], dtype=np.int8)
    counts = np.bincount(codes, minlength=len(SPLITS)).tolist()
    if counts != [_COUNTS[split] for split in SPLITS]:
        found = dict(zip(SPLITS, counts, strict=True))
        raise DataError(f"{path}: expected {_described(_COUNTS)} pictures, found {_described(found)}")
    return names, codes


def _described(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in counts.items())


def _read_attributes(path: Path, names: Names) -> Codes:
    """Every picture's attributes, 1 or -1, (N, 40).

    The file has the number of pictures, then the attributes' names, then a picture a line.
    """
    number, header, *lines = path.read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line.strip()]
    if header.lower().split() != [task.name for task in TASKS]:
        raise DataError(f"{path}: expected the names of {len(TASKS)} attributes on the second line, found {header!r}")
    if not int(number) == len(lines) == len(names):
        raise DataError(
            f"{path}: says that it has {int(number):,} pictures and has {len(lines):,}; {_PARTITION} has {len(names):,}"
        )
    values = np.empty((len(lines), len(TASKS)), dtype=np.int8)
    for row, (name, line) in enumerate(zip(names, lines, strict=True)):
        found, *marks = line.split()
        if found != name or len(marks) != len(TASKS) or not {"1", "-1"}.issuperset(marks):
            raise DataError(f"{path}: expected {name} with {len(TASKS)} times 1 or -1, found {line[:40]!r}...")
        values[row] = [int(mark) for mark in marks]
    return values


def _read_pictures(raw: Path, names: Names) -> npt.NDArray[np.uint8]:
    """The pictures in RGB, resized by Pillow's bilinear filter, (N, 3, 64, 64)."""
    pixels = np.empty((len(names), 3, _SIDE, _SIDE), dtype=np.uint8)
    with _opened(raw) as (place, present, read):
        absent = [name for name in names if name not in present]
        if absent:
            raise DataError(
                f"{place}: found {len(names) - len(absent):,} of the {len(names):,} pictures that are needed; missing "
                f"{', '.join(absent[:3])}{', ...' if len(absent) > 3 else ''}; unpack {_ARCHIVE} again or fetch it anew"
            )
        for row, name in enumerate(track(names, "CelebA's pictures", console=Console(stderr=True))):
            pixels[row] = _resized(read(name), f"{place}/{name}")
    return pixels


@contextmanager
def _opened(raw: Path) -> Iterator[tuple[Path, set[str], Callable[[str], bytes]]]:
    """Where the pictures are, the names of those that are there, and what reads one; an archive is not extracted."""
    folder = raw / _PICTURES
    if folder.is_dir():
        yield folder, {path.name for path in folder.iterdir()}, lambda name: (folder / name).read_bytes()
        return
    try:
        archive = zipfile.ZipFile(raw / _ARCHIVE)
    except zipfile.BadZipFile as error:
        raise DataError(f"{raw / _ARCHIVE}: no zip archive ({error}); fetch it anew") from error
    with archive:
        members = archive.namelist()
        inside = {name.removeprefix(f"{_PICTURES}/") for name in members if name.startswith(f"{_PICTURES}/")}
        yield raw / _ARCHIVE, inside, lambda name: archive.read(f"{_PICTURES}/{name}")


def _resized(content: bytes, where: str) -> npt.NDArray[np.uint8]:
    """One picture's pixels, (3, 64, 64)."""
    try:
        with Image.open(io.BytesIO(content)) as picture:
            size, rgb = picture.size, picture.convert("RGB")
    except OSError as error:
        raise DataError(f"{where}: no whole picture ({error}); fetch it anew") from error
    if size != _ALIGNED:
        raise DataError(
            f"{where}: expected an aligned picture of {_ALIGNED[0]}x{_ALIGNED[1]} pixels, found {size[0]}x{size[1]}; "
            "other versions of CelebA have pictures of other sizes"
        )
    small = rgb.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1)
