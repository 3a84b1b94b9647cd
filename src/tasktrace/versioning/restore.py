"""Pulled files made to count: whole, ours to write, of one time, and of runs that have finished."""

import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tasktrace.config import Study
from tasktrace.errors import DamagedFileError
from tasktrace.files import atomic_path, file_digest
from tasktrace.status.runs import DONE, OUTDATED
from tasktrace.status.survey import survey
from tasktrace.training.finished import TRAJECTORY, Finished, keep_finished
from tasktrace.versioning.cache import Cache
from tasktrace.versioning.dvc import cache_folder, check_idle
from tasktrace.versioning.pointers import CHECKPOINTS, DATA, LOCK, PREPARED, read_pointer
from tasktrace.versioning.records import RUNS, finished_records

_POINTERS = (LOCK, PREPARED, CHECKPOINTS, DATA)

_REWRITTEN = ("results", "data/prepared", "data/corrupted", ".snakemake/metadata")
"""What Snakemake and jobs replace, and refuse to where DVC has protected it; checkpoints are replaced by name."""


@dataclass
class _Found:
    """What there is of the files that git names.

    Attributes:
        whole: Files that are what is named.
        absent: How many are not here, by the pointer file that names them.
        changed: How many are something else, by pointer file.
        unknown: What is named, and of which the cache does not say what it consists of.
        damaged: A line for each damaged file.
    """

    whole: list[Path] = field(default_factory=list)
    absent: Counter[Path] = field(default_factory=Counter)
    changed: Counter[Path] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)


def restore(study: Study, say: Callable[[str], None]) -> None:
    """Make pulled results count as done, so that Snakemake makes again only what they do not answer.

    Every file that git names through DVC is held against its MD5. What Snakemake made and is what is named gets one
    time, that of its oldest file, so that none looks newer than what was made of it, while what was changed since does.
    Links into the cache become files of their own where Snakemake has to be able to replace them. Runs get back what
    lets a redo put their files back instead of training.

    Args:
        study: The study.
        say: Told, a line each, what there is and what is not.

    Raises:
        DamagedFileError: A file or cached content is not what its name says; nothing was touched.
        BusyError: Snakemake is at work.
        TasktraceError: DVC is not installed.
    """
    root = study.root
    check_idle(root)
    found = _look(root)
    if found.damaged:
        raise DamagedFileError("\n".join(["nothing was restored:", *found.damaged]))
    _tell(found, say)
    for path in _files(root / name for name in _REWRITTEN):
        _make_ours(path)
    _level(
        [
            path
            for path in found.whole
            if path.is_relative_to(root / "results") or path.is_relative_to(root / "data/prepared")
        ]
    )
    restored = sum(_remember(root, record) for record in finished_records(root))
    say(f"runs: {restored} restored")
    _tell_study(study, say)


def _look(root: Path) -> _Found:
    found = _Found()
    pointers = [pointer for pointer in _POINTERS if read_pointer(root / pointer)]
    if not pointers:
        return found
    cache = Cache(cache_folder(root))
    for pointer in pointers:
        for path, md5 in read_pointer(root / pointer).items():
            if md5 is not None and cache.is_damaged(md5):
                found.damaged.append(_damage(cache, md5, f"the listing of {path}"))
        for named in cache.files(root / pointer):
            if not named.path.exists():
                found.absent[pointer] += 1
            elif file_digest(named.path, "md5") == named.md5:
                found.whole.append(named.path)
            elif cache.is_damaged(named.md5):
                found.damaged.append(_damage(cache, named.md5, str(named.path)))
            else:
                found.changed[pointer] += 1
    return found


def _damage(cache: Cache, md5: str, what: str) -> str:
    place = cache.object(md5)
    return (
        f"{what}: {place} is damaged, its MD5 is {file_digest(place, 'md5')}; delete both, and say `dvc pull`; if it "
        "comes back like this, the remote's copy is damaged"
    )


def _tell(found: _Found, say: Callable[[str], None]) -> None:
    say(f"files: {len(found.whole)} are what git names")
    for pointer, count in found.changed.items():
        say(f"files: {count} of {pointer} were changed here since; they stay as they are (`dvc status`)")
    for pointer, count in found.absent.items():
        say(f"files: {count} of {pointer} are not here (`dvc pull {pointer}`)")


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file())


def _make_ours(path: Path) -> None:
    """Replace a link into the cache, or a protected file, by a file of its own."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode) or status.st_nlink > 1 or not status.st_mode & stat.S_IWUSR:
        time = path.stat().st_mtime
        with atomic_path(path) as temporary:
            shutil.copyfile(path, temporary)
        os.utime(path, (time, time))


def _level(paths: list[Path]) -> None:
    """Give files one time, the oldest of theirs."""
    oldest = min((path.stat().st_mtime for path in paths), default=0.0)
    for path in paths:
        os.utime(path, (oldest, oldest))


def _remember(root: Path, record: dict[str, object]) -> bool:
    """Put back what a finished run keeps beside its declared files, unless it is there; whether it was not."""
    folder = root / RUNS / str(record["run"])
    trajectory = folder / TRAJECTORY
    if (folder / ".resume/finished.json").exists():
        return False
    if not trajectory.exists() or file_digest(trajectory) != record["trajectory"]:
        raise DamagedFileError(
            f"{trajectory}: absent, or not what run.json says; fetch it anew (`dvc pull`), or delete {folder} to train "
            "the run again"
        )
    keep_finished(folder / ".resume", Finished(record, is_restored=True), trajectory)
    return True


def _tell_study(study: Study, say: Callable[[str], None]) -> None:
    states = Counter(own.standing.state for own in survey(study, list(study.settings)))
    done = sum(states[state] for state in DONE)
    say(f"study: {done} of {states.total()} runs done")
    if states[OUTDATED]:
        say(f"study: {states[OUTDATED]} runs were trained with other options, and train again (`tasktrace status`)")
    for setting in study.settings:
        if not (study.root / f"data/prepared/{setting}.safetensors").exists():
            say(f"study: {setting} has no prepared data here: what is to train needs it (`dvc pull {PREPARED}`)")
