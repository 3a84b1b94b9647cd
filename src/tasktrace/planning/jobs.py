"""What a study's jobs are: what each of them makes, and whether that is there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasktrace.config import Run
from tasktrace.config.packing import Pack, evenly
from tasktrace.planning.shapes import Shape

PREPARE, SWEEP, GRID, SELECTED = "prepare", "sweep", "grid", "selected"
MEASURE, CORRUPT, REFIT, STUDIES, ANALYSIS = "measure", "corrupt", "refit", "studies", "analysis"

STAGES = (PREPARE, SWEEP, GRID, SELECTED, MEASURE, CORRUPT, REFIT, STUDIES, ANALYSIS)
"""In the order in which a setting goes through them."""

TRAINING = (SWEEP, GRID, SELECTED)

ON_DEVICE = (*TRAINING, MEASURE, REFIT)
"""The stages that use a GPU where there is one; the others use a core."""

Spec = dict[str, Any]


@dataclass(frozen=True)
class Item:
    """What a job makes of one run; or all that a job makes that is not about runs.

    Attributes:
        is_done: Whether it is there, and was made as the study asks for.
        shapes: What its time depends on; several where a run's point is not chosen yet, of which each may come.
        counts: How often it does what the shapes' rates are about.
        run: The run.
        spec: The run's spec; a selected run that is not done has no point.
        record: What its ``run.json``, ``factors.json`` or ``corrupted.json`` says; None if it is not done.
        other_bytes: About how large its files are without checkpoints; None if that is unknown.
        checkpoints: How many checkpoints it keeps.
        checkpoint_key: Identifies what the size of one depends on.
    """

    is_done: bool
    shapes: tuple[Shape, ...]
    counts: Mapping[str, float] = field(default_factory=lambda: {"job": 1})
    run: Run | None = None
    spec: Spec | None = None
    record: Spec | None = None
    other_bytes: int | None = 0
    checkpoints: int = 0
    checkpoint_key: str = ""


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes:
        setting: Its setting, or the name of a small study.
        stage: One of ``STAGES``.
        rule: Its rule's name, without what tells packs apart.
        benchmark: Where Snakemake keeps how long it took, below ``results/benchmarks``.
        items: What it makes.
    """

    setting: str
    stage: str
    rule: str
    benchmark: Path
    items: tuple[Item, ...]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of it."""
        return all(item.is_done for item in self.items)

    @property
    def runs(self) -> list[Item]:
        """What it makes of runs."""
        return [item for item in self.items if item.run is not None]


def jobs_of(runs: list[Run], runs_per_job: int) -> list[list[Run]]:
    """An arm's runs of a stage as jobs work through them.

    Args:
        runs: The runs, in the study's order.
        runs_per_job: The most runs that one job works through.
    """
    return evenly(runs, runs_per_job) if runs else []


def pack_name(runs: list[Run]) -> str:
    """What tells the job on some runs of an arm from the arm's others, in the path of its benchmark."""
    return Pack(tuple(f"{run.point}/seed{run.seed}" for run in runs), ()).name
