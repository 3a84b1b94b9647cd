"""The finished runs in a project's folder, whatever its study says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasktrace.errors import DamagedFileError
from tasktrace.places import RUNS


def finished_records(root: Path) -> Iterator[dict[str, Any]]:
    """The contents of all ``run.json``, in the order of their paths.

    Raises:
        DamagedFileError: One of them is not what was written.
    """
    for path in sorted((root / RUNS).rglob("run.json")):
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            is_ours = root / RUNS / record["run"] == path.parent and isinstance(record["checkpoints"], list)
        except (ValueError, KeyError, TypeError):
            is_ours = False
        if not is_ours:
            raise DamagedFileError(
                f"{path}: damaged record of a run; fetch it anew (`dvc pull`), or delete it and train the run again"
            )
        yield record
