"""What a study was made with, given to DVC: raw and prepared data, checkpoints. A step of its own, part of no job."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import write_text
from tasktrace.training.checkpoints import keep_final, verify
from tasktrace.training.finals import FOLDER, is_final_of, read_final
from tasktrace.versioning.cache import Cache
from tasktrace.versioning.dvc import cache_folder, check_idle, check_repository, dvc
from tasktrace.versioning.pointers import (
    CHECKPOINTS,
    DATA,
    PREPARED,
    content_of,
    forget,
    is_named,
    name_content,
    read_pointer,
)
from tasktrace.versioning.records import RUNS, finished_records

_PREPARED = ("data/prepared", "data/corrupted")

Record = dict[str, Any]


def archive(root: Path, trajectories: bool | None, say: Callable[[str], None]) -> None:
    """Give DVC what the results were made with.

    That is: the raw data that ``data.dvc`` names, prepared data, and every run's final epochs; whole trajectories once
    they were asked for, until they no longer are. Each checkpoint is held against its run's record before it is given
    or final epochs are taken from it.

    Args:
        root: The project's folder.
        trajectories: Whether whole trajectories are kept; None for what ``checkpoints.dvc`` says.
        say: Told in a line what is done.

    Raises:
        DamagedFileError: A checkpoint or record is not what was written.
        DataError: There are no finished runs, or what was archived before is only partly here, or raw data is not what
            ``data.dvc`` names.
        BusyError: Snakemake is at work.
        TasktraceError: DVC is not installed, or failed.
    """
    check_idle(root)
    check_repository(root)
    records = list(finished_records(root))
    if not records:
        raise DataError(f"{root / RUNS}: no finished runs to archive; `dvc repro` or `snakemake` makes them")
    kept = [record for record in records if record["checkpoints"]]
    here = [record for record in kept if _is_here(record, root)]
    elsewhere = [record for record in kept if not _is_here(record, root)]
    named = set(read_pointer(root / CHECKPOINTS))
    settings = {_setting_folder(record) for record in kept}
    wanted = bool(named - {FOLDER.as_posix()}) if trajectories is None else trajectories
    _verify(kept, [record for record in here if wanted or not is_final_of(record, root)], root)
    _check_data(root)
    if wanted:
        _check_whole(settings & named, elsewhere)
    _check_finals(FOLDER.as_posix() in named, elsewhere, root)
    written = sum(keep_final(record, root) for record in here)
    say(f"{FOLDER}: {written} of {len(kept)} runs are new")
    added = {
        DATA: [path for path in read_pointer(root / DATA) if (root / path).exists()],
        PREPARED: [path for path in _PREPARED if (root / path).exists()],
        CHECKPOINTS: [
            *([FOLDER.as_posix()] if (root / FOLDER).exists() else []),
            *(sorted({_setting_folder(record) for record in here}) if wanted else []),
        ],
    }
    with _unchanged_by_failure([root / pointer for pointer in added]):
        if not wanted and named & settings:
            forget(root / CHECKPOINTS, named & settings)
        _add(root, added)


def _is_here(record: Record, root: Path) -> bool:
    return all((root / entry["path"]).exists() for entry in record["checkpoints"])


def _setting_folder(record: Record) -> str:
    return f"checkpoints/{record['run'].partition('/')[0]}"


def _verify(kept: list[Record], used: list[Record], root: Path) -> None:
    damaged = [
        *_failures(lambda record: verify(record["checkpoints"], root), used),
        *_failures(lambda record: read_final(record, root), (own for own in kept if is_final_of(own, root))),
    ]
    if damaged:
        raise DamagedFileError("\n".join(["nothing was archived:", *damaged]))


def _failures(check: Callable[[Record], object], records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        try:
            check(record)
        except DamagedFileError as error:
            yield str(error)


def _check_data(root: Path) -> None:
    """Refuse raw data other than what is named, and prepared data that was archived with more in it."""
    for path in read_pointer(root / DATA):
        if (root / path).exists():
            is_named(root / DATA, path, content_of(root / path))
    for path, md5 in read_pointer(root / PREPARED).items():
        if md5 is not None and (root / path).exists() and not _is_whole(root, path, md5):
            raise DataError(
                f"{path}: some of the files that {PREPARED} names are not here, and would be left out of it; fetch "
                f"them first (`dvc pull {path}`), or take the entry out of {PREPARED} to archive what is here"
            )


def _is_whole(root: Path, path: str, md5: str) -> bool:
    """Whether all files are here of which something consists that is named, changed or not."""
    named = Cache(cache_folder(root)).content(root / path, md5)
    return content_of(root / path).md5 == md5 if named is None else all(own.path.exists() for own in named)


def _check_whole(folders: set[str], elsewhere: list[Record]) -> None:
    """Refuse to archive a folder that was archived with more in it."""
    missing = [record["run"] for record in elsewhere]
    for folder in sorted(folders):
        absent = sorted(run for run in missing if run.startswith(f"{folder.removeprefix('checkpoints/')}/"))
        if absent:
            raise DataError(
                f"{folder}: {len(absent)} runs' checkpoints are not here, such as {absent[0]}, and would be left out "
                f"of {CHECKPOINTS}; fetch them first (`dvc pull {folder}`), or keep final epochs only "
                "(--no-trajectories)"
            )


def _check_finals(were_named: bool, elsewhere: list[Record], root: Path) -> None:
    absent = [record["run"] for record in elsewhere if not is_final_of(record, root)]
    if absent and were_named:
        raise DataError(
            f"{FOLDER}: {len(absent)} runs' checkpoints are not here, such as {absent[0]}, and would be left out of "
            f"{CHECKPOINTS}; fetch them first (`dvc pull {FOLDER}`), or delete these runs' folders below {RUNS}"
        )


@contextmanager
def _unchanged_by_failure(files: list[Path]) -> Iterator[None]:
    """Give files back what was in them if the block fails."""
    before = {path: path.read_text(encoding="utf-8") if path.exists() else None for path in files}
    try:
        yield
    except BaseException:
        for path, text in before.items():
            if text is None:
                path.unlink(missing_ok=True)
            else:
                write_text(path, text)
        raise


def _add(root: Path, named: dict[Path, list[str]]) -> None:
    for pointer, paths in named.items():
        for path in paths:
            if path not in read_pointer(root / pointer):
                name_content(root / pointer, path)
    added = [path for paths in named.values() for path in paths]
    if not added:
        raise DataError(f"{root.resolve()}: neither data nor checkpoints are here to archive (`dvc pull` fetches them)")
    dvc(root, "add", *added)
