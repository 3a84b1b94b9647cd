"""How long the training that is left will take, from what the study's other runs took."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tasktrace.status.runs import FINISHED
from tasktrace.status.survey import Surveyed


@dataclass(frozen=True)
class Remaining:
    """Training that is left.

    Attributes:
        seconds: What the runs take one after the other, of those for which that is known.
        longest: What the longest of them takes.
        unknown: How many runs like none that has trained an epoch.
        at_a_time: How many runs train at a time.
    """

    seconds: float
    longest: float
    unknown: int
    at_a_time: int

    @property
    def wall(self) -> float:
        """Seconds until the last of the known runs is done, if as many go on at a time."""
        return max(self.seconds / self.at_a_time, self.longest)


class Pace:
    """Seconds per epoch of the runs that have trained, by what is alike in how long runs take.

    A run takes as long per epoch as those of the same setting, group and method, else as those of the setting with as
    many tasks, else as the setting's. Runs that are not done count with the epochs that they have.

    Args:
        surveyed: The runs.
    """

    def __init__(self, surveyed: Sequence[Surveyed]) -> None:
        self._seconds: dict[tuple[object, ...], float] = defaultdict(float)
        self._epochs: dict[tuple[object, ...], float] = defaultdict(float)
        for own in surveyed:
            seconds, epochs = _trained(own)
            for kind in _kinds(own):
                self._seconds[kind] += seconds
                self._epochs[kind] += epochs

    def seconds_left(self, surveyed: Surveyed) -> float | None:
        """What a run will still take; None if nothing like it has trained an epoch."""
        if surveyed.is_done:
            return 0.0
        progress = surveyed.standing.progress
        epochs = max(surveyed.planned.epochs - (progress.trained if progress else 0.0), 0.0)
        for kind in _kinds(surveyed):
            if self._epochs.get(kind):
                return epochs * self._seconds[kind] / self._epochs[kind]
        return None


def add_up(left: Sequence[float | None], at_a_time: int) -> Remaining:
    """What runs with so many seconds left, None for unknown, come to."""
    known = [seconds for seconds in left if seconds is not None]
    return Remaining(sum(known), max(known, default=0.0), len(left) - len(known), at_a_time)


def _kinds(surveyed: Surveyed) -> list[tuple[object, ...]]:
    """What tells how long a run takes, the closest first."""
    arm = surveyed.run.arm
    return [
        (arm.setting, arm.group, arm.method, surveyed.planned.is_watched),
        (arm.setting, len(arm.tasks)),
        (arm.setting,),
    ]


def _trained(surveyed: Surveyed) -> tuple[float, float]:
    """Seconds and epochs by which a run tells how long others take; zeros if it does not.

    One that diverged does not say how far it came, and one in its first epoch has spent much on getting ready.
    """
    standing = surveyed.standing
    if standing.state == FINISHED and standing.seconds is not None:
        return standing.seconds, surveyed.planned.epochs
    if standing.progress is not None and standing.progress.epoch:
        return standing.progress.seconds, standing.progress.trained
    return 0.0, 0.0
