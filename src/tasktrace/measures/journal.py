"""What has been measured of a run so far, one line per checkpoint and measure; a killed job continues after it."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasktrace.files import discard_temporaries, is_linked_or_protected, write_text
from tasktrace.measures.base import Quantity

Measured = list[list[Quantity]]
"""Numbers of every task, in the run's order."""


class Journal:
    """An append-only file of results, each line with its own checksum.

    Lines are kept under a key that says what was measured of which run, so that what is asked for again, under
    whatever name and beside whatever other measures, is not measured again.

    Args:
        path: The file.
        report: Told in one line what was found unusable.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        discard_temporaries(path)
        self._entries: dict[tuple[str, int], Measured] = {}
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        damaged = sum(not self._read(line) for line in text.splitlines())
        if damaged:
            report(f"{path}: {damaged} unreadable or damaged lines, measuring those again")
        if damaged or (text and not text.endswith("\n")):
            self._rewrite()

    def find(self, key: str, epoch: int) -> Measured | None:
        """What was measured, or None."""
        return self._entries.get((key, epoch))

    def add(self, key: str, epoch: int, measured: Measured) -> None:
        """Append a result; it is on disk when this returns."""
        self._entries[key, epoch] = measured
        if os.path.lexists(self._path) and is_linked_or_protected(self._path):
            self._rewrite()
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(_line(key, epoch, measured))
            stream.flush()
            os.fsync(stream.fileno())

    def _read(self, line: str) -> bool:
        checksum, _, body = line.partition(" ")
        if checksum != _checksum(body):
            return False
        entry: dict[str, Any] = json.loads(body)
        try:
            measured = [[Quantity(**quantity) for quantity in task] for task in entry["measured"]]
        except TypeError:  # written by another version
            return False
        self._entries[entry["key"], entry["epoch"]] = measured
        return True

    def _rewrite(self) -> None:
        lines = [_line(key, epoch, measured) for (key, epoch), measured in self._entries.items()]
        write_text(self._path, "".join(lines))


def _line(key: str, epoch: int, measured: Measured) -> str:
    body = json.dumps({"key": key, "epoch": epoch, "measured": [[asdict(own) for own in task] for task in measured]})
    return f"{_checksum(body)} {body}\n"


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
