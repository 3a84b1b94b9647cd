"""The state from which a killed run continues as if nothing had happened.

States are undeclared to Snakemake, which deletes what it knows before a retry. A state's file name carries the
sha256 of its content, so a damaged one is recognised and the one before it is used.
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasktrace.files import atomic_path, file_digest
from tasktrace.training.finished import KEPT, Finished, find_finished, keep_finished
from tasktrace.training.trajectory import Row

_KEPT = 2

LOG = "train.log"
"""What all attempts at the run had to say."""

_OUTLASTING = ("lock", LOG)
"""What stays when the states go."""


@dataclasses.dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Finished epochs.
        step: Finished steps of the current epoch.
        rows: The trajectory so far.
        checkpoints: The sha256 of each epoch's checkpoint file.
        seconds: Time spent so far, over all attempts, by activity.
        attempts: Starts that left a state, and the present one.
        data: The content of the data that it is trained on.
    """

    epoch: int = 0
    step: int = 0
    rows: list[Row] = dataclasses.field(default_factory=list)
    checkpoints: dict[int, str] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    attempts: int = 0
    data: str = ""


class ResumeFolder:
    """The folder ``.resume`` of a run.

    Args:
        folder: Its path.
        spec_digest: Identifies the run's spec; states of another spec are discarded.
        report: Told in one line what was found unusable.
    """

    def __init__(self, folder: Path, spec_digest: str, report: Callable[[str], None]) -> None:
        self.folder = folder
        self._digest = spec_digest
        self._report = report

    def save(self, state: dict[str, Tensor], progress: Progress) -> None:
        """Write a state, then remove all but the last two."""
        self.folder.mkdir(parents=True, exist_ok=True)
        header = {"spec": self._digest, **dataclasses.asdict(progress)}
        tensors = {**state, "header": _as_bytes(json.dumps(header))}
        unnamed = self.folder / "state.safetensors"
        with atomic_path(unnamed, durable=False) as temporary:
            save_file({name: value.contiguous() for name, value in tensors.items()}, temporary)
        place = f"epoch{progress.epoch:05d}-step{progress.step:07d}"
        unnamed.replace(self.folder / f"{place}.{file_digest(unnamed)[:16]}.state")
        for old in self._states()[:-_KEPT]:
            old.unlink()

    def tell(self, state: str, **facts: float) -> None:
        """Say how far the run is, for whoever looks on without torch.

        Args:
            state: ``training``, ``failed``, or ``stopped`` for a run that saved and ended in time.
            facts: What has changed: epoch, epochs, step, steps, seconds, attempt.
        """
        path = self.folder / "progress.json"
        try:
            known = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            known = {}  # the first word, or damaged: nothing rests on it
        with atomic_path(path, durable=False) as temporary:
            temporary.write_text(json.dumps({**known, **facts, "state": state, "time": time.time()}), encoding="utf-8")

    def load(self, data: str) -> tuple[dict[str, Tensor], Progress] | None:
        """The newest whole state of this spec and ``data``; None to start from the beginning."""
        path = self._newest_whole()
        if path is not None:
            tensors = load_file(path)
            header = json.loads(tensors.pop("header").numpy().tobytes())
            foreign = self._why_foreign(header, data)
            if foreign is None:
                return tensors, _progress(header)
            self._report(f"{path}: {foreign}; starting from the beginning")
        self.clear()
        return None

    def clear(self) -> None:
        """Remove everything but the lock and the log."""
        self._remove_all_but(*_OUTLASTING)

    def finish(self, record: dict[str, Any], trajectory: Path) -> None:
        """Write the little that lets a redo emit the declared files again, then remove the states."""
        keep_finished(self.folder, Finished(record), trajectory)
        self.remove_states()

    def remove_states(self) -> None:
        """Remove what a finished run no longer needs."""
        self._remove_all_but(*_OUTLASTING, *KEPT)

    def finished(self) -> Finished | None:
        """This spec's finished run, if it has finished."""
        return find_finished(self.folder, self._digest, self._report)

    def _newest_whole(self) -> Path | None:
        """The newest state that is what was written; damaged ones are removed."""
        for path in reversed(self._states()):
            if file_digest(path)[:16] == path.suffixes[-2].removeprefix("."):
                return path
            self._report(f"{path}: damaged resume state, not used; falling back to the one before it or the start")
            path.unlink()
        return None

    def _why_foreign(self, header: dict[str, Any], data: str) -> str | None:
        """Why a state is not this run's, or None if it is."""
        if header["spec"] != self._digest:
            return "belongs to a run with other options"
        if header.get("data") != data:
            return "other data than the run began with"
        return None

    def _remove_all_but(self, *names: str) -> None:
        for path in self.folder.glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in names:
                path.unlink()

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("epoch*.state"))


def _as_bytes(text: str) -> Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


def _progress(header: dict[str, Any]) -> Progress:
    del header["spec"]
    header["rows"] = [Row(**row) for row in header["rows"]]
    header["checkpoints"] = {int(epoch): digest for epoch, digest in header["checkpoints"].items()}
    return Progress(**header)
