"""What a study takes: jobs, time, memory and disk, by setting and stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tasktrace.config import Study
from tasktrace.planning import schedule
from tasktrace.planning.amounts import Amount, Cost, amount, by_stage
from tasktrace.planning.analysis_jobs import jobs_of_no_setting
from tasktrace.planning.calibration import Calibration, calibrate, kept_trials, tried_devices
from tasktrace.planning.costing import Costing
from tasktrace.planning.device import Device, planned_device
from tasktrace.planning.jobs import STAGES, Job
from tasktrace.planning.timings import Timings, recorded
from tasktrace.planning.workload import jobs_of_setting

NO_SETTING = "small studies, claims"
"""Stands for them among the settings."""


@dataclass(frozen=True)
class Asked:
    """What a plan is asked for.

    Attributes:
        settings: The settings; if there are none, all that ``snakemake all`` covers, the small studies included.
        device: ``auto``, ``cpu``, ``cuda``, or a GPU's name.
        threads: Threads of a job on a CPU.
        at_once: Jobs that run at the same time, each on a device of its own.
        calibrate: Whether to try, on the device here, what no finished run tells.
        fresh: Whether to try it again where it was tried before.
    """

    settings: Sequence[str] = ()
    device: str = "auto"
    threads: int = 1
    at_once: int = 1
    calibrate: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Part:
    """A stage of a setting, a setting, or the study.

    Attributes:
        name: What it is called.
        all: What all of it takes.
        left: What is not done yet takes.
        parts: What it consists of.
    """

    name: str
    all: Amount
    left: Amount
    parts: tuple["Part", ...] = ()

    def to_json(self, kind: str) -> dict[str, Any]:
        """Its name as that of its ``kind``, and what it takes."""
        return {kind: self.name, "all": self.all.to_json(), "left": self.left.to_json()}


@dataclass(frozen=True)
class Plan:
    """What a study takes on a kind of device.

    Attributes:
        device: The device.
        at_once: Jobs that run at the same time.
        total: The study, its settings, and their stages.
        found: What finished runs told.
        calibration: What trials told.
        lacks_starts: Whether the start of processes is not known, and so in no time.
    """

    device: Device
    at_once: int
    total: Part
    found: Timings
    calibration: Calibration
    lacks_starts: bool

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values.

        Returns:
            ``device`` (``name``, ``threads``, and ``at_once``, the jobs at the same time); ``settings``, each with its
            name as ``setting``, its ``all``, its ``left`` and its ``stages``, which have their names as ``stage`` and
            the same; ``total`` with ``all`` and ``left``; ``sources``: ``runs`` and ``trials`` that times are from,
            ``processors`` of the runs, and the ``share`` of a processor that the trial with the least of it had;
            ``failed``: by what was tried why it cannot be done; ``not_prepared``: settings of which nothing can be
            tried; ``lacks_starts``: whether times leave out the start of processes. ``all`` and ``left`` are as
            :meth:`tasktrace.planning.amounts.Amount.to_json` gives them.
        """
        return {
            "device": {"name": self.device.name, "threads": self.device.threads, "at_once": self.at_once},
            "settings": [
                {**own.to_json("setting"), "stages": [stage.to_json("stage") for stage in own.parts]}
                for own in self.total.parts
            ],
            "total": {"all": self.total.all.to_json(), "left": self.total.left.to_json()},
            "sources": {
                "runs": self.found.runs,
                "trials": self.calibration.tried,
                "processors": self.found.processors,
                "share": self.calibration.share,
            },
            "failed": self.calibration.failed,
            "not_prepared": self.calibration.not_prepared,
            "lacks_starts": self.lacks_starts,
        }


def make_plan(study: Study, asked: Asked) -> Plan:
    """Plan a study.

    Without trials nothing is written, and nothing is computed but the sizes of models.

    Args:
        study: The study.
        asked: What is asked for.

    Raises:
        ConfigError: An unknown setting or device.
        TasktraceError: Data is damaged, or trials failed.
    """
    names = asked.settings or study.config["settings"] or study.settings
    jobs = {name: jobs_of_setting(study, name) for name in names}
    if not asked.settings:
        jobs[NO_SETTING] = jobs_of_no_setting(study)
    every = [job for own in jobs.values() for job in own]
    known = [] if asked.calibrate else [*_devices(every), *tried_devices(study.root)]
    device = planned_device(asked.device, asked.threads, known)
    found = recorded(every, device, study.root)
    if asked.calibrate:
        calibration = calibrate(study, every, device, found, asked.fresh)
    else:
        calibration = kept_trials(study, every, device)
    costing = Costing(device, found, calibration.timings)
    total = _total({name: own for name, own in jobs.items() if own}, costing, asked.at_once)
    return Plan(device, asked.at_once, total, found, calibration, costing.lacks_starts)


def _total(jobs: dict[str, list[Job]], costing: Costing, at_once: int) -> Part:
    """The study, from its settings' jobs."""
    costs = {name: [costing.whole(job) for job in own] for name, own in jobs.items()}
    left = {name: [costing.left(job) for job in own if not job.is_done] for name, own in jobs.items()}

    def wall(of: dict[str, list[Cost]]) -> float:
        return schedule.study_seconds([by_stage(own) for own in of.values()], at_once)

    parts = tuple(_setting(name, costs[name], left[name], at_once) for name in jobs)
    every, every_left = ([own for costs_of in of.values() for own in costs_of] for of in (costs, left))
    return Part("total", amount(every, wall(costs)), amount(every_left, wall(left)), parts)


def _setting(name: str, costs: list[Cost], left: list[Cost], at_once: int) -> Part:
    def part(name: str, belongs: Callable[[Cost], bool]) -> Part:
        shares = [[own for own in of if belongs(own)] for of in (costs, left)]
        whole, rest = (amount(own, schedule.setting_seconds(by_stage(own), at_once)) for own in shares)
        return Part(name, whole, rest)

    present = {own.job.stage for own in costs}
    stages = [stage for stage in STAGES if stage in present]
    whole = part(name, lambda _: True)
    parts = tuple(part(stage, lambda own, stage=stage: own.job.stage == stage) for stage in stages)  # type: ignore[misc]
    return Part(name, whole.all, whole.left, parts)


def _devices(jobs: Sequence[Job]) -> list[str]:
    return [item.record["device"] for job in jobs for item in job.items if item.record is not None]
