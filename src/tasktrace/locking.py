"""One process at a time in a run's folder."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasktrace.errors import BusyError


@contextmanager
def exclusive(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock for as long as the process lives.

    Args:
        path: The lock, two levels below the run's folder.
        doing: What its holder does with the run, for the message.

    Raises:
        BusyError: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise BusyError(
                f"{path.parent.parent}: process {lock.read().strip() or 'unknown'} is {doing} this run; "
                "wait for it, or end it and try again"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {os.uname().nodename}")
        lock.flush()
        yield
