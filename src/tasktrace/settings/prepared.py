"""The one file that holds a setting's prepared data, and how it is known to be whole.

Contents: ``inputs``, pixels before normalisation (uint8, (N, channels, height, width)) or token ids (int32, (N, L)),
and for every task and split ``<task>/<split>/index`` (int64, (n,): rows of ``inputs``) and ``<task>/<split>/target``,
one of

- int64, (n,): classes;
- float32, (n,): numbers;
- int8, (n, height, width): the class of every pixel, -1 where it has none;
- float32, (n, height, width) or (n, 3, height, width): a number or a vector for every pixel, NaN where it is unknown.

The metadata holds the spec that the data was made from, the normalisation constants, and a digest of all that and the
arrays. The spec and the digest also stand in a small JSON file beside it, which the workflow compares by content.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import atomic_path, canonical_json, discard_temporaries, write_json

SPLITS = ("train", "validation", "test")

Tensors = dict[str, npt.NDArray[Any]]

_FEW_PIXELS = 2**26
"""Up to here NumPy computes the normalisation on a copy in float64, as for all data prepared before there was more."""

_ROWS = 1024
"""Inputs counted at a time."""


@dataclass(frozen=True)
class Prepared:
    """A setting's data in memory.

    Attributes:
        tensors: The arrays of the file, by name.
        mean: Per-channel mean of the training inputs, in units of the stored pixels; empty for token ids.
        std: Per-channel standard deviation of the same; empty for token ids.
        content: SHA-256 over all arrays and the header: the data's identity in ``run.json``.
    """

    tensors: Tensors
    mean: list[float]
    std: list[float]
    content: str


def write_prepared(path: Path, tensors: Tensors, spec: dict[str, Any]) -> Prepared:
    """Write ``tensors`` with the spec that they were made from; whole or not at all."""
    mean, std = _normalisation(tensors)
    header = {"spec": spec, "mean": mean, "std": std}
    content = _content_digest(tensors, header)
    discard_temporaries(path)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"tasktrace": canonical_json({"header": header, "content": content})})
    write_json(path.with_suffix(".json"), {"spec": spec, "content": content})
    return Prepared(tensors, mean, std, content)


def read_prepared(path: Path, spec: dict[str, Any]) -> Prepared:
    """Read a prepared file, made from ``spec``, and verify every byte of it.

    Raises:
        DataError: No such file, or it was made from another spec.
        DamagedFileError: The content is not what ``prepare`` wrote.
    """
    remedy = f"delete it and run `snakemake --cores 1 {path}`"
    if not path.exists():
        raise DataError(f"{path}: no prepared data; run `snakemake --cores 1 {path}`")
    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = json.loads((stream.metadata() or {})["tasktrace"])
            header, written = metadata["header"], metadata["content"]
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise DamagedFileError(f"{path}: damaged prepared data ({error}); {remedy}") from error
    found = _content_digest(tensors, header)
    if found != written:
        raise DamagedFileError(
            f"{path}: damaged prepared data: its content has sha256 {found}, but {written} was written; {remedy}"
        )
    if header["spec"] != spec:
        raise DataError(
            f"{path}: prepared from {canonical_json(header['spec'])}, but the configuration asks for "
            f"{canonical_json(spec)}; "
            f"run `snakemake --cores 1 {path}`"
        )
    return Prepared(tensors, header["mean"], header["std"], found)


def prepared_content(path: Path) -> str | None:
    """What a prepared file says of its own content, unverified; None if there is no such file, or no whole one."""
    try:
        with safe_open(path, framework="numpy") as stream:
            return str(json.loads(stream.metadata()["tasktrace"])["content"])
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def _normalisation(tensors: Tensors) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation over every input that some task trains on; of token ids there is none."""
    if tensors["inputs"].ndim == 2:
        return [], []
    used = np.unique(np.concatenate([array for name, array in tensors.items() if name.endswith("/train/index")]))
    inputs = tensors["inputs"]
    if len(used) * math.prod(inputs.shape[1:]) > _FEW_PIXELS:
        return _moments(_histogram(inputs, used))
    pixels = inputs[used].astype(np.float64)
    axes = (0, *range(2, pixels.ndim))
    return pixels.mean(axis=axes).tolist(), pixels.std(axis=axes).tolist()


def _histogram(inputs: npt.NDArray[Any], rows: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """How often each channel has each of the 256 values, (C, 256), with little memory."""
    counts = np.zeros((inputs.shape[1], 256), dtype=np.int64)
    for block in np.array_split(rows, math.ceil(len(rows) / _ROWS)):
        for channel, own in enumerate(np.moveaxis(inputs[block], 1, 0)):
            counts[channel] += np.bincount(own.reshape(-1), minlength=256)
    return counts


def _moments(counts: npt.NDArray[np.int64]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel, from exact sums."""
    values = np.arange(256)
    sizes, sums, squares = counts.sum(axis=1), counts @ values, counts @ values**2
    means = [Fraction(int(total), int(size)) for total, size in zip(sums, sizes, strict=True)]
    variances = [
        Fraction(int(square), int(size)) - mean**2 for square, size, mean in zip(squares, sizes, means, strict=True)
    ]
    return [float(mean) for mean in means], [math.sqrt(variance) for variance in variances]


def _content_digest(tensors: Tensors, header: dict[str, Any]) -> str:
    state = hashlib.sha256(canonical_json(header).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        state.update(f"{name} {array.dtype} {array.shape};".encode())
        state.update(array.data)
    return state.hexdigest()
