"""What every process that works on runs is asked to do, and what it finds of a run that has finished."""

import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tasktrace.errors import DataError, TasktraceError
from tasktrace.places import RUNS
from tasktrace.settings.prepared import Prepared, read_prepared
from tasktrace.training.ending import StoppedError


@dataclass(frozen=True)
class RunJob:
    """A job on one run.

    Attributes:
        path: The run's path below ``results/runs`` and ``checkpoints``.
        spec: What is to be done.
        prepared: The setting's prepared file.
        root: The project's folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        threads: Threads on a CPU; results are reproducible for the same number.
    """

    path: str
    spec: dict[str, Any]
    prepared: Path
    root: Path = Path()
    device: str = "auto"
    threads: int = 1

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.root / RUNS / self.path

    def finished_record(self) -> dict[str, Any]:
        """The content of the ``run.json`` of the run, which has finished.

        Raises:
            DataError: It has not.
        """
        path = self.folder / "run.json"
        if not path.exists():
            raise DataError(f"{self.folder}: no finished run here; run `snakemake --cores 1 {path}`")
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return record

    def data_of(self, record: dict[str, Any]) -> Prepared:
        """The prepared data that a finished run was trained on.

        Raises:
            DataError: There is none, it is of another spec, or it was prepared anew since.
            DamagedFileError: It is not what was written.
        """
        prepared = read_prepared(self.prepared, record["spec"]["data"])
        if prepared.content != record["data"]:
            raise DataError(
                f"{self.folder}: trained on data with sha256 {record['data']}, but {self.prepared} has "
                f"{prepared.content}; train the run again"
            )
        return prepared


AnyJob = TypeVar("AnyJob", bound=RunJob)


def work_through(jobs: Sequence[AnyJob], work: Callable[[AnyJob], object]) -> None:
    """Do the jobs one after the other, so that many short ones start one process.

    One that fails does not keep the others from being done: those that are done are not done again when the process is
    started anew.

    Raises:
        StoppedError: The process has to end; the jobs that were not done wait for the next attempt.
        TasktraceError: A job failed.
    """
    if len(jobs) == 1:
        work(jobs[0])
        return
    failed: list[str] = []
    for job in jobs:
        try:
            work(job)
        except StoppedError:
            raise
        except TasktraceError as error:
            failed.append(f"{job.path}: {error}")
        except Exception as error:
            traceback.print_exc()
            failed.append(f"{job.path}: {type(error).__name__}: {error}")
    if failed:
        raise TasktraceError("\n".join([f"{len(failed)} of {len(jobs)} runs failed, the others are done:", *failed]))
