"""What the benchmarks share: contenders that take turns, and tables of ratios.

Contenders take turns, and a ratio is that of two neighbours in time, so that other work on the machine falls on both.
Seconds are of CPU time for work in this process, which has one thread, and of wall-clock time on a GPU and for whole
processes, whose waiting counts too.
"""

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

Seconds = dict[str, list[float]]
"""Seconds of every repeat, by contender."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        section: What it belongs to.
        what: What is compared with what.
        ratios: One for every repeat.
        seconds: Those of the numerator, one for every repeat; empty where no time is measured.
        bound: What the ratio should not exceed, where something is promised.
    """

    section: str
    what: str
    ratios: list[float]
    seconds: list[float]
    bound: float | None = None


def take_turns(
    contenders: Mapping[str, Callable[[], Any]],
    device: torch.device,
    repeats: int,
    *,
    waits: bool = False,
    least: float = 0.0,
    limit: float = math.inf,
) -> Seconds:
    """Seconds of every contender, which take turns; a first round warms up and is not counted.

    Args:
        contenders: The work of a turn, by name.
        device: Where the work is done.
        repeats: Turns of every contender.
        waits: Whether waiting is part of the cost, on a CPU too.
        least: Seconds that a turn takes at least, by doing the work several times; the seconds are those of one time.
        limit: Seconds of all turns together after which no new round begins, once there are two.
    """
    clock = time.perf_counter if waits or device.type == "cuda" else time.process_time
    times = dict.fromkeys(contenders, 1)
    seconds: Seconds = {name: [] for name in contenders}
    spent = 0.0
    for number in range(repeats + 1):
        if number > 2 and spent > limit:
            break
        for name, work in contenders.items():
            _finish(device)
            start = clock()
            for _ in range(times[name]):
                work()
            _finish(device)
            turn = clock() - start
            spent += turn
            seconds[name].append(turn / times[name])
        if number == 0:
            times = {name: max(1, math.ceil(least / first)) for name, (first,) in seconds.items()}
    return {name: values[1:] for name, values in seconds.items()}


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def usual_settings() -> Iterator[None]:
    """Torch as it comes: a hand-written loop does not pay for reproducible algorithms."""
    torch.use_deterministic_algorithms(False)
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True)
        torch.set_flush_denormal(True)


def over(seconds: Seconds, own: str, other: str) -> tuple[list[float], list[float]]:
    """The ratios of neighbouring turns, and the seconds of their numerator."""
    return [a / b for a, b in zip(seconds[own], seconds[other], strict=True)], seconds[own]


def table(lines: Sequence[Line], heading: str = "ratio") -> str:
    """The lines as text, with medians; a line above its bound has a mark.

    Args:
        lines: What to print, by section.
        heading: What the column of ratios is called.
    """
    width = max(len(line.what) for line in lines) + 2
    printed, section = [f"{'':{width}}{heading:>8}{'min - max':>18}{'bound':>8}{'seconds':>10}"], ""
    for line in lines:
        if line.section != section:
            section = line.section
            printed += ["", section]
        ratio = statistics.median(line.ratios)
        bound = "" if line.bound is None else f"{line.bound:.2f}" if line.bound >= 0.01 else f"{line.bound:.0e}"
        mark = "" if line.bound is None or ratio <= line.bound else "  above"
        spread = f"{_short(min(line.ratios))} - {_short(max(line.ratios))}"
        seconds = f"{statistics.median(line.seconds):.4g}" if line.seconds else ""
        printed.append(f"{line.what:{width}}{_short(ratio):>8}{spread:>18}{bound:>8}{seconds:>10}{mark}")
    return "\n".join(printed)


def _short(number: float) -> str:
    return f"{number:.3f}" if number == 0 or 1e-3 <= abs(number) < 1e3 else f"{number:.1e}"


def as_json(line: Line) -> dict[str, Any]:
    """A line with its medians."""
    medians = {
        "ratio": statistics.median(line.ratios),
        "median_seconds": statistics.median(line.seconds) if line.seconds else None,
    }
    return {**dataclasses.asdict(line), "what": line.what.strip(), **medians}
