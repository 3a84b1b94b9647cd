"""What stays of a finished run beside its declared files, so that a redo puts those back instead of training again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasktrace.files import atomic_path, digest, write_json

_NAME = "finished.json"
TRAJECTORY = "trajectory.parquet"

KEPT = (_NAME, TRAJECTORY)
"""The files, in the run's folder ``.resume``."""


@dataclass(frozen=True)
class Finished:
    """A finished run.

    Attributes:
        record: The content of its ``run.json``.
        is_restored: Whether it was pulled; its packed checkpoints need not be here, or may be those of another run.
    """

    record: dict[str, Any]
    is_restored: bool = False


def keep_finished(folder: Path, finished: Finished, trajectory: Path) -> None:
    """Keep a run's record and trajectory.

    Args:
        folder: The run's folder ``.resume``.
        finished: The run.
        trajectory: Its trajectory.
    """
    with atomic_path(folder / TRAJECTORY) as temporary:
        shutil.copyfile(trajectory, temporary)
    content = {"spec": finished.record["spec_digest"], "record": finished.record}
    if finished.is_restored:
        content["restored"] = True
    write_json(folder / _NAME, {**content, "sha256": digest(content)})


def find_finished(folder: Path, spec_digest: str, report: Callable[[str], None]) -> Finished | None:
    """The finished run of this spec, if it has finished.

    Args:
        folder: The run's folder ``.resume``.
        spec_digest: Identifies the spec.
        report: Told in one line what was found unusable.
    """
    path = folder / _NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("sha256") != digest(content):
            raise ValueError("not what was written")
        found = Finished(content["record"], content.get("restored", False))
        return found if content["spec"] == spec_digest else None
    except (ValueError, KeyError, TypeError, AttributeError):
        report(f"{path}: damaged; training again")
        return None
