"""A setting's corrupted pictures: written once, used by every run."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from tasktrace.config.corruptions import SEVERITIES
from tasktrace.corruptions import corrupt
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import atomic_path, canonical_json, discard_temporaries, file_digest, write_json
from tasktrace.seeding import numpy_generator
from tasktrace.settings.prepared import Prepared

Rows = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]

TRAIN = "train"
RECORD = "corrupted.json"


@dataclass(frozen=True)
class Plan:
    """Which of a setting's pictures are corrupted.

    Attributes:
        train: Rows of the prepared inputs that some task trains on, ascending.
        test: Rows that some task is tested on, ascending.
        tested: By task, positions in its test data that it is tested on, ascending.
    """

    train: Rows
    test: Rows
    tested: dict[str, Rows]


def plan(prepared: Prepared, tasks: list[str], most: int | None) -> Plan:
    """The pictures of a setting's tasks.

    Args:
        prepared: The setting's data.
        tasks: The tasks.
        most: At most so many test samples of each task, the same ones of tasks with the same pictures; None for all.
    """
    tested = {task: _tested(len(prepared.tensors[f"{task}/test/index"]), most) for task in tasks}
    train = np.unique(np.concatenate([prepared.tensors[f"{task}/train/index"] for task in tasks]))
    test = np.unique(np.concatenate([prepared.tensors[f"{task}/test/index"][own] for task, own in tested.items()]))
    return Plan(train, test, tested)


def _tested(size: int, most: int | None) -> Rows:
    order = numpy_generator(0, "corrupt", "tested").permutation(size)
    return np.sort(order[:most])


def write_corrupted(spec: dict[str, Any], prepared: Prepared, white: int, folder: Path) -> dict[str, Any]:
    """Write a setting's corrupted pictures, and return the content of their record.

    Every training picture gets one corruption at one severity, both drawn (paper B); every test picture gets each
    corruption at each severity. All draws are the same for every run of the setting.

    Args:
        spec: ``Study.corruption_spec``: ``names`` of the corruptions, ``tasks``, and ``test``, the most test samples.
        prepared: The setting's data.
        white: The value of its brightest pixel.
        folder: Gets ``train.safetensors`` (``inputs``, and for each the index of its ``corruption`` in the names and
            its ``severity``), ``<corruption>.safetensors`` for every name (``severity1`` to ``severity5``), and
            ``corrupted.json``.
    """
    chosen = plan(prepared, spec["tasks"], spec["test"])
    folder.mkdir(parents=True, exist_ok=True)
    inputs = prepared.tensors["inputs"]
    names: list[str] = spec["names"]
    files = {TRAIN: _save(folder, TRAIN, _corrupted_train(inputs[chosen.train], names, white))}
    for name in names:
        generators = {severity: numpy_generator(0, "corrupt", "test", name, severity) for severity in SEVERITIES}
        clean = inputs[chosen.test]
        pictures = {
            f"severity{severity}": corrupt(clean, name, severity, generator, white)
            for severity, generator in generators.items()
        }
        files[name] = _save(folder, name, pictures)
    record = {"spec": spec, "data": prepared.content, "files": files}
    write_json(folder / RECORD, record)
    return record


def _corrupted_train(clean: Pixels, names: list[str], white: int) -> dict[str, npt.NDArray[Any]]:
    drawing = numpy_generator(0, "corrupt", "train")
    corruption = drawing.integers(len(names), size=len(clean))
    severity = drawing.choice(SEVERITIES, size=len(clean))
    inputs = np.empty_like(clean)
    for number, name in enumerate(names):
        for strength in SEVERITIES:
            own = (corruption == number) & (severity == strength)
            if own.any():
                generator = numpy_generator(0, "corrupt", "train", name, strength)
                inputs[own] = corrupt(clean[own], name, strength, generator, white)
    return {"inputs": inputs, "corruption": corruption, "severity": severity}


def _save(folder: Path, name: str, tensors: dict[str, npt.NDArray[Any]]) -> str:
    path = folder / f"{name}.safetensors"
    discard_temporaries(path)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)
    return file_digest(path)


class Corrupted:
    """A setting's corrupted pictures, read file by file and verified.

    Args:
        folder: What :func:`write_corrupted` wrote.
        spec: What they have to have been made from.
        content: Identity of the prepared data that they have to have been made of.

    Attributes:
        names: The corruptions.

    Raises:
        DataError: There are none, or they were made from something else.
    """

    def __init__(self, folder: Path, spec: dict[str, Any], content: str) -> None:
        path = folder / RECORD
        remedy = f"run `snakemake --cores 1 {path}`"
        if not path.exists():
            raise DataError(f"{folder}: no corrupted pictures; {remedy}")
        self._record = json.loads(path.read_text(encoding="utf-8"))
        self._folder = folder
        self.names: list[str] = spec["names"]
        if self._record["spec"] != spec:
            raise DataError(
                f"{folder}: corrupted as {canonical_json(self._record['spec'])}, but the configuration asks for "
                f"{canonical_json(spec)}; {remedy}"
            )
        if self._record["data"] != content:
            raise DataError(
                f"{folder}: made of prepared data with sha256 {self._record['data']}, but it now has {content}; "
                f"{remedy}"
            )

    def train(self) -> Pixels:
        """The corrupted training pictures, in the order of ``Plan.train``, (n, C, H, W)."""
        pictures: Pixels = self._load(TRAIN)["inputs"]
        return pictures

    def test(self) -> Iterator[tuple[str, int, Pixels]]:
        """Corruption, severity and the test pictures under them, in the order of ``Plan.test``, (n, C, H, W)."""
        for name in self.names:
            pictures = self._load(name)
            for severity in SEVERITIES:
                yield name, severity, pictures[f"severity{severity}"]

    def _load(self, name: str) -> dict[str, npt.NDArray[Any]]:
        path = self._folder / f"{name}.safetensors"
        found = file_digest(path) if path.exists() else "nothing"
        if found != self._record["files"][name]:
            raise DamagedFileError(
                f"{path}: damaged corrupted pictures: sha256 {self._record['files'][name]} was written, {found} was "
                f"found; delete {self._folder / RECORD} and run `snakemake --cores 1 {self._folder / RECORD}`"
            )
        return load_file(path)
