"""Writing files whole or not at all, and telling them apart by content."""

import functools
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


@contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` and rename it to ``path`` once the block has succeeded.

    A reader (or a restarted process) finds the old content or the new, never a part. On an error the temporary file
    is removed and ``path`` is untouched.

    Args:
        path: The file to write.
        durable: Flush to the disk before the rename, against power loss; needless for a file whose damage its
            reader notices and gets over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.chmod(_default_mode())
        if durable:
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache
def _default_mode() -> int:
    """What the user's umask gives new files; some writers make theirs private."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def discard_temporaries(path: Path) -> None:
    """Remove what killed processes left of ``path``; only for a caller that is its sole writer."""
    temporary = re.compile(rf"\.{re.escape(path.name)}\.\d+\.tmp")
    for entry in path.parent.glob(".*.tmp"):
        if temporary.fullmatch(entry.name):
            entry.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def canonical_json(value: Any) -> str:
    """The one JSON text of ``value``: sorted keys, no white space, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON of ``value``."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's content, read in blocks."""
    state = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            state.update(block)
    return state.hexdigest()


def is_linked_or_protected(path: Path) -> bool:
    """Whether to write into a file would reach another place through a link, such as DVC's cache, or be refused."""
    status = path.lstat()
    return stat.S_ISLNK(status.st_mode) or status.st_nlink > 1 or not status.st_mode & stat.S_IWUSR
