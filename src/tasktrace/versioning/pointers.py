"""The small YAML files in which git names what DVC keeps: ``data.dvc``, ``prepared.dvc``, ``checkpoints.dvc``.

Each may name several folders, so that one of them can be pulled alone. Nothing here needs DVC.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import file_digest, write_text
from tasktrace.locking import held

DATA = Path("data.dvc")
"""Names the folders of raw data."""

PREPARED = Path("prepared.dvc")
"""Names what was made of them for training."""

CHECKPOINTS = Path("checkpoints.dvc")
"""Names final epochs, and whole trajectories where they were asked for."""

LOCK = Path("dvc.lock")
"""Names what the stage of ``dvc.yaml`` made."""

_CONTENT = ("md5", "size", "nfiles", "hash", "path")
"""What an entry says of its content; what else it says is its owner's, such as ``remote`` or ``push``."""

# What DVC leaves out wherever it stands: of itself, and by those lines of the shipped .dvcignore that name no place.
_LEFT_OUT_FOLDERS = {".git", ".hg", ".dvc", "__pycache__", ".resume", ".refit"}
_LEFT_OUT = (".git", ".*.tmp")

_LOCK = Path("logs/pointers.lock")
"""Held by whoever changes pointer files; in a folder that git and DVC leave out, and that is there without DVC too."""

_PATIENCE = 10.0
"""Seconds; another fetch writes a name in an instant, while archiving takes minutes."""


@dataclass(frozen=True)
class Content:
    """What a file or folder holds.

    Attributes:
        md5: The file's MD5; of a folder, that of its listing with ``.dir`` behind it.
        size: Bytes of all files.
        files: How many files.
    """

    md5: str
    size: int
    files: int


def read_pointer(file: Path) -> dict[str, str | None]:
    """The paths that a pointer file names, each with its MD5; None for one that DVC has not seen yet.

    Raises:
        DamagedFileError: The file is no pointer file.
    """
    return {out["path"]: out.get("md5") for out in _outs(file)}


def name_content(file: Path, path: str, content: Content | None = None) -> None:
    """Name a path in a pointer file, in place of what it was named with before.

    Args:
        file: The pointer file, which need not exist.
        path: The path, below the pointer file's folder.
        content: What is there; None where DVC is to find that out.

    Raises:
        DamagedFileError: The file is no pointer file.
    """
    entry: dict[str, Any] = {"md5": content.md5, "size": content.size} if content else {}
    if content and content.md5.endswith(".dir"):
        entry["nfiles"] = content.files
    outs = {out["path"]: out for out in _outs(file)}
    own = {key: value for key, value in outs.get(path, {}).items() if key not in _CONTENT}
    _write(file, list({**outs, path: {**entry, "hash": "md5", "path": path, **own}}.values()))


def naming(root: Path) -> AbstractContextManager[None]:
    """Keep other processes from naming anything between this one's reading of pointer files and its writing them.

    Raises:
        BusyError: Another process is at it.
    """
    return held(root / _LOCK, f"{DATA}, {PREPARED} and {CHECKPOINTS}", "fetching or archiving", _PATIENCE)


def is_named(file: Path, path: str, found: Content) -> bool:
    """Whether a pointer file names a path; then it names it with this content.

    Raises:
        DataError: It names it with other content.
        DamagedFileError: The file is no pointer file.
    """
    named = read_pointer(file).get(path)
    if named not in (None, found.md5):
        raise DataError(
            f"{path}: not what {file.name} names: its MD5 there is {named}, here it is {found.md5}, of {found.files} "
            f"files with {found.size:,} bytes. To have what is named: take the folder away and fetch it again, or `dvc "
            f"pull {path}`. To go on with what is here: take its entry out of {file.name}, fetch again, and commit "
            f"{file.name}"
        )
    return named is not None


def forget(file: Path, paths: set[str]) -> None:
    """Take paths out of a pointer file.

    Raises:
        DamagedFileError: The file is no pointer file.
    """
    _write(file, [out for out in _outs(file) if out["path"] not in paths])


def content_of(path: Path) -> Content:
    """What a file or folder holds, named as DVC 3 names it."""
    if path.is_file():
        return Content(file_digest(path, "md5"), path.stat().st_size, 1)
    below = {entry.relative_to(path): entry for entry in path.rglob("*") if entry.is_file()}
    files = {name.as_posix(): entry for name, entry in below.items() if not _is_left_out(name)}
    listing = [{"md5": file_digest(files[name], "md5"), "relpath": name} for name in sorted(files)]
    md5 = hashlib.md5(json.dumps(listing).encode(), usedforsecurity=False).hexdigest()
    return Content(f"{md5}.dir", sum(entry.stat().st_size for entry in files.values()), len(files))


def _is_left_out(name: Path) -> bool:
    return bool(_LEFT_OUT_FOLDERS & set(name.parts[:-1])) or any(
        fnmatchcase(part, pattern) for part in name.parts for pattern in _LEFT_OUT
    )


def _outs(file: Path) -> list[dict[str, Any]]:
    content = _content(file)
    try:
        outs = _stage_outs(content) if "stages" in content else content.get("outs") or []
        return [dict(out) for out in outs if out["path"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise _no_pointer(file, error) from error


def _stage_outs(lock: dict[str, Any]) -> list[dict[str, Any]]:
    return [out for stage in lock["stages"].values() for out in stage.get("outs", [])]


def _content(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise _no_pointer(file, error) from error


def _no_pointer(file: Path, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"{file}: expected a file of DVC with `outs`, each with a `path`; found something else ({error!r}); "
        f"`git checkout {file}` brings back the last version"
    )


def _write(file: Path, outs: list[dict[str, Any]]) -> None:
    """Write a pointer file; of its comments the one at its head stays. An entry's own notes belong in ``desc``."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
    comment = ""
    for line in lines:
        if not line.startswith("#"):
            break
        comment += line
    write_text(file, comment + yaml.safe_dump({**_content(file), "outs": outs}, sort_keys=False))
