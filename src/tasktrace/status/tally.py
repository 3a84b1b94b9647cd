"""Runs counted by where they stand: of the study, of a setting, or of a row of its table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tasktrace.config import Run
from tasktrace.status.remaining import Pace, Remaining, add_up
from tasktrace.status.runs import DONE, UNDER_WAY, Extra
from tasktrace.status.survey import Surveyed

BY = ("method", "seed", "group", "optimizer")
"""What the rows of a setting's table may be."""

ALONE = "alone"
"""Stands for the method of tasks that are trained alone."""


@dataclass(frozen=True)
class Share:
    """How many runs something has been done to.

    Attributes:
        done: To so many.
        under_way: To so many it is being done.
        runs: Of so many to which it is to be done.
    """

    done: int
    under_way: int
    runs: int


@dataclass(frozen=True)
class Tally:
    """Runs counted.

    Attributes:
        runs: How many there are.
        states: How many are in each state.
        measured: How many have been measured.
        refitted: Of how many the heads have been refitted.
        left: The training that is left.
    """

    runs: int
    states: Counter[str]
    measured: Share
    refitted: Share
    left: Remaining

    @property
    def done(self) -> int:
        """Runs with nothing left to train."""
        return sum(self.states[state] for state in DONE)


class Counting:
    """Counts any of the surveyed runs; all of them tell how long a run takes, and how many train at a time.

    Args:
        surveyed: All of them.
    """

    def __init__(self, surveyed: Sequence[Surveyed]) -> None:
        self._pace = Pace(surveyed)
        self._at_a_time = max(sum(own.standing.state == UNDER_WAY for own in surveyed), 1)

    def seconds_left(self, surveyed: Surveyed) -> float | None:
        """What a run will still take; None if that is unknown."""
        return self._pace.seconds_left(surveyed)

    def count(self, surveyed: Sequence[Surveyed]) -> Tally:
        """The runs counted."""
        return Tally(
            len(surveyed),
            Counter(own.standing.state for own in surveyed),
            _share([own.measuring for own in surveyed]),
            _share([own.refitting for own in surveyed]),
            add_up([self.seconds_left(own) for own in surveyed], self._at_a_time),
        )


def by_setting(surveyed: Sequence[Surveyed]) -> dict[str, list[Surveyed]]:
    """The runs of every setting, in their order."""
    settings: dict[str, list[Surveyed]] = {}
    for own in surveyed:
        settings.setdefault(own.run.arm.setting, []).append(own)
    return settings


def rows(surveyed: Sequence[Surveyed], by: str) -> dict[str, list[Surveyed]]:
    """The runs of one setting by their method, seed, group or optimizer; tasks alone come first, seeds in order."""
    labelled: dict[str | int, list[Surveyed]] = {}
    for own in surveyed:
        labelled.setdefault(_label(own.run, by), []).append(own)
    first = sorted(labelled, key=lambda label: label if isinstance(label, int) else label != ALONE)
    return {str(label): labelled[label] for label in first}


def _label(run: Run, by: str) -> str | int:
    if by == "seed":
        return run.seed
    label: str | None = getattr(run.arm, by)
    return label or ALONE


def _share(extras: Sequence[Extra | None]) -> Share:
    wanted = [extra for extra in extras if extra is not None]
    return Share(sum(extra.done for extra in wanted), sum(extra.holder is not None for extra in wanted), len(wanted))
