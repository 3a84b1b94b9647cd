"""The one file that holds a setting's prepared data, and how it is known to be whole.

Contents: ``inputs`` (uint8, (N, channels, height, width): pixels before normalisation), and for every task and split
``<task>/<split>/index`` (int64, (n,): rows of ``inputs``) and ``<task>/<split>/target`` (int64, (n,)). The metadata
holds the spec that the data was made from, the normalisation constants, and a digest of all that and the arrays. The
spec and the digest also stand in a small JSON file beside it, which the workflow compares by content.
"""

import hashlib
import json
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Prepared:
    """A setting's data in memory.

    Attributes:
        tensors: The arrays of the file, by name.
        mean: Per-channel mean of the training inputs, in units of the stored pixels.
        std: Per-channel standard deviation of the same.
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


def _normalisation(tensors: Tensors) -> tuple[list[float], list[float]]:
    """Per-channel mean and standard deviation over every input that some task trains on."""
    used = np.unique(np.concatenate([array for name, array in tensors.items() if name.endswith("/train/index")]))
    pixels = tensors["inputs"][used].astype(np.float64)
    axes = (0, *range(2, pixels.ndim))
    return pixels.mean(axis=axes).tolist(), pixels.std(axis=axes).tolist()


def _content_digest(tensors: Tensors, header: dict[str, Any]) -> str:
    state = hashlib.sha256(canonical_json(header).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        state.update(f"{name} {array.dtype} {array.shape};".encode())
        state.update(array.data)
    return state.hexdigest()
