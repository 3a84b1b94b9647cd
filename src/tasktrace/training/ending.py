"""When an attempt at a run has to end: a cluster gives it so many minutes, and may ask for its place earlier."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tasktrace.errors import TasktraceError

_MARGIN = 3.0
"""Minutes before the limit that an attempt ends, to save, and because it began before this process did."""

_LARGEST_SHARE = 0.1
"""Of a short limit, the most that the margin takes."""


class StoppedError(TasktraceError):
    """The attempt saved what it had and ended; the next one continues.

    Attributes:
        exit_status: EX_TEMPFAIL of sysexits.h: try again, nothing is wrong.
    """

    exit_status = 75


class Ending:
    """Asked after every step whether the attempt has to end.

    Schedulers differ in what a program is told before it is killed, and some tell it nothing, so the limit is
    known beforehand; a signal is a bonus.

    Args:
        minutes: Of wall time until the scheduler kills this process; None where nothing limits it.
    """

    def __init__(self, minutes: float | None = None) -> None:
        self._minutes = minutes
        self._end = None
        if minutes is not None:
            self._end = time.monotonic() + 60 * (minutes - min(_MARGIN, _LARGEST_SHARE * minutes))
        self._told = False

    @property
    def reason(self) -> str | None:
        """Why the attempt has to end now; None as long as it has not."""
        if self._told:
            return "told to end by SIGTERM"
        if self._end is not None and time.monotonic() > self._end:
            return f"the time limit of {self._minutes:g} min is near"
        return None

    def close(self) -> None:
        """End no run after this one.

        Raises:
            StoppedError: The attempt has to end now.
        """
        if self.reason is not None:
            raise StoppedError(f"{self.reason}; the next attempt continues")

    @contextmanager
    def listening(self) -> Iterator["Ending"]:
        """Take SIGTERM as a request to end; a second one ends the process at once."""

        def told(_number: int, _frame: FrameType | None) -> None:
            self._told = True
            signal.signal(signal.SIGTERM, before)

        before = signal.signal(signal.SIGTERM, told)
        try:
            yield self
        finally:
            signal.signal(signal.SIGTERM, before)
