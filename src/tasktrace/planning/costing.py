"""What a job takes, from what is known of how long its items take and how large they are."""

from collections.abc import Sequence

from tasktrace.planning.amounts import Cost
from tasktrace.planning.checkpoint_sizes import checkpoint_bytes
from tasktrace.planning.device import Device
from tasktrace.planning.jobs import ON_DEVICE, Item, Job
from tasktrace.planning.timings import Timings


class Costing:
    """Puts numbers to jobs.

    Args:
        device: The device that they run on.
        found: What finished runs tell; it comes first.
        tried: What trials tell.

    Attributes:
        lacks_starts: Whether a job was met the start of whose process is not known; its seconds leave that out.
    """

    def __init__(self, device: Device, found: Timings, tried: Timings) -> None:
        self._device = device
        self._timings = Timings(
            {**tried.shapes, **found.shapes},
            {**tried.starts, **found.starts},
            {**tried.checkpoints, **found.checkpoints},
        )
        self.lacks_starts = False

    def whole(self, job: Job) -> Cost:
        """What all of a job takes."""
        return self._cost(job, job.items)

    def left(self, job: Job) -> Cost:
        """What a job takes that makes what is not there yet."""
        return self._cost(job, [item for item in job.items if not item.is_done])

    def _cost(self, job: Job, items: Sequence[Item]) -> Cost:
        peaks = [self._timings.peak(item) for item in items]
        return Cost(
            job,
            sum(item.run is not None for item in items),
            _sum([*(self._timings.seconds(item) for item in items), self._start(job)]),
            _sum([self._checkpoints(item) for item in items]),
            _sum([item.other_bytes for item in items]),
            _largest([main for main, _ in peaks]),
            _largest([device for _, device in peaks]) if self._device.is_gpu else 0.0,
        )

    def _start(self, job: Job) -> float:
        """What the start of a job's process takes beside its items."""
        if job.stage not in ON_DEVICE:
            return 0.0
        start = self._timings.start(job)
        self.lacks_starts |= start is None
        return start or 0.0

    def _checkpoints(self, item: Item) -> int | None:
        if not item.checkpoints or item.spec is None:
            return 0
        known = self._timings.checkpoints
        if item.checkpoint_key not in known:
            known[item.checkpoint_key] = checkpoint_bytes(item.spec)
        return item.checkpoints * known[item.checkpoint_key]


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known, default=0.0) if len(known) == len(values) else None
