"""One process at a time in a run's folder, or with files that two would spoil."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

from tasktrace.errors import BusyError

_PATIENCE = 1.0
"""Seconds; whoever looks on whether a lock is held holds it for an instant."""


def exclusive(path: Path, doing: str) -> AbstractContextManager[None]:
    """Hold a run's lock for as long as the process lives.

    Args:
        path: The lock, two levels below the run's folder.
        doing: What its holder does with the run, for the message.

    Raises:
        BusyError: Another process holds it.
    """
    return held(path, str(path.parent.parent), f"{doing} this run")


@contextmanager
def held(path: Path, place: str, doing: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold a lock for as long as the process lives.

    Args:
        path: The lock.
        place: What it keeps from others, for the message.
        doing: What its holder does, for the message.
        patience: Seconds to wait for another process.

    Raises:
        BusyError: Another process holds it for longer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        if not _taken(lock, patience):
            lock.seek(0)
            raise BusyError(
                f"{place}: process {lock.read().strip() or 'unknown'} is {doing}; wait for it, or end it and try again"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield


def _taken(lock: IO[str], patience: float) -> bool:
    """Whether the lock could be had."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        else:
            return True
