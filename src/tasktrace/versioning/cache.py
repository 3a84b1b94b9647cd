"""What DVC's cache holds, and whether files in the project's folder are what git names."""

import json
from dataclasses import dataclass
from pathlib import Path

from tasktrace.files import file_digest


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

    def content(self, place: Path, md5: str) -> list[Named] | None:
        """The files of which something consists that a pointer file names.

        Args:
            place: Where it belongs.
            md5: What it is named with.

        Returns:
            The files; None where the cache does not say, because a folder's listing is not there or is damaged.
        """
        if not md5.endswith(".dir"):
            return [Named(place, md5)]
        if not self.object(md5).exists() or self.is_damaged(md5):
            return None
        listing = json.loads(self.object(md5).read_text(encoding="utf-8"))
        return [Named(place / entry["relpath"], entry["md5"]) for entry in listing]
