"""Pulled files made to count: whole, ours to write, of one time, and of runs that have finished."""

import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasktrace.config import Study
from tasktrace.errors import DamagedFileError
from tasktrace.files import atomic_path, file_digest, is_linked_or_protected
from tasktrace.places import CORRUPTED_DATA, PREPARED_DATA, RESUME, RUNS, prepared_path
from tasktrace.status.runs import DONE, OUTDATED
from tasktrace.status.survey import survey
from tasktrace.training.finished import TRAJECTORY, Finished, find_finished, keep_finished
from tasktrace.versioning.cache import Cache, Named
from tasktrace.versioning.dvc import cache_folder, check_idle
from tasktrace.versioning.pointers import CHECKPOINTS, DATA, LOCK, PREPARED, read_pointer
from tasktrace.versioning.records import finished_records

_POINTERS = (LOCK, PREPARED, CHECKPOINTS, DATA)

_LEVELLED = (Path("results"), PREPARED_DATA, CORRUPTED_DATA)
"""What Snakemake made, and compares the times of."""

_REWRITTEN = (*_LEVELLED, Path(".snakemake/metadata"))
"""What Snakemake and jobs replace, and refuse to where DVC has protected it; checkpoints are replaced by name."""


_NAMED = 3
"""Changed files that are named; the others are counted."""


@dataclass
class _Found:
    """What there is of the files that git names.

    Attributes:
        whole: Files that are what is named.
        absent: How many are not here, by the pointer file that names them.
        changed: Those that are something else, by pointer file.
        unknown: Folders that are named, and of which the cache does not say what they consist of.
        damaged: A line for each damaged file.
    """

    whole: list[Path] = field(default_factory=list)
    absent: Counter[Path] = field(default_factory=Counter)
    changed: dict[Path, list[Path]] = field(default_factory=lambda: defaultdict(list))
    unknown: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def restore(study: Study, say: Callable[[str], None]) -> None:
    """Make pulled results count as done, so that Snakemake makes again only what they do not answer.

    Every file that git names through DVC is held against its MD5. What Snakemake made and is what is named gets one
    time, that of its oldest file, so that none looks newer than what was made of it, while what was changed since does.
    Links into the cache and somebody else's files become files of one's own where Snakemake has to be able to replace
    them. Runs get back what lets a redo put their files back instead of training.

    Args:
        study: The study.
        say: Told, a line each, what there is and what is not.

    Raises:
        DamagedFileError: A file, a record or cached content is not what its name says; nothing was touched.
        BusyError: Snakemake is at work.
        TasktraceError: DVC is not installed.
    """
    root = study.root
    check_idle(root)
    found = _look(root)
    forgotten = [record for record in finished_records(root) if not _is_remembered(root, record)]
    damaged = [*found.damaged, *_foreign_trajectories(root, forgotten)]
    if damaged:
        raise DamagedFileError("\n".join(["nothing was restored:", *damaged]))
    _tell(found, say)
    for path in list(_files(root / name for name in _REWRITTEN)):
        _make_ours(path)
    _level([path for path in found.whole if any(path.is_relative_to(root / name) for name in _LEVELLED)])
    for record in forgotten:
        keep_finished(
            _resume(root, record), Finished(record, _is_from_elsewhere(root, record)), _trajectory(root, record)
        )
    say(f"runs: {len(forgotten)} restored")
    _tell_study(study, say)


def _look(root: Path) -> _Found:
    found = _Found()
    pointers = [pointer for pointer in _POINTERS if read_pointer(root / pointer)]
    if not pointers:
        return found
    cache = Cache(cache_folder(root))
    for pointer in pointers:
        for path, md5 in read_pointer(root / pointer).items():
            if md5 is None:
                continue
            content = cache.content(root / path, md5)
            for named in content or []:
                _sort(named, pointer, cache, found)
            if content is None and cache.is_damaged(md5):
                found.damaged.append(_damage(cache, md5, f"the listing of {path}", "delete that file of the cache"))
            elif content is None:
                found.unknown.append(path)
    return found


