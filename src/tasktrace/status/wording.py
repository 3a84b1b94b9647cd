"""Where runs stand and how long they will take, in words."""

from tasktrace.status.remaining import Remaining
from tasktrace.status.runs import DIVERGED, FAILED, FINISHED, OUTDATED, STOPPED, UNDER_WAY, WAITING
from tasktrace.status.tally import Tally

NAMES = {
    FINISHED: "finished",
    DIVERGED: "diverged",
    UNDER_WAY: "under way",
    FAILED: "failed",
    STOPPED: "stopped",
    OUTDATED: "outdated",
    WAITING: "waiting",
}
"""What a state is called."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """A duration in its two largest units, e.g. ``3 h 20 min``."""
    if round(seconds) < _MINUTE:
        return f"{seconds:.0f} s"
    if round(seconds / _MINUTE) < _HOUR // _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    if round(seconds / _MINUTE) < _DAY // _MINUTE:
        return _units(round(seconds / _MINUTE), 60, "h", "min")
    return _units(round(seconds / _HOUR), 24, "d", "h")


def summary(tally: Tally) -> str:
    """One line on how many runs are done, what the others are at, and how long they will take."""
    diverged = f" ({tally.states[DIVERGED]} of them diverged)" if tally.states[DIVERGED] else ""
    counted = [
        f"{tally.states[state]} {NAMES[state]}"
        for state in (UNDER_WAY, FAILED, STOPPED, OUTDATED, WAITING)
        if tally.states[state]
    ]
    runs = ", ".join([f"{tally.done} of {tally.runs} runs done{diverged}", *counted])
    return runs if tally.done == tally.runs else f"{runs}; {_time_left(tally.left)}"


def short_time_left(left: Remaining) -> str:
    """The time left in a cell of a table."""
    if not left.unknown:
        return duration(left.wall)
    return f"over {duration(left.wall)}" if left.seconds else "unknown"


def _time_left(left: Remaining) -> str:
    if left.unknown and not left.seconds:
        return "time left unknown until a run has trained for an epoch"
    at_a_time = f"with {left.at_a_time} runs at a time ({duration(left.seconds)} in all)"
    how = f"{duration(left.wall)} left {at_a_time if left.at_a_time > 1 else 'with one run at a time'}"
    return f"at least {how}, unknown for {_runs(left.unknown)}" if left.unknown else f"about {how}"


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _units(count: int, size: int, large: str, small: str) -> str:
    whole, rest = divmod(count, size)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
