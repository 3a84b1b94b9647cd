"""Checkpoints: one small file an epoch while training, a few large ones when it is done.

The packed files are ``checkpoints/<run path>.safetensors``, or numbered shards where one would exceed ``SHARD_BYTES``;
a tensor's name is ``epoch<number>/<name in the model>``, or ``epoch<number>/method/<name>`` if the method remembers it.
"""

import re
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasktrace.errors import DamagedFileError
from tasktrace.files import atomic_path, file_digest
from tasktrace.training.finals import final_epochs, is_final_of, read_final, write_final

SHARD_BYTES = 1 << 30


class EpochFiles:
    """The checkpoints of an unfinished run, one file an epoch.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, epoch: int, state: dict[str, Tensor]) -> str:
        """Write one epoch's checkpoint and return the file's sha256."""
        path = self._path(epoch)
        with atomic_path(path) as temporary:
            save_file({f"{_prefix(epoch)}{name}": value.contiguous() for name, value in state.items()}, temporary)
        return file_digest(path)

    def pack(self, digests: dict[int, str], target: Path, root: Path) -> list[dict[str, Any]]:
        """Join the files into shards and describe them for ``run.json``.

        Args:
            digests: The sha256 of each epoch's file.
            target: The packed file's path below ``root``, without ending.
            root: The project's folder.

        Raises:
            DamagedFileError: A file is not what was written.
        """
        shards = self._shards(self._verified(digests))
        packed = []
        _discard_packed(root / target)
        for number, epochs in enumerate(shards, start=1):
            name = target.name if len(shards) == 1 else f"{target.name}.{number:05d}-of-{len(shards):05d}"
            path = target.with_name(f"{name}.safetensors")
            tensors = {name: value for epoch in epochs for name, value in load_file(self._path(epoch)).items()}
            with atomic_path(root / path) as temporary:
                save_file(tensors, temporary)
            packed.append({"path": path.as_posix(), "epochs": epochs, **_identity(root / path)})
        return packed

    def _verified(self, digests: dict[int, str]) -> list[int]:
        for epoch, written in digests.items():
            found = file_digest(self._path(epoch)) if self._path(epoch).exists() else "nothing"
            if found != written:
                raise DamagedFileError(
                    f"{self._path(epoch)}: damaged checkpoint: sha256 {written} was written, {found} was found; "
                    f"delete {self._folder.parent} to train this run again"
                )
        return sorted(digests)

    def _shards(self, epochs: list[int]) -> list[list[int]]:
        shards: list[list[int]] = []
        room = 0
        for epoch in epochs:
            size = self._path(epoch).stat().st_size
            if not shards or size > room:
                shards.append([])
                room = SHARD_BYTES
            shards[-1].append(epoch)
            room -= size
        return shards

    def _path(self, epoch: int) -> Path:
        return self._folder / f"epoch{epoch:05d}.safetensors"


def _discard_packed(target: Path) -> None:
    """Remove what earlier attempts packed under this name, whole or killed half-way, with any number of shards."""
    ours = re.compile(rf"\.?{re.escape(target.name)}(\.\d+-of-\d+)?\.safetensors(\.\d+\.tmp)?")
    for entry in target.parent.iterdir() if target.parent.exists() else ():
        if ours.fullmatch(entry.name):
            entry.unlink()


def verify(files: list[dict[str, Any]], root: Path) -> None:
    """Hold packed checkpoints against the sizes and hashes in ``run.json``.

    Args:
        files: The list ``checkpoints`` of a ``run.json``.
        root: The project's folder.

    Raises:
        DamagedFileError: A file is absent, or not what was written.
    """
    for entry in files:
        path = root / entry["path"]
        if not path.exists():
            raise DamagedFileError(
                f"{path}: this checkpoint file is absent; fetch it (`dvc pull checkpoints.dvc`, if it was archived "
                "with --trajectories) or train the run again"
            )
        found = _identity(path)
        written = {"sha256": entry["sha256"], "size": entry["size"]}
        if found != written:
            raise DamagedFileError(
                f"{path}: damaged checkpoint, or another run's: run.json says {written}, found {found}; "
                "fetch it anew (`dvc pull checkpoints.dvc`) or train the run again"
            )


def load_checkpoint(record: dict[str, Any], epoch: int, root: Path = Path()) -> dict[str, Tensor]:
    """The state of model and method after an epoch of a finished run, verified.

    It is read from the file of the final epochs where that has it, since the packed checkpoints in this place may be
    those of another run; otherwise from these.

    Args:
        record: The content of the run's ``run.json``.
        epoch: Finished epochs; 0 is the initial model.
        root: The project's folder.

    Raises:
        DamagedFileError: The file is absent, or not what was written.
        KeyError: The run kept no checkpoint of this epoch.
    """
    if epoch in final_epochs(record) and is_final_of(record, root):
        return _of_epoch(read_final(record, root), epoch)
    verify(_holding(record, epoch), root)
    return read_checkpoint(record, epoch, root)


def keep_final(record: dict[str, Any], root: Path) -> bool:
    """Write the file of a run's final epochs, unless it is there; whether it was written.

    Raises:
        DamagedFileError: A packed checkpoint cannot be read.
    """
    if is_final_of(record, root):
        return False
    states = {epoch: read_checkpoint(record, epoch, root) for epoch in final_epochs(record)}
    tensors = {f"{_prefix(epoch)}{name}": value for epoch, state in states.items() for name, value in state.items()}
    write_final(record, tensors, root)
    return True


def _of_epoch(tensors: dict[str, Tensor], epoch: int) -> dict[str, Tensor]:
    prefix = _prefix(epoch)
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def kept_epochs(record: dict[str, Any]) -> list[int]:
    """The epochs whose checkpoints a finished run kept."""
    return [epoch for entry in record["checkpoints"] for epoch in entry["epochs"]]


def read_checkpoint(record: dict[str, Any], epoch: int, root: Path = Path()) -> dict[str, Tensor]:
    """:func:`load_checkpoint` for a caller that has verified the files once and reads many epochs."""
    holding = _holding(record, epoch)
    try:
        with safe_open(root / holding[0]["path"], framework="pt") as stream:
            names = [name for name in stream.keys() if name.startswith(_prefix(epoch))]  # noqa: SIM118
            return {name.removeprefix(_prefix(epoch)): stream.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise DamagedFileError(f"{root / holding[0]['path']}: damaged checkpoint: {error}") from error


def _holding(record: dict[str, Any], epoch: int) -> list[dict[str, Any]]:
    """The entry of the file that holds an epoch, as a list of one."""
    holding = [entry for entry in record["checkpoints"] if epoch in entry["epochs"]]
    if not holding:
        raise KeyError(f"no checkpoint of epoch {epoch}; this run kept {kept_epochs(record) or 'none'}")
    return holding


def _prefix(epoch: int) -> str:
    return f"epoch{epoch:05d}/"


def _identity(path: Path) -> dict[str, Any]:
    return {"sha256": file_digest(path), "size": path.stat().st_size}
