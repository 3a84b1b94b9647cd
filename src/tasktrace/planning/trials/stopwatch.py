"""How long something takes on a device."""

import statistics
import time
from collections.abc import Callable

import torch

ENOUGH = 1.0
"""Seconds after which the typical time of something is known well enough."""

SOON = 0.2
"""The same of what takes a small part of the whole."""

TOO_LONG = 10.0
"""Seconds after which it is not repeated, and of which parts are tried that take longer."""

_FEWEST = 3

_GROUP = 0.1
"""Seconds of a group of calls."""


class Stopwatch:
    """Times work on a device, whose queue is empty before and after.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def seconds(self, work: Callable[[], object]) -> float:
        """What one call takes."""
        self._wait()
        start = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - start

    def typical(self, work: Callable[[], object], enough: float = ENOUGH) -> float:
        """What one call takes on average: the median over groups of calls.

        The groups are long enough for what else the machine does to fall evenly on them. There are as many as take so
        many seconds, three at least, but none begins after ten seconds.
        """
        once = self.seconds(work)
        if once > TOO_LONG:
            return once
        calls = max(1, int(_GROUP / once))
        spent: list[float] = []
        while not spent or (sum(spent) < TOO_LONG and (len(spent) < _FEWEST or sum(spent) < enough)):
            spent.append(self.seconds(lambda: [work() for _ in range(calls)]))
        return statistics.median(spent) / calls

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
