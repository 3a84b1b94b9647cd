"""Where one run stands, from what its folder holds; nothing is written, created or kept locked."""

import dataclasses
import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any

from tasktrace.config.study import identity
from tasktrace.places import RESUME

FINISHED = "finished"
DIVERGED = "diverged"
UNDER_WAY = "under_way"
STOPPED = "stopped"
FAILED = "failed"
OUTDATED = "outdated"
WAITING = "waiting"

DONE = (FINISHED, DIVERGED)
"""Nothing is left to train: a loss that was not finite is an outcome."""

STATES = (FINISHED, DIVERGED, UNDER_WAY, FAILED, STOPPED, OUTDATED, WAITING)
"""Every run is in one of them."""

_LONGEST_LINE = 8192
"""Bytes of a log's end that are looked at for its last line."""


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that works on a run.

    Attributes:
        process: Its id; None if the lock does not say.
        host: Where it runs; None if the lock does not say.
        since: When it began, in seconds of Unix time.
    """

    process: int | None
    host: str | None
    since: float


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run's attempts have come.

    Attributes:
        epoch: Finished epochs.
        epochs: Epochs of the whole run.
        step: Finished steps of the next epoch.
        steps: Steps of an epoch.
        seconds: Time spent so far, over all attempts.
        attempt: The number of the last attempt, from 1.
        time: When this was written, in seconds of Unix time.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    seconds: float
    attempt: int
    time: float

    @property
    def trained(self) -> float:
        """Epochs trained so far, the begun one in part."""
        return self.epoch + self.step / self.steps


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run stands.

    Attributes:
        state: One of ``STATES``. A run that was killed is ``stopped``.
        seconds: Time that it took, over all attempts; None for one that is not done, whose ``progress`` says it.
        place: Where a diverged run's loss was not finite: epoch and step counted from 1, and the task's name.
        holder: Who trains it now.
        progress: How far it is; None where nothing readable says so.
        was_killed: Whether the last attempt ended without saying anything.
        fault: What is wrong with the run's files.
    """

    state: str
    seconds: float | None = None
    place: dict[str, Any] | None = None
    holder: Holder | None = None
    progress: Progress | None = None
    was_killed: bool = False
    fault: str | None = None


@dataclasses.dataclass(frozen=True)
class Extra:
    """Where the measuring or the refitting of a run stands.

    Attributes:
        done: Whether it is done.
        holder: Who is at it now.
    """

    done: bool = False
    holder: Holder | None = None


def read_standing(folder: Path, expected: str) -> Standing:
    """Where the run in ``folder`` stands, which need not exist.

    Args:
        folder: The run's folder.
        expected: What it has to have been trained with (:func:`tasktrace.config.study.identity`).
    """
    try:
        return _standing(folder, expected)
    except OSError as error:
        return Standing(state=FAILED, fault=f"cannot be read: {error}")


def read_extra(folder: Path, record: str, lock: str) -> Extra:
    """Where something stands that is done to a finished run: its ``record`` is there, or its ``lock`` is held."""
    try:
        if (folder / record).exists():
            return Extra(done=True)
        return Extra(holder=_holder(folder / lock))
    except OSError:
        return Extra()


def last_line(folder: Path) -> str | None:
    """The last thing that an attempt at the run in ``folder`` said; None if none did."""
    try:
        with (folder / ".resume/train.log").open("rb") as log:
            log.seek(max(log.seek(0, 2) - _LONGEST_LINE, 0))
            lines = log.read().decode(errors="replace").split("\n")
    except OSError:
        return None
    said = [line for line in lines if line.strip()]
    # What a library put into its message could otherwise move the cursor.
    return "".join(letter if letter.isprintable() else " " for letter in said[-1]).strip() if said else None


