"""What there is to say of a run that a person may look after."""

from datetime import datetime
from pathlib import Path

from tasktrace.status.runs import DIVERGED, Holder, Progress, last_line
from tasktrace.status.survey import Surveyed
from tasktrace.status.wording import duration

_LONG_SILENT = 900.0
"""Seconds after which a run has been silent for long: three times as long as it ever is while it trains."""


def at_work(surveyed: Surveyed, now: float) -> list[str]:
    """What every process that works on a run is at.

    Args:
        surveyed: The run.
        now: Seconds of Unix time.
    """
    standing = surveyed.standing
    works = []
    if standing.holder is not None:
        works.append((_training(standing.progress, now, standing.holder), standing.holder))
    for what, extra in (("being measured", surveyed.measuring), ("being refitted", surveyed.refitting)):
        if extra is not None and extra.holder is not None:
            works.append((what, extra.holder))
    return [f"{what}, {_who(holder)}" for what, holder in works]


def ended(surveyed: Surveyed, folder: Path) -> str:
    """How a run that diverged, failed or stopped came to that, or the last attempt at it.

    Args:
        surveyed: The run.
        folder: ``results/runs``.
    """
    standing = surveyed.standing
    if standing.state == DIVERGED:
        place = standing.place or {}
        return f"epoch {place.get('epoch')}, step {place.get('step')}, {place.get('task')}"
    message = said(surveyed, folder) or "there is no log"
    if standing.progress is None or standing.fault is not None:
        return message
    after = f"after {standing.progress.epoch}/{standing.progress.epochs} epochs"
    return f"killed {after}, having said: {message}" if standing.was_killed else f"{after}: {message}"


def said(surveyed: Surveyed, folder: Path) -> str | None:
    """The last thing that was said of a run, or what is wrong with its files."""
    return surveyed.standing.fault or last_line(folder / surveyed.run.path)


def _training(progress: Progress | None, now: float, holder: Holder) -> str:
    if progress is None:
        return "beginning"
    parts = [f"{progress.epoch}/{progress.epochs} epochs"]
    if progress.trained and progress.seconds:
        parts.append(f"{60 * progress.trained / progress.seconds:.3g} epochs/min")
    # An attempt that has only begun leaves what the one before it said as it is.
    silent = now - max(progress.time, holder.since)
    if silent > _LONG_SILENT:
        parts.append(f"silent for {duration(silent)}")
    return ", ".join(parts)


def _who(holder: Holder) -> str:
    since = datetime.fromtimestamp(holder.since).astimezone()
    where = "" if holder.host is None else f" on {holder.host}"
    process = "" if holder.process is None else f" (process {holder.process})"
    return f"since {since:%Y-%m-%d %H:%M %Z}{where}{process}"
