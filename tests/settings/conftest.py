"""Miniature raw folders in the layouts in which the data sets are published."""

import gzip
import hashlib
import importlib.util
import io
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets import CIFAR100, CelebA, FashionMNIST

from tasktrace.settings import celeba, cifar100

Array = NDArray[Any]

# Cityscapes and NYUv2 as preprocessed npy files

CITYSCAPES_IMAGES = {"train": 5, "val": 2}
NYUV2_IMAGES = {"train": 3, "val": 2}


@pytest.fixture(scope="session")
def cityscapes_arrays() -> Callable[[str, int], dict[str, Array]]:
    """What an image of the release holds, by its folder and number."""
    return _cityscapes_arrays


@pytest.fixture
def cityscapes_release(tmp_path) -> Path:
    """Cityscapes in the layout of the preprocessed release, five training images and two others."""
    return _write_npy(tmp_path / "release", CITYSCAPES_IMAGES, _cityscapes_arrays)


@pytest.fixture(scope="session")
def nyuv2_arrays() -> Callable[[str, int], dict[str, Array]]:
    """What an image of the release holds, by its folder and number."""
    return _nyuv2_arrays


@pytest.fixture
def nyuv2_release(tmp_path) -> Path:
    """NYUv2 in the layout of the preprocessed release, three training images and two others."""
    return _write_npy(tmp_path / "nyuv2", NYUV2_IMAGES, _nyuv2_arrays)


def _cityscapes_arrays(folder: str, number: int) -> dict[str, Array]:
    """Random colours, classes with some void, inverse depths with some invalid."""
    rng = np.random.default_rng([len(folder), number])
    depth = rng.uniform(0.001, 0.4922, (128, 256, 1))
    depth[rng.random(depth.shape) < 0.3] = 0
    return {
        "image": rng.uniform(0, 1, (128, 256, 3)),
        "label_7": rng.integers(-1, 7, (128, 256)).astype(np.float64),
        "depth": depth,
    }