def _standing(folder: Path, expected: str) -> Standing:
    recorded = _recorded(folder, expected)
    if recorded is not None and recorded.state in DONE:
        return recorded
    resume = folder / RESUME
    names = _names(resume)
    if "lock" in names:
        holder = _holder(resume / "lock")
        if holder is not None:
            return Standing(state=UNDER_WAY, holder=holder, progress=_progress(_said(resume)))
        # It may have been held, and the run finished, since the folder was looked at.
        recorded = recorded or _recorded(folder, expected)
        if recorded is not None and recorded.state in DONE:
            return recorded
    return _interrupted(resume, names) or recorded or _kept(resume, names, expected) or Standing(state=WAITING)


def _recorded(folder: Path, expected: str) -> Standing | None:
    """What ``run.json`` says; None if there is none."""
    content = _content(folder / "run.json")
    if content is None:
        return None
    try:
        return _outcome(json.loads(content), expected) or _damaged(folder)
    except (ValueError, KeyError, TypeError, AttributeError):
        return _damaged(folder)


def _kept(resume: Path, names: set[str], expected: str) -> Standing | None:
    """A finished run whose declared files Snakemake took away, as it does with a job's when one of its runs fails.

    They are put back in a second, so it is as good as done; None if it is not kept, or would be trained again.
    """
    content = _content(resume / "finished.json") if "finished.json" in names else None
    try:
        standing = None if content is None else _outcome(json.loads(content)["record"], expected)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return standing if standing is not None and standing.state in DONE else None


def _outcome(record: dict[str, Any], expected: str) -> Standing | None:
    """What a finished run's record says; None if it says no outcome that there is."""
    outcome, seconds = record["outcome"], math.fsum(record["seconds"].values())
    state = outcome["status"]
    if state not in DONE:
        return None
    if identity(record["spec"]) != expected:
        return Standing(state=OUTDATED, seconds=seconds)
    place = {name: outcome.get(name) for name in ("epoch", "step", "task")} if state == DIVERGED else None
    return Standing(state=state, seconds=seconds, place=place)


def _damaged(folder: Path) -> Standing:
    return Standing(state=FAILED, fault=f"{folder / 'run.json'}: damaged; delete it and train the run again")


def _interrupted(resume: Path, names: set[str]) -> Standing | None:
    """An attempt that ended before the run did; None if there was none."""
    said = _said(resume) if "progress.json" in names else {}
    state = said.get("state")
    # Whoever begins anew takes finished.json away first, unless it fails before.
    if state != FAILED and ("finished.json" in names or not _has_begun(names)):
        return None
    progress = _progress(said)
    if state == FAILED:
        return Standing(state=FAILED, progress=progress)
    return Standing(state=STOPPED, progress=progress, was_killed=state != STOPPED)


def _has_begun(names: set[str]) -> bool:
    return bool(names & {"lock", "progress.json"}) or any(name.endswith(".state") for name in names)


def _said(resume: Path) -> dict[str, Any]:
    """What the trainer last said of its progress; nothing where that is not to be read."""
    try:
        said = json.loads(_content(resume / "progress.json") or b"{}")
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _progress(said: dict[str, Any]) -> Progress | None:
    """The numbers in what was said; None if one is missing or cannot be."""
    try:
        progress = Progress(**{field.name: said[field.name] for field in dataclasses.fields(Progress)})
    except KeyError:
        return None
    counts = (progress.epoch, progress.epochs, progress.step, progress.steps, progress.attempt)
    if not all(type(count) is int and count >= 0 for count in counts):
        return None
    if not all(type(value) in (int, float) and 0 <= value < math.inf for value in (progress.seconds, progress.time)):
        return None
    is_place = progress.epoch <= progress.epochs and progress.step <= progress.steps and progress.steps > 0
    return progress if is_place else None


def _holder(lock: Path) -> Holder | None:
    """Who holds a lock; None if nobody does, or there is none."""
    try:
        file = lock.open(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            process, _, host = file.readline().strip().partition(" on ")
            since = os.fstat(file.fileno()).st_mtime  # its holder wrote it when it began
            return Holder(int(process) if process.isdecimal() else None, host or None, since)
    return None


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
