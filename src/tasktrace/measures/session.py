"""Measuring one run: checkpoint after checkpoint, locked, resumable, and finished only when it is whole."""

import importlib
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tasktrace.config.components import component_options
from tasktrace.config.options import build_options
from tasktrace.config.study import identity
from tasktrace.errors import ConfigError
from tasktrace.files import digest, discard_temporaries, file_digest, write_json
from tasktrace.locking import exclusive
from tasktrace.measures.base import GradientMeasure, Pass, SampleMeasure
from tasktrace.measures.factors import Factor, write_factors
from tasktrace.measures.journal import Journal, Measured
from tasktrace.measures.trained import TrainedRun
from tasktrace.measures.walk import walk
from tasktrace.progress import Reporter, reporter
from tasktrace.provenance import machine
from tasktrace.training.checkpoints import kept_epochs, verify
from tasktrace.training.device import configure, describe
from tasktrace.training.job import RunJob

MEASURING_VERSION = 1
"""Raised when the sample, the draws or the passes of all measures change; a measure has a version of its own."""

Spec = dict[str, Any]


@dataclass(frozen=True)
class MeasureJob(RunJob):
    """What a measuring process is asked to do; ``spec`` is ``Study.measure_spec``: ``every`` and ``measures``."""


@dataclass(frozen=True)
class Asked:
    """One measure that was asked for.

    Attributes:
        name: The name of its block in the configuration.
        parameters: Whose parameters it is about.
        measure: What measures.
        key: Identifies it and the run in the journal.
    """

    name: str
    parameters: str
    measure: SampleMeasure | GradientMeasure
    key: str


def measure(job: MeasureJob) -> dict[str, Any]:
    """Measure a finished run and return the content of its ``factors.json``.

    A job that was killed continues after the last checkpoint and measure that it had finished, and ends with the same
    ``factors.parquet``, byte for byte on the CPU. What was measured before, for whatever set of measures, is not
    measured again.

    Raises:
        BusyError: Another process measures this run.
        DataError: The run has not finished, kept no checkpoints, or the prepared data is absent or of another spec.
        DamagedFileError: Prepared data or checkpoints are absent or not what was written.
        ConfigError: A measure's options do not suit a task's data.
    """
    record = _record(job)
    epochs = _chosen(kept_epochs(record), job.spec["every"])
    with exclusive(job.folder / ".measure" / "lock", "measuring"), reporter(job.path, epochs[-1]) as report:
        journal = Journal(job.folder / ".measure" / "journal", report.note)
        session = Session(job, record, journal, report)
        if any(session.missing(epoch) for epoch in epochs):
            verify(record["checkpoints"], job.root)
        for epoch in epochs:
            session.measure(epoch)
        return session.finish(epochs)


class Session:
    """An attempt at measuring a run.

    Args:
        job: What to do.
        record: The content of the run's ``run.json``.
        journal: What has been measured so far.
        report: Told how far it is.
    """

    def __init__(self, job: MeasureJob, record: dict[str, Any], journal: Journal, report: Reporter) -> None:
        self._job, self._record, self._journal, self._report = job, record, journal, report
        self._device = configure(job.device, job.threads)
        self._run = TrainedRun(record, job.data_of(record), job.root, self._device)
        self._asked = [_asked(name, spec, record) for name, spec in job.spec["measures"].items()]
        self._seconds: dict[str, float] = defaultdict(float)

    def missing(self, epoch: int) -> list[Asked]:
        """What has not been measured yet of an epoch's checkpoint."""
        return [asked for asked in self._asked if self._journal.find(asked.key, epoch) is None]

    def measure(self, epoch: int) -> None:
        """Measure what is missing of an epoch's checkpoint."""
        missing = self.missing(epoch)
        if not missing:
            return
        self._run.load(epoch)
        walks: dict[Pass, list[Asked]] = defaultdict(list)
        for asked in missing:
            if isinstance(asked.measure, GradientMeasure):
                walks[asked.measure.walk].append(asked)
            else:
                with self._timed(asked.name):
                    self._journal.add(asked.key, epoch, self._by_task(asked.measure))
        for wanted, sharing in walks.items():
            measures = [asked.measure for asked in sharing if isinstance(asked.measure, GradientMeasure)]
            with self._timed(" and ".join(asked.name for asked in sharing)):
                for asked, measured in zip(sharing, walk(self._run, wanted, measures), strict=True):
                    self._journal.add(asked.key, epoch, measured)
        self._report.epoch(epoch, ", ".join(asked.name for asked in missing))

    def finish(self, epochs: list[int]) -> dict[str, Any]:
        """Write the declared files and return the content of ``factors.json``."""
        path = self._job.folder / "factors.parquet"
        discard_temporaries(path)
        rows = (self._rows(asked, epoch) for epoch in epochs for asked in self._asked)
        write_factors(path, [factor for own in rows for factor in own])
        content = {
            "run": self._job.path,
            "identity": identity(self._record["spec"]),
            "trajectory": self._record["trajectory"],
            "measuring": MEASURING_VERSION,
            "spec": self._job.spec,
            "sample": {task.name: self._run.describe_sample(task) for task in self._run.tasks},
            "sha256": file_digest(path),
            "seconds": {name: round(value, 3) for name, value in self._seconds.items()},
            "threads": self._job.threads,
            "device": describe(self._device),
            **machine(self._job.root),
        }
        discard_temporaries(self._job.folder / "factors.json")
        write_json(self._job.folder / "factors.json", content)
        return content

    def _by_task(self, own: SampleMeasure) -> Measured:
        return [own.measure(self._run.subject(task, own.samples)) for task in self._run.tasks]

    def _rows(self, asked: Asked, epoch: int) -> list[Factor]:
        measured = self._journal.find(asked.key, epoch)
        assert measured is not None
        step = epoch * self._record["steps_per_epoch"]
        return [
            Factor(
                epoch,
                step,
                task.name,
                own.other,
                f"{asked.name}.{own.name}",
                asked.parameters,
                own.value,
                own.stderr,
            )
            for task, quantities in zip(self._run.tasks, measured, strict=True)
            for own in quantities
        ]

    @contextmanager
    def _timed(self, activity: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self._seconds[activity] += time.perf_counter() - start


def _asked(name: str, spec: Spec, record: dict[str, Any]) -> Asked:
    module = importlib.import_module(f"tasktrace.measures.{spec['name']}")
    options = build_options(module.Options, component_options(spec))
    key = {
        "measuring": MEASURING_VERSION,
        "measure": spec,
        "run": record["spec_digest"],
        "data": record["data"],
        "checkpoints": [entry["sha256"] for entry in record["checkpoints"]],
    }
    return Asked(name, getattr(options, "parameters", "encoder"), module.Measure(options), digest(key)[:16])


def _record(job: MeasureJob) -> dict[str, Any]:
    record = job.finished_record()
    if not record["checkpoints"]:
        raise ConfigError(
            f"{job.folder}: this run kept no checkpoints, so there is nothing to measure; runs of the sweep keep none, "
            "others do with training.checkpoint_every above 0"
        )
    return record


def _chosen(epochs: list[int], every: int) -> list[int]:
    """Every so many of the kept epochs, and the last."""
    return [epoch for epoch in epochs if epoch % every == 0 or epoch == epochs[-1]]