def _sort(named: Named, pointer: Path, cache: Cache, found: _Found) -> None:
    if not named.path.exists():
        found.absent[pointer] += 1
    elif file_digest(named.path, "md5") == named.md5:
        found.whole.append(named.path)
    elif cache.is_damaged(named.md5):
        found.damaged.append(_damage(cache, named.md5, str(named.path), "delete both files"))
    else:
        found.changed[pointer].append(named.path)


def _damage(cache: Cache, md5: str, what: str, remedy: str) -> str:
    place = cache.object(md5)
    return (
        f"{what}: {place} is damaged, its MD5 is {file_digest(place, 'md5')}; {remedy}, and say `dvc pull`; if it "
        "comes back like this, the remote's copy is damaged: whoever has a good one deletes it there and pushes again"
    )


def _tell(found: _Found, say: Callable[[str], None]) -> None:
    say(f"files: {len(found.whole)} are what git names")
    for pointer, paths in found.changed.items():
        named = ", ".join(map(str, paths[:_NAMED])) + (", ..." if len(paths) > _NAMED else "")
        say(f"files: {len(paths)} of {pointer} were changed here since, and stay as they are: {named} (`dvc diff`)")
    for pointer, count in found.absent.items():
        say(f"files: {count} of {pointer} are not here (`dvc pull {'dvc.yaml' if pointer == LOCK else pointer}`)")
    for path in found.unknown:
        say(f"files: nothing says here what {path} consists of, so it stays as it is (`dvc pull {path}`)")


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file())


def _make_ours(path: Path) -> None:
    """Replace a link into the cache, or a file that is protected or somebody else's, by a file of its own."""
    is_foreign = os.geteuid() not in (0, path.lstat().st_uid)  # only its owner and root may set its time
    if is_foreign or is_linked_or_protected(path):
        time = path.stat().st_mtime_ns
        with atomic_path(path) as temporary:
            shutil.copyfile(path, temporary)
        os.utime(path, ns=(time, time))


def _level(paths: list[Path]) -> None:
    """Give files one time, the oldest of theirs."""
    oldest = min((path.stat().st_mtime_ns for path in paths), default=0)
    for path in paths:
        os.utime(path, ns=(oldest, oldest))


def _resume(root: Path, record: dict[str, Any]) -> Path:
    return root / RUNS / str(record["run"]) / RESUME


def _trajectory(root: Path, record: dict[str, Any]) -> Path:
    return root / RUNS / str(record["run"]) / TRAJECTORY


def _is_remembered(root: Path, record: dict[str, Any]) -> bool:
    """Whether a run keeps beside its declared files what lets a redo put these back, and not those of a run before."""
    folder = _resume(root, record)
    kept = find_finished(folder, record["spec_digest"], lambda _: None)
    return kept is not None and kept.record == record and _is_trajectory_of(record, folder / TRAJECTORY)


def _is_from_elsewhere(root: Path, record: dict[str, Any]) -> bool:
    """Whether a run that is restored did not finish here, so that its checkpoints need not be here."""
    kept = find_finished(_resume(root, record), record["spec_digest"], lambda _: None)
    return kept is None or kept.record != record or kept.is_restored


def _is_trajectory_of(record: dict[str, Any], path: Path) -> bool:
    return path.exists() and bool(file_digest(path) == record["trajectory"])


def _foreign_trajectories(root: Path, records: Iterable[dict[str, Any]]) -> Iterator[str]:
    for record in records:
        path = _trajectory(root, record)
        if not _is_trajectory_of(record, path):
            yield (
                f"{path}: absent, or not what run.json says; fetch it anew (`dvc pull {path.relative_to(root)}`), or "
                f"delete {path.parent} to train the run again"
            )


def _tell_study(study: Study, say: Callable[[str], None]) -> None:
    for setting in study.settings:
        states = Counter(own.standing.state for own in survey(study, [setting]))
        done = sum(states[state] for state in DONE)
        say(f"{setting}: {done} of {states.total()} runs done")
        if states[OUTDATED]:
            say(f"{setting}: {states[OUTDATED]} runs were trained with other options, and train again")
        if done and not (study.root / prepared_path(setting)).exists():
            say(f"{setting}: no prepared data here; what is to train needs it (`dvc pull {PREPARED}`)")
