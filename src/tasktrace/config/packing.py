"""Which runs one job works through: up to so many runs of one arm, in one process.

A run of seconds costs its process more than itself: the import of torch, and on a cluster the scheduler's part. Runs of
an arm are what is packed because what comes next needs all of them anyway: the choice of the arm's point its whole
sweep, the tables all of its seeds.
"""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Callable

from tasktrace.config.arms import Arm, Run


@dataclasses.dataclass(frozen=True)
class Pack:
    """A place of one rule in the job graph.

    Attributes:
        places: The runs' places below their arm, ``<point>/seed<n>``.
        arms: Paths of the arms that have runs to be packed so.
    """

    places: tuple[str, ...]
    arms: tuple[str, ...]

    @property
    def name(self) -> str:
        """What tells the pack from the arm's others, in the path of its log."""
        if len(self.places) == 1:
            return self.places[0]
        first, last = (place.replace("/", "_") for place in (self.places[0], self.places[-1]))
        return f"{first}_to_{last}"


def packs(arms: list[Arm], runs_of: Callable[[Arm], list[Run]], runs_per_job: Callable[[str], int]) -> list[Pack]:
    """The packs of a stage, the first of which stands for any run of an arm that is not packed.

    Args:
        arms: All arms.
        runs_of: An arm's runs of the stage.
        runs_per_job: By setting, how many runs one job may work through.
    """
    single = []
    packed: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for arm in arms:
        # An auxiliary set has no sweep of its own: it takes the point that its target's sweep chose.
        runs = [run for run in runs_of(arm) if run.arm == arm]
        if len(runs) < 2 or runs_per_job(arm.setting) == 1:
            single.append(arm.path)
            continue
        for part in evenly(runs, runs_per_job(arm.setting)):
            packed[tuple(f"{run.point}/seed{run.seed}" for run in part)].append(arm.path)
    any_run = Pack(("{point}/seed{seed}",), tuple(single))
    return [any_run, *(Pack(places, tuple(paths)) for places, paths in packed.items())]


def evenly(runs: list[Run], most: int) -> list[list[Run]]:
    """The runs in their order, in as few parts of at most so many as serve, whose lengths differ by at most one."""
    parts = math.ceil(len(runs) / most)
    ends = [len(runs) * part // parts for part in range(parts + 1)]
    return [runs[start:end] for start, end in itertools.pairwise(ends)]
