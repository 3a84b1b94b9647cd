"""Raw files: where they come from, and whether what is on the disk is what was published."""

import http.client
import urllib.error
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasktrace.errors import DataError
from tasktrace.files import file_digest
from tasktrace.places import raw_path
from tasktrace.settings import setting_module

if TYPE_CHECKING:
    from tasktrace.config import Study


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


def no_sources(_raw: Path) -> list[Source]:
    """``sources`` of a setting whose data comes with a package, or is made."""
    return []


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


def raw_folder(study: "Study", setting: str) -> Path:
    """The folder of a setting's raw files, which settings of one module share."""
    return study.root / raw_path(str(study.find_setting(setting)["setting"]))


def raw_state(study: "Study", setting: str) -> tuple[str, list[str]]:
    """What there is of a setting's raw data, and what its user has to do.

    Raises:
        DataError: A raw file is altered.
    """
    raw, module = raw_folder(study, setting), setting_module(study.find_setting(setting)["setting"])
    sources, placed = module.sources(raw), getattr(module, "PLACED_BY_USER", "")
    absent = missing(sources)
    if absent:
        counted = f"{len(absent)} of {len(sources)} raw files missing"
        if placed:
            return counted, [f"{setting}: {counted}; put them here yourself ({placed}):\n{how_to_fetch(absent)}"]
        how = f"`tasktrace fetch {setting}` downloads them, or put them here yourself"
        return f"{counted}; {how}:\n{how_to_fetch(absent)}", []
    if placed and not (raw.is_dir() and any(raw.iterdir())):
        return "no raw data", [f"{setting}: no raw data in {raw}; put it there yourself: {placed}"]
    verify(sources)
    if sources:
        return "raw files complete", []
    return f"raw data in {raw}; checked when it is prepared" if raw.exists() else "comes with the installation", []


def how_to_fetch(sources: list[Source]) -> str:
    """Which files to fetch, from where, and where to put them."""
    return "\n".join(f"  {source.url} (MD5 {source.md5})\n    -> {source.path}" for source in sources)


def download(what: str, raw: Path, sources: list[Source]) -> None:
    """Fetch the missing sources with torchvision's downloader, which checks each against its MD5.

    Args:
        what: The data's name, for messages.
        raw: Folder of the raw files, for messages.
        sources: The files; each is there whole, or not at all.

    Raises:
        DataError: A file cannot be fetched, or is not what was published.
    """
    from torchvision.datasets.utils import download_url

    for source in missing(sources):
        partial = source.path.with_name(f".{source.path.name}.partial")
        try:
            download_url(source.url, str(partial.parent), partial.name, source.md5)
            partial.rename(source.path)
        except (urllib.error.URLError, http.client.HTTPException, OSError, RuntimeError) as error:
            raise DataError(
                f"{what} is not in {raw} and could not be downloaded ({error}). Fetch these files on a machine with a "
                f"network and put them here:\n{how_to_fetch(missing(sources))}"
            ) from error
        finally:
            partial.unlink(missing_ok=True)
