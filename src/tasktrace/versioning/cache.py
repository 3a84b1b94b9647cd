"""What DVC's cache holds, and whether files in the project's folder are what git names."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasktrace.files import file_digest
from tasktrace.versioning.pointers import read_pointer


@dataclass(frozen=True)
class Named:
    """A file that a pointer file names.

    Attributes:
        path: Where it belongs.
        md5: Its MD5.
    """

    path: Path
    md5: str


class Cache:
    """DVC's cache.

    Args:
        folder: Where it is.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def object(self, md5: str) -> Path:
        """Where the content with this MD5 is kept."""
        return self._folder / "files/md5" / md5[:2] / md5[2:]

    def is_damaged(self, md5: str) -> bool:
        """Whether what is kept under this MD5 is something else."""
        path = self.object(md5)
        return path.exists() and file_digest(path, "md5") != md5.removesuffix(".dir")

    def files(self, pointer: Path) -> Iterator[Named]:
        """The files that a pointer file names; none of a folder whose listing is not in the cache, or damaged."""
        for path, md5 in read_pointer(pointer).items():
            if md5 is None:
                continue
            place = pointer.parent / path
            if not md5.endswith(".dir"):
                yield Named(place, md5)
            elif self.object(md5).exists() and not self.is_damaged(md5):
                for entry in json.loads(self.object(md5).read_text(encoding="utf-8")):
                    yield Named(place / entry["relpath"], entry["md5"])
