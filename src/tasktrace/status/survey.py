"""The runs of a study, each with where it stands."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tasktrace.config import Run, Study
from tasktrace.config.arms import SELECTED, Arm
from tasktrace.config.study import identity
from tasktrace.places import RUNS
from tasktrace.status.runs import DONE, Extra, Standing, read_extra, read_standing

_READERS = 32
"""Folders that are looked at together: where a network file system holds them, looking is waiting."""

_SHARE = 64
"""Runs that one reader takes at a time: to hand a run over takes longer than to read it from a disk."""


@dataclass(frozen=True)
class Planned:
    """A run of the study, and what it is to become.

    Attributes:
        run: The run.
        identity: What it has to be trained with.
        epochs: How long it trains.
        is_watched: Whether gradients of single samples are compared meanwhile, which takes long.
        is_measured: Whether it is measured when it has finished.
        is_refitted: Whether its heads are refitted when it has finished.
    """

    run: Run
    identity: str
    epochs: int
    is_watched: bool
    is_measured: bool
    is_refitted: bool


@dataclass(frozen=True)
class Surveyed:
    """A planned run and where it stands.

    Attributes:
        planned: The run.
        standing: Of its training.
        measuring: Of its measuring; None if it is not to be measured.
        refitting: Of its refitting; None if it is not to be refitted.
    """

    planned: Planned
    standing: Standing
    measuring: Extra | None
    refitting: Extra | None

    @property
    def run(self) -> Run:
        """The run."""
        return self.planned.run

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to train."""
        return self.standing.state in DONE


def survey(study: Study, settings: Sequence[str]) -> list[Surveyed]:
    """All runs of some settings of the study, with where they stand, in the study's order."""
    planned = [own for setting in settings for own in plan(study, setting)]
    shares = [planned[start : start + _SHARE] for start in range(0, len(planned), _SHARE)]
    with ThreadPoolExecutor(_READERS) as readers:
        found = readers.map(lambda share: [_look(study, own) for own in share], shares)
        return [own for share in found for own in share]


def plan(study: Study, setting: str) -> list[Planned]:
    """The runs of a setting, in the study's order."""
    measured, refitted, watched = (
        {run.path for run in runs}
        for runs in (
            study.selected_runs_of(setting),
            study.refitted_runs_of(setting),
            study.watched_runs_of(setting),
        )
    )
    # An identity leaves the point out, and takes longer than all else here.
    known: dict[tuple[Arm, bool, int], tuple[str, int]] = {}
    planned = []
    for path, run in study.runs.items():
        if run.arm.setting != setting:
            continue
        key = (run.arm, run.point == SELECTED, run.seed)
        if key not in known:
            spec = study.run_spec(run)
            known[key] = (identity(spec), spec["epochs"])
        planned.append(Planned(run, *known[key], path in watched, path in measured, path in refitted))
    return planned


def _look(study: Study, planned: Planned) -> Surveyed:
    folder = study.root / RUNS / planned.run.path
    standing = read_standing(folder, planned.identity)

    def extra(record: str, lock: str) -> Extra:
        return read_extra(folder, record, lock) if standing.state in DONE else Extra()

    return Surveyed(
        planned,
        standing,
        extra("factors.json", ".measure/lock") if planned.is_measured else None,
        extra("corrupted.json", ".refit/lock") if planned.is_refitted else None,
    )
