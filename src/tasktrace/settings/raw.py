"""Raw files: where they come from, and whether what is on the disk is what was published."""

from dataclasses import dataclass
from pathlib import Path

from tasktrace.errors import DataError
from tasktrace.files import file_digest


@dataclass(frozen=True)
class Source:
    """One raw file of a setting.

    Attributes:
        path: Where it belongs.
        md5: The checksum that its publisher gives.
        url: Where it can be fetched.
    """

    path: Path
    md5: str
    url: str


def missing(sources: list[Source]) -> list[Source]:
    """The sources that are not on the disk."""
    return [source for source in sources if not source.path.exists()]


def verify(sources: list[Source]) -> None:
    """Compare every raw file with its published checksum.

    Raises:
        DataError: A file is truncated or altered; names it with both checksums.
    """
    for source in sources:
        found = file_digest(source.path, "md5")
        if found != source.md5:
            raise DataError(
                f"{source.path}: truncated or altered: its MD5 is {found}, the published one is {source.md5}; "
                f"delete it and run again, or fetch it anew from {source.url}"
            )


def how_to_fetch(sources: list[Source]) -> str:
    """Which files to fetch, from where, and where to put them."""
    return "\n".join(f"  {source.url} (MD5 {source.md5})\n    -> {source.path}" for source in sources)
