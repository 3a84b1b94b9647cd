"""Numbers of which some may be unknown, added up."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

from tasktrace.planning.jobs import ON_DEVICE, STAGES, Job


@dataclasses.dataclass(frozen=True)
class Total:
    """A sum of numbers, or the largest of them, of which some may be unknown.

    Attributes:
        known: Of those that are known.
        unknown: How many are not.
    """

    known: float
    unknown: int = 0

    @classmethod
    def sum(cls, values: Iterable[float | None]) -> "Total":
        """The sum."""
        found = list(values)
        return cls(math.fsum(value for value in found if value is not None), found.count(None))

    @classmethod
    def largest(cls, values: Iterable[float | None]) -> "Total":
        """The largest; 0 of none."""
        found = list(values)
        return cls(max((value for value in found if value is not None), default=0.0), found.count(None))


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one job takes, as a whole or what is left of it; None where a number is unknown.

    Attributes:
        job: The job.
        runs: How many runs it trains, measures or refits.
        seconds: Time, the start of its process included where that is known.
        checkpoint_bytes: Size of the checkpoints that it keeps.
        other_bytes: Size of its other files.
        main_mb: Peak of main memory, MB of 10^6 bytes.
        device_mb: Peak of a GPU's memory.
    """

    job: Job
    runs: int
    seconds: float | None
    checkpoint_bytes: float | None
    other_bytes: float | None
    main_mb: float | None
    device_mb: float | None


@dataclasses.dataclass(frozen=True)
class Amount:
    """What some jobs take: those of a setting's stage, of a setting, or of a study.

    Attributes:
        jobs: How many there are.
        runs: How many runs they train, measure or refit.
        device_seconds: Time on devices.
        core_seconds: Time of jobs that use no GPU, whatever there is.
        wall_seconds: From the first job's start to the last one's end.
        checkpoint_bytes: Size of the checkpoints.
        other_bytes: Size of data, results and figures.
        main_mb: Peak of one job's main memory, MB of 10^6 bytes.
        device_mb: Peak of one job's memory on a GPU.
    """

    jobs: int
    runs: int
    device_seconds: Total
    core_seconds: Total
    wall_seconds: Total
    checkpoint_bytes: Total
    other_bytes: Total
    main_mb: Total
    device_mb: Total

    def to_json(self) -> dict[str, Any]:
        """Every number by its name; of a total the known part, or null if nothing of it is known, and ``unknown``.

        ``unknown`` says, by the totals' names, of how many jobs they leave something out.
        """
        totals = {
            field.name: value
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), Total)
        }
        return {
            "jobs": self.jobs,
            "runs": self.runs,
            **{name: _rounded(total, 0 if name.endswith("bytes") else 3) for name, total in totals.items()},
            "unknown": {name: total.unknown for name, total in totals.items() if total.unknown},
        }


def amount(costs: Sequence[Cost], wall: float) -> Amount:
    """What jobs take.

    Args:
        costs: What each of them takes.
        wall: Seconds of wall time, of those whose time is known.
    """
    on_device = [own for own in costs if own.job.stage in ON_DEVICE]
    others = [own for own in costs if own.job.stage not in ON_DEVICE]
    return Amount(
        len(costs),
        sum(own.runs for own in costs),
        Total.sum(own.seconds for own in on_device),
        Total.sum(own.seconds for own in others),
        Total(wall, [own.seconds for own in costs].count(None)),
        Total.sum(own.checkpoint_bytes for own in costs),
        Total.sum(own.other_bytes for own in costs),
        Total.largest(own.main_mb for own in costs),
        Total.largest(own.device_mb for own in on_device),
    )


def by_stage(costs: Sequence[Cost]) -> list[list[float]]:
    """The known seconds of jobs, by stage."""
    return [[own.seconds for own in costs if own.job.stage == stage and own.seconds is not None] for stage in STAGES]


def _rounded(total: Total, digits: int) -> float | None:
    if total.unknown and not total.known:
        return None
    return round(total.known, digits) if digits else round(total.known)
