"""What Snakemake forgets of a job that failed.

Snakemake 9.27 notes a failed job's new parameters as if it had been done (snakemake#3808) and deletes its files, which
it does not miss where what was made of them before is still there (snakemake#1978). So the next call would find nothing
to do, beside figures of the former parameters.
"""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

_RECORDS = Path(".snakemake/metadata")
_FAILED = ["failed"]


def mark_failures(root: Path, since: float) -> None:
    """Make the jobs that failed in this call of Snakemake stale, and by them all that depends on them.

    They are those of which a record was written and the file is not there.

    Args:
        root: The project's folder.
        since: When the call began, in seconds since the epoch.
    """
    for path, record in _written(root, since):
        temporary = path.parent / f".{os.getpid()}.tmp"  # a record's name may be as long as names can be
        temporary.write_text(json.dumps({**record, "params": _FAILED}), encoding="utf-8")
        temporary.replace(path)


def _written(root: Path, since: float) -> Iterator[tuple[Path, dict[str, object]]]:
    for path in sorted((root / _RECORDS).rglob("*")):
        if path.is_file() and path.stat().st_mtime >= since and not os.path.lexists(root / _output(path, root)):
            yield path, json.loads(path.read_text(encoding="utf-8"))


def _output(path: Path, root: Path) -> str:
    """The file that a record is about: its name in base64, long ones in folders that begin with an @."""
    name = "".join(part.removeprefix("@") for part in path.relative_to(root / _RECORDS).parts)
    return base64.urlsafe_b64decode(name).decode()
