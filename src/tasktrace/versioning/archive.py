"""What a study was made with, given to DVC: raw and prepared data, checkpoints. A step of its own, part of no job."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasktrace.errors import DamagedFileError, DataError
from tasktrace.files import write_text
from tasktrace.places import CORRUPTED_DATA, PREPARED_DATA, RUNS
from tasktrace.training.checkpoints import keep_final, verify
from tasktrace.training.finals import FOLDER, final_path, is_final_of, read_final
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
    naming,
    read_pointer,
)
from tasktrace.versioning.records import finished_records

_PREPARED = (PREPARED_DATA.as_posix(), CORRUPTED_DATA.as_posix())

Record = dict[str, Any]


@dataclass(frozen=True)
class _Survey:
    """What there is to archive.

    Attributes:
        here: Records of the runs whose checkpoints are here.
        elsewhere: Those of the other runs that kept checkpoints.
        trajectories: Whether whole trajectories are archived.
        added: What is given to DVC, by the pointer file that names it.
        dropped: What ``checkpoints.dvc`` names no longer.
    """

    here: list[Record]
    elsewhere: list[Record]
    trajectories: bool
    added: dict[Path, list[str]]
    dropped: set[str]


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
        DataError: There is nothing to archive, or what was archived before is only partly here, or raw data is not what
            ``data.dvc`` names.
        BusyError: Snakemake is at work, or another process is naming data.
        TasktraceError: DVC is not installed, or failed.
    """
    check_idle(root)
    check_repository(root)
    with naming(root):
        survey = _look(root, trajectories)
        _check(survey, root)
        written = sum(keep_final(record, root) for record in survey.here)
        say(f"{FOLDER}: {written} of {len(survey.here) + len(survey.elsewhere)} runs are new")
        _add(survey, root)


def _look(root: Path, trajectories: bool | None) -> _Survey:
    kept = [record for record in finished_records(root) if record["checkpoints"]]
    here = [record for record in kept if _is_here(record, root)]
    whole = set(read_pointer(root / CHECKPOINTS)) - {FOLDER.as_posix()}
    wanted = bool(whole) if trajectories is None else trajectories
    added = {
        DATA: [path for path in read_pointer(root / DATA) if (root / path).exists()],
        PREPARED: [path for path in _PREPARED if (root / path).exists()],
        CHECKPOINTS: [
            *([FOLDER.as_posix()] if here or (root / FOLDER).exists() else []),
            *(sorted({_setting_folder(record) for record in here}) if wanted else []),
        ],
    }
    elsewhere = [record for record in kept if not _is_here(record, root)]
    return _Survey(here, elsewhere, wanted, added, dropped=set() if wanted else whole)


def _is_here(record: Record, root: Path) -> bool:
    return all((root / entry["path"]).exists() for entry in record["checkpoints"])


def _setting_folder(record: Record) -> str:
    return f"checkpoints/{record['run'].partition('/')[0]}"


def _check(survey: _Survey, root: Path) -> None:
    """Refuse what would archive damage, or less than was archived before."""
    if not any(survey.added.values()):
        raise DataError(f"{root.resolve()}: neither data nor checkpoints are here to archive (`dvc pull` fetches them)")
    _verify(survey, root)
    _check_finals(survey.elsewhere, root)
    for path in survey.added[DATA]:
        is_named(root / DATA, path, content_of(root / path))
    _check_kept(survey, root)


def _verify(survey: _Survey, root: Path) -> None:
    packed = [record for record in survey.here if survey.trajectories or not is_final_of(record, root)]
    final = [record for record in [*survey.here, *survey.elsewhere] if is_final_of(record, root)]
    damaged = [
        *_failures(lambda record: verify(record["checkpoints"], root), packed),
        *_failures(lambda record: read_final(record, root), final),
    ]
    if damaged:
        raise DamagedFileError("\n".join(["nothing was archived:", *damaged]))


def _failures(check: Callable[[Record], object], records: Iterable[Record]) -> Iterator[str]:
    for record in records:
        try:
            check(record)
        except DamagedFileError as error:
            yield str(error)


def _check_finals(elsewhere: list[Record], root: Path) -> None:
    """Refuse final epochs that are not their run's, and cannot be made anew here."""
    former = [
        record["run"] for record in elsewhere if (root / final_path(record)).exists() and not is_final_of(record, root)
    ]
    if former:
        raise DataError(
            f"{FOLDER}: {len(former)} runs' files are not of the checkpoints that run.json names, such as that of "
            f"{former[0]}, and those are not here to make them anew; delete the files and fetch the runs' own "
            f"(`dvc pull {FOLDER}`), or delete these runs' folders below {RUNS}"
        )


def _check_kept(survey: _Survey, root: Path) -> None:
    """Refuse to name something again without files that it was archived with, whoever made them."""
    cache = Cache(cache_folder(root))
    to_come = {root / final_path(record) for record in survey.here}
    for pointer in (PREPARED, CHECKPOINTS):
        named = read_pointer(root / pointer)
        for path in survey.added[pointer]:
            md5 = named.get(path)
            if md5 is None:
                continue
            files = cache.content(root / path, md5)
            if files is None:
                # The records here do not do instead: they know nothing of runs that were archived and never pulled.
                fault = "" if content_of(root / path).md5 == md5 else _unknown(path, pointer)
            else:
                absent = [own.path for own in files if not own.path.exists() and own.path not in to_come]
                fault = _lost([own.relative_to(root) for own in absent], path, pointer) if absent else ""
            if fault:
                raise DataError(f"{path}: {fault}, or take its entry out of {pointer} to archive what is here")


def _unknown(path: str, pointer: Path) -> str:
    return (
        f"not what {pointer} names, and which files that has is not known here, so that some could be left out of it; "
        f"fetch it into the cache first (`dvc fetch {path}`, which leaves the files here as they are)"
    )


def _lost(absent: list[Path], path: str, pointer: Path) -> str:
    return (
        f"{len(absent)} files that {pointer} names are not here, such as {absent[0]}, and would be left out of it; "
        f"fetch them first (`dvc pull {path}`; where that would take away what is new here, `dvc pull {absent[0]}` and "
        "so on)"
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


def _add(survey: _Survey, root: Path) -> None:
    with _unchanged_by_failure([root / pointer for pointer in survey.added]):
        if survey.dropped:
            forget(root / CHECKPOINTS, survey.dropped)
        for pointer, paths in survey.added.items():
            for path in paths:
                if path not in read_pointer(root / pointer):
                    name_content(root / pointer, path)
        dvc(root, "add", *(path for paths in survey.added.values() for path in paths))