def _nyuv2_arrays(folder: str, number: int) -> dict[str, Array]:
    """Random colours, classes, depths and normals; a fifth of the depths and normals is invalid, which is 0."""
    rng = np.random.default_rng([len(folder), number])
    valid = rng.random((288, 384, 1)) > 0.2
    normals = rng.normal(size=(288, 384, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return {
        "image": rng.uniform(0, 1, (288, 384, 3)).astype(np.float32),
        "label": rng.integers(-1, 13, (288, 384)).astype(np.float32),
        "depth": (rng.uniform(0.7, 9.99, (288, 384, 1)) * valid).astype(np.float32),
        "normal": (normals * valid).astype(np.float32),
    }


def _write_npy(raw: Path, images: dict[str, int], arrays: Callable[[str, int], dict[str, Array]]) -> Path:
    for folder, count in images.items():
        for number in range(count):
            for kind, array in arrays(folder, number).items():
                (raw / folder / kind).mkdir(parents=True, exist_ok=True)
                np.save(raw / folder / kind / f"{number}.npy", array)
    return raw


# Cityscapes as its makers publish it

CITIES = {
    "train": ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "bochum/bochum_000000_000313"],
    "val": ["frankfurt/frankfurt_000000_000294"],
}


@pytest.fixture(scope="session")
def cityscapes_pictures() -> Callable[[list[int]], tuple[Array, Array, Array]]:
    """Colours, label ids and disparities of a full image, by its seed."""
    return _cityscapes_pictures


@pytest.fixture(scope="session")
def cityscapes_official(tmp_path_factory) -> Path:
    """Cityscapes in its own layout, three training images and another; nobody may change it."""
    raw = tmp_path_factory.mktemp("official")
    for folder, names in CITIES.items():
        for seed, name in enumerate(names):
            files = (
                raw / "leftImg8bit" / folder / f"{name}_leftImg8bit.png",
                raw / "gtFine" / folder / f"{name}_gtFine_labelIds.png",
                raw / "disparity" / folder / f"{name}_disparity.png",
            )
            for path, array in zip(files, _cityscapes_pictures([len(folder), seed]), strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path, compress_level=1)
    return raw


def _cityscapes_pictures(seed: list[int]) -> tuple[Array, Array, Array]:
    """Constant over 4x4 pixels, so that they are quick to draw and pack."""
    rng = np.random.default_rng(seed)

    def enlarged(array: Array) -> Array:
        return array.repeat(4, axis=0).repeat(4, axis=1)

    colours = enlarged(rng.integers(0, 256, (256, 512, 3), dtype=np.uint8))
    labels = enlarged(rng.integers(0, 34, (256, 512), dtype=np.uint8))
    disparities = enlarged(
        rng.integers(0, 32_258, (256, 512), dtype=np.uint16) * rng.integers(0, 2, (256, 512), np.uint16)
    )
    return colours, labels, disparities


# CIFAR-100

PER_CLASS = {"train": 8, "test": 4}


@pytest.fixture
def few_per_class(monkeypatch) -> None:
    """CIFAR-100 counts as having as many images of a class as its miniature."""
    monkeypatch.setattr(cifar100, "_PER_CLASS", PER_CLASS)


@pytest.fixture(scope="session")
def cifar100_part() -> Callable[[str], tuple[Array, Array]]:
    """Pixels (n, 3, 32, 32) and labels (n, 2) of a small part, ``train`` or ``test``."""
    return _cifar100_part


@pytest.fixture(scope="session")
def cifar100_pickle() -> Callable[[str, Array, Array], bytes]:
    """A part as it is in the archive: a dictionary that Python 2 pickled by its second protocol."""
    return _cifar100_pickle


@pytest.fixture
def cifar100_members() -> dict[str, bytes]:
    """The members of the archive by name, in its order."""
    parts = {split: _cifar100_pickle(split, *_cifar100_part(split)) for split in PER_CLASS}
    return {
        "cifar-100-python/file.txt~": b"",
        **{f"cifar-100-python/{split}": content for split, content in parts.items()},
        "cifar-100-python/meta": b"names",
    }


@pytest.fixture
def cifar100_archive(tmp_path, monkeypatch, few_per_class) -> Callable[..., Path]:
    """A function that makes the archive of the given members, whose checksum counts as published, in a raw folder."""

    def make(members: dict[str, bytes], links: list[tuple[str, str]] | None = None) -> Path:
        path = tmp_path / "made_up" / "cifar-100-python.tar.gz"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w:gz", compresslevel=1) as packed:
            packed.addfile(directory := tarfile.TarInfo("cifar-100-python"))
            directory.type = tarfile.DIRTYPE
            for name, content in members.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                packed.addfile(entry, io.BytesIO(content))
            for name, target in links or []:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                packed.addfile(entry)
        monkeypatch.setattr(CIFAR100, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
        return path.parent

    return make


def _cifar100_part(split: str) -> tuple[Array, Array]:
    """In random order; classes are spread over superclasses."""
    rng = np.random.default_rng(len(split))
    fine = rng.permutation(np.repeat(np.arange(100), PER_CLASS[split]))
    pixels = rng.integers(0, 256, (len(fine), 3, 32, 32), dtype=np.uint8)
    return pixels, np.column_stack([fine, fine * 7 % 20])


def _cifar100_pickle(split: str, pixels: Array, labels: Array) -> bytes:
    entries = {
        "filenames": b"](" + b"".join(_text(b"picture_%06d.png" % row) for row in range(len(pixels))) + b"e",
        "batch_label": _text(f"{split}ing batch 1 of 1".encode()),
        "fine_labels": _numbers(labels[:, 0]),
        "coarse_labels": _numbers(labels[:, 1]),
        "data": _pixel_table(pixels.reshape(-1, 3072)),
    }
    return b"\x80\x02}(" + b"".join(_text(name.encode()) + value for name, value in entries.items()) + b"u."


def _text(value: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(value)) + value


def _numbers(values: Array) -> bytes:
    return b"](" + b"".join(b"K" + bytes([value]) for value in values) + b"e"


def _pixel_table(table: Array) -> bytes:
    """A table of bytes as NumPy pickled it under Python 2, whose dtypes say 0 and 1 for false and true."""
    empty = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + _text(b"b") + b"tR"
    shape = b"(" + b"".join(b"J" + struct.pack("<i", length) for length in table.shape) + b"t"
    dtype = b"cnumpy\ndtype\n(" + _text(b"u1") + b"K\x00K\x01tR(K\x03" + _text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff"
    return empty + b"(K\x01" + shape + dtype + b"K\x00tb\x89" + _text(table.tobytes()) + b"tb"


# CelebA

CELEBA_COUNTS = {"train": 7, "validation": 3, "test": 4}
CELEBA_HEADER = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young "
)


@dataclass(frozen=True)
class Faces:
    """A small CelebA.

    Attributes:
        header: The line that names the attributes.
        jpegs: The pictures by their names.
        marks: 1 or -1 for every picture and attribute, (14, 40).
    """

    header: str
    jpegs: dict[str, bytes]
    marks: Array

    def write(self, folder: Path, packed: bool) -> None:
        """The official layout, with the pictures in their archive or unpacked."""
        folder.mkdir()
        names = list(self.jpegs)
        rows = [f"{name} {' '.join(f'{mark:2d}' for mark in own)}" for name, own in zip(names, self.marks, strict=True)]
        lines = [str(len(names)), self.header, *rows]
        (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
        splits = np.repeat([0, 1, 2], list(CELEBA_COUNTS.values()))
        lines = [f"{name} {code}" for name, code in zip(names, splits, strict=True)]
        (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
        if packed:
            self.pack(folder, self.jpegs)
        else:
            (folder / "img_align_celeba").mkdir()
            for name, content in self.jpegs.items():
                (folder / "img_align_celeba" / name).write_bytes(content)

    def pack(self, folder: Path, jpegs: dict[str, bytes]) -> None:
        """The archive of some pictures."""
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            archive.writestr("img_align_celeba/", b"")
            for name, content in jpegs.items():
                archive.writestr(f"img_align_celeba/{name}", content)


@pytest.fixture(scope="session")
def faces() -> Faces:
    """Fourteen pictures of 178x218 pixels with random attributes, seven of them to train on."""
    jpegs = {f"{number + 1:06d}.jpg": _jpeg(number) for number in range(sum(CELEBA_COUNTS.values()))}
    return Faces(CELEBA_HEADER, jpegs, np.random.default_rng(0).choice([-1, 1], (len(jpegs), 40)))


@pytest.fixture
def publish_faces(monkeypatch) -> Callable[[Path], None]:
    """A function after which the files of a raw folder count as those of CelebA."""
    monkeypatch.setattr(celeba, "_COUNTS", CELEBA_COUNTS)

    def declare(raw: Path) -> None:
        def checksum(name: str) -> str:
            path = raw / name
            return hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else "0" * 32

        names = ("img_align_celeba.zip", "list_attr_celeba.txt", "identity_CelebA.txt", "list_eval_partition.txt")
        monkeypatch.setattr(CelebA, "file_list", [(f"id-{name}", checksum(name), name) for name in names])

    return declare


def _jpeg(number: int) -> bytes:
    """With enough detail for filters to differ."""
    noise = np.random.default_rng(number).integers(0, 256, (109, 89, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).resize((178, 218)).save(content, "JPEG", quality=95)
    return content.getvalue()


# Fashion-MNIST and NotMNIST


@pytest.fixture(scope="session")
def idx() -> Callable[[Array], bytes]:
    """A gzipped IDX file of bytes."""
    return _idx


@pytest.fixture
def write_fashion(tmp_path, monkeypatch) -> Callable[[int, int, int], Path]:
    """A function that writes Fashion-MNIST's files, whose checksums count as published, and gives the raw folder.

    Its arguments are the numbers of training and of test images, and their height and width.
    """

    def write(train: int, test: int, side: int) -> Path:
        folder = tmp_path / "made_up" / "FashionMNIST/raw"
        folder.mkdir(parents=True)
        resources = []
        for (name, _), count in zip(FashionMNIST.resources, (train, train, test, test), strict=True):
            values = (np.arange(count) % (251 if "images" in name else 10)).astype(np.uint8)
            images = np.broadcast_to(values[:, None, None], (count, side, side))
            content = _idx(images if "images" in name else values)
            (folder / name).write_bytes(content)
            resources.append((name, hashlib.md5(content).hexdigest()))
        monkeypatch.setattr(FashionMNIST, "resources", resources)
        return folder.parent.parent

    return write


@pytest.fixture
def write_letters() -> Callable[[Path, Array, Array], None]:
    """A function that writes files of NotMNIST's form, of images and labels, into a raw folder."""

    def write(raw: Path, images: Array, labels: Array) -> None:
        folder = raw / "notMNIST/raw"
        folder.mkdir(parents=True, exist_ok=True)
        names = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
        for name, array in zip(names, (images, labels), strict=True):
            (folder / name).write_bytes(_idx(np.asarray(array, dtype=np.uint8)))

    return write


def _idx(array: Array) -> bytes:
    lengths = np.array(array.shape, dtype=">u4").tobytes()
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes(), compresslevel=1)


# GLUE

# Every table's first line as published; CoLA has none.
_HEADERS = {
    "cola": [],
    "sst2": ["sentence", "label"],
    "mrpc": ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
    "stsb": [
        "index",
        "genre",
        "filename",
        "year",
        "old_index",
        "source1",
        "source2",
        "sentence1",
        "sentence2",
        "score",
    ],
    "qqp": ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
    "mnli": [
        "index",
        "promptID",
        "pairID",
        "genre",
        "sentence1_binary_parse",
        "sentence2_binary_parse",
        "sentence1_parse",
        "sentence2_parse",
        "sentence1",
        "sentence2",
        "label1",
        "gold_label",
    ],
    "qnli": ["index", "question", "sentence", "label"],
    "rte": ["index", "sentence1", "sentence2", "label"],
}
# MNLI's development sets have the labels of five annotators, its training set that of one.
_MNLI_DEV = [*_HEADERS["mnli"][:11], "label2", "label3", "label4", "label5", "gold_label"]

_BINARY, _ENTAILED = ["0", "1"], ["entailment", "not_entailment"]
_LABELS = {
    "cola": _BINARY,
    "sst2": _BINARY,
    "mrpc": _BINARY,
    "stsb": ["5.000", "3.8", "0", "1.25"],
    "qqp": _BINARY,
    "mnli": ["entailment", "neutral", "contradiction"],
    "qnli": _ENTAILED,
    "rte": _ENTAILED,
}

# What a reader that knows of quotation marks, missing values or Unicode's line breaks would take apart.
_AWKWARD = [
    '"An unclosed quotation',
    'it\'s "quoted"',
    "NA",
    "null",
    "a\u2028b\x85c\x0bd",
    "",
    "naïve – 漢字 🙂",
    " <pad> </s>",
]

Sentences = list[tuple[tuple[str, ...], str]]
"""The texts and the label of every row."""


class GlueTables:
    """Makes tables of GLUE as they are published.

    Attributes:
        folders: The folder of every task.
    """

    def __init__(self) -> None:
        names = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE")
        self.folders = dict(zip(_HEADERS, names, strict=True))

    def sentences(self, task: str, split: str, count: int) -> Sentences:
        """The rows of a made-up table; no text is in two tables."""
        rows: Sentences = []
        for number in range(count):
            texts = [f"{task} {split} {number} {_AWKWARD[number % len(_AWKWARD)]}"]
            if task not in ("cola", "sst2"):
                texts.append(f"{_AWKWARD[(number + 3) % len(_AWKWARD)]} {number}")
            rows.append((tuple(texts), _LABELS[task][number % len(_LABELS[task])]))
        return rows

    def target(self, task: str, label: str) -> float:
        """What a label is stored as."""
        return float(np.float32(label)) if task == "stsb" else _LABELS[task].index(label)

    def write(self, raw: Path, task: str, train: int = 20, test: int = 8) -> None:
        """A task's tables of training and of development, in its folder below ``raw``."""
        dev = "dev_matched.tsv" if task == "mnli" else "dev.tsv"
        for name, split, count in (("train.tsv", "train", train), (dev, "test", test)):
            self.write_table(raw / self.folders[task] / name, task, split, self.sentences(task, split, count))

    def write_table(
        self, path: Path, task: str, split: str, rows: Sentences, ending: str = "\n", start: str = ""
    ) -> None:
        """One table."""
        header = _MNLI_DEV if task == "mnli" and split == "test" else _HEADERS[task]
        lines = ["\t".join(header)] if header else []
        lines += ["\t".join(_glue_fields(task, split, number, *row)) for number, row in enumerate(rows)]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((start + "".join(own + ending for own in lines)).encode())


@pytest.fixture(scope="session")
def glue_tables() -> GlueTables:
    """What makes tables of GLUE."""
    return GlueTables()


def _glue_fields(task: str, split: str, number: int, texts: tuple[str, ...], label: str) -> list[str]:
    """A row as the table has it, with something else in the columns that nobody asked for."""
    match task:
        case "cola":
            return ["gj04", label, "*" if label == "0" else "", *texts]
        case "sst2":
            return [*texts, label]
        case "mrpc":
            return [label, f"{number}1", f"{number}2", *texts]
        case "stsb":
            return [str(number), "main-news", "headlines", "2013", f"{number:04d}", "none", "n/a", *texts, label]
        case "qqp":
            return [str(number), "1", "2", *texts, label]
        case "mnli":
            annotators = ["neutral"] * (1 if split == "train" else 5)
            parses = ["( a )", "( b )", "(ROOT a)", "(ROOT b)"]
            return [str(number), "5", "5e", "fiction", *parses, *texts, *annotators, label]
        case _:
            return [str(number), *texts, label]


# A network


@pytest.fixture
def small_network(add_component, monkeypatch) -> str:
    """The name of a model that can be trained in no time, as a file that a user would add."""
    name, path = "small_network", Path(__file__).with_name("small_network.py")
    add_component("model", name, path.read_text())
    spec = importlib.util.spec_from_file_location(f"tasktrace.models.{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return name
