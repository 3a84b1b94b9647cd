"""A run's last checkpoint, and that of its best epoch, in a file of their own.

A trajectory of sixty checkpoints is what the measures need; a model to be used or refitted is one of them, and small
enough to share. The files are ``checkpoints/final-epochs/<run path>.safetensors``; their tensors' names are those of
the packed checkpoints (:mod:`tasktrace.training.checkpoints`).
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from tasktrace.errors import DamagedFileError
from tasktrace.files import atomic_path, digest

FOLDER = Path("checkpoints/final-epochs")
"""Below the project's folder; no setting can have this name."""

_HEADER = "tasktrace"
"""The one entry of a file's metadata: with several, the library would write them in any order."""


def final_path(record: dict[str, Any]) -> Path:
    """The file of a run, below the project's folder."""
    return FOLDER / f"{record['run']}.safetensors"


def final_epochs(record: dict[str, Any]) -> list[int]:
    """Which of a finished run's checkpoints its file holds: the last, and the best epoch's if there is a best epoch."""
    kept = [epoch for entry in record["checkpoints"] for epoch in entry["epochs"]]
    return sorted({max(kept), record["spec"].get("best_epoch")} & set(kept)) if kept else []


def write_final(record: dict[str, Any], tensors: dict[str, Tensor], root: Path) -> None:
    """Write a run's file.

    Args:
        record: The content of the run's ``run.json``.
        tensors: The checkpoints of ``final_epochs``, under their packed names.
        root: The project's folder.
    """
    header = {"packed": _source(record), "tensors": _content(tensors)}
    with atomic_path(root / final_path(record)) as temporary:
        save_file(
            {name: value.contiguous() for name, value in tensors.items()}, temporary, {_HEADER: json.dumps(header)}
        )


def is_final_of(record: dict[str, Any], root: Path) -> bool:
    """Whether a run's file is there, and was made of the checkpoints that ``record`` names."""
    path = root / final_path(record)
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="pt") as stream:
            return bool(_header(stream)["packed"] == _source(record))
    except (SafetensorError, ValueError, KeyError, TypeError):
        return False


def read_final(record: dict[str, Any], root: Path) -> dict[str, Tensor]:
    """The checkpoints in a run's file, under their packed names, verified.

    Raises:
        DamagedFileError: The file is absent, not what was written, or was made of other checkpoints.
    """
    path = root / final_path(record)
    try:
        with safe_open(path, framework="pt") as stream:
            header = _header(stream)
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (no mapping)
        if header["packed"] != _source(record) or header["tensors"] != _content(tensors):
            raise ValueError("its content is not what its header and run.json say")
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{path}: damaged, or of another run: {error}; delete it and fetch it anew (`dvc pull checkpoints.dvc`)"
        ) from error
    return tensors


def _source(record: dict[str, Any]) -> str:
    """Identifies the packed checkpoints, and which of them the file holds."""
    return digest({"checkpoints": record["checkpoints"], "epochs": final_epochs(record)})


def _header(stream: Any) -> dict[str, str]:
    return dict(json.loads(stream.metadata()[_HEADER]))


def _content(tensors: dict[str, Tensor]) -> str:
    """SHA-256 (hex) of names, types, shapes and values."""
    state = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        state.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        state.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return state.hexdigest()
