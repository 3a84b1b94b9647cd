"""One training run from its spec to its folder: locked, resumable, and finished only when it is whole."""

import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tasktrace.errors import DamagedFileError, TasktraceError
from tasktrace.files import atomic_path, digest, discard_temporaries, file_digest, write_json
from tasktrace.locking import exclusive
from tasktrace.methods import NonFiniteError
from tasktrace.places import RESUME
from tasktrace.progress import KeptReporter, Reporter, reporter
from tasktrace.provenance import machine, peak_memory
from tasktrace.settings.prepared import prepared_content, read_prepared
from tasktrace.training.checkpoints import EpochFiles, verify
from tasktrace.training.device import configure, describe
from tasktrace.training.ending import Ending, StoppedError
from tasktrace.training.engine import Engine
from tasktrace.training.evaluation import evaluate
from tasktrace.training.finished import TRAJECTORY
from tasktrace.training.job import RunJob
from tasktrace.training.resume import LOG, Progress, ResumeFolder
from tasktrace.training.trajectory import Row, summary, write_trajectory


@dataclass(frozen=True)
class Job(RunJob):
    """What a training process is asked to do; ``spec`` is the run's resolved spec, its point included.

    Attributes:
        save_minutes: Wall-clock minutes between resume states inside an epoch.
    """

    save_minutes: float = 5.0


def run(job: Job, ending: Ending | None = None) -> dict[str, Any]:
    """Train a run to its end and return the content of its ``run.json``.

    A run that was killed continues where its last whole resume state left it, and ends with the same trajectory and
    checkpoints, byte for byte on the CPU; one that had finished emits its declared files again.

    Args:
        job: What to do.
        ending: Says when the attempt has to end before the run does; by default never.

    Raises:
        BusyError: Another process trains this run.
        StoppedError: The attempt had to end; it saved what it had.
        DataError: The prepared data is absent or of another spec.
        DamagedFileError: Prepared data or an epoch's checkpoint is not what was written.
    """
    folder, epochs = job.folder / RESUME, job.spec["epochs"]
    with (
        exclusive(folder / "lock", "training"),
        KeptReporter(reporter(job.path, epochs), folder / LOG, epochs) as report,
    ):
        resume = ResumeFolder(folder, digest(job.spec), report.note)
        with _told(resume, report):
            record = _emitted_again(job, resume, report)
            if record is None:
                record = Session(job, resume, report, ending or Ending()).run()
        discard_temporaries(job.folder / "run.json")
        write_json(job.folder / "run.json", record)
        return record


@contextmanager
def _told(resume: ResumeFolder, report: Reporter) -> Iterator[None]:
    """Keep beside the states why an attempt ended without finishing the run."""
    try:
        yield
    except StoppedError as stop:
        resume.tell("stopped")
        report.note(str(stop))
        raise
    except Exception as error:
        resume.tell("failed")
        report.note(f"failed: {error if str(error) else type(error).__name__}")
        raise


class Session:
    """An attempt at a run.

    Args:
        job: What to do.
        resume: Where the run's resume states are.
        report: Told how far the run is.
        ending: Says when to stop before the end.
    """

    def __init__(self, job: Job, resume: ResumeFolder, report: Reporter, ending: Ending) -> None:
        self._job, self._resume, self._report, self._ending = job, resume, report, ending
        self._files = EpochFiles(resume.folder / "checkpoints")
        self._seconds: dict[str, float] = defaultdict(float)
        with self._timed("setup"):
            self._device = configure(job.device, job.threads)
            prepared = read_prepared(job.prepared, job.spec["data"])
            self._content = prepared.content
            self._progress = Progress(data=self._content)
            self._engine = Engine(job.spec, prepared, self._device)
        self._last_save = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Train what is left, write everything but ``run.json``, and return its content."""
        self._restore()
        outcome: dict[str, Any] = {"status": "finished"}
        if not self._progress.rows:
            self._record(evaluate(self._engine, 0), batch_losses=False)
        while self._progress.epoch < self._job.spec["epochs"]:
            diverged = self._train_epoch() or self._close_epoch()
            if diverged:
                outcome = {"status": "diverged", **diverged}
                self._report.note(f"diverged: {diverged}")
                break
        return self._finish(outcome)

    def _restore(self) -> None:
        found = self._resume.load(self._content)
        if found is not None:
            state, self._progress = found
            self._engine.load_state_dict(state)
            for activity, value in self._progress.seconds.items():
                self._seconds[activity] += value
            self._report.note(f"continuing from epoch {self._progress.epoch}, step {self._progress.step}")
        self._progress.attempts += 1
        self._tell()

    def _tell(self) -> None:
        progress = self._progress
        self._resume.tell(
            "training",
            epoch=progress.epoch,
            epochs=self._job.spec["epochs"],
            step=progress.step,
            steps=self._engine.steps,
            seconds=round(sum(self._seconds.values()), 3),
            attempt=progress.attempts,
        )

    def _train_epoch(self) -> dict[str, Any] | None:
        """Train to the end of the epoch; where a loss was not finite, if one was not."""
        engine, progress = self._engine, self._progress
        with self._timed("train"):
            engine.begin_epoch(progress.epoch)
            for step in range(progress.step, engine.steps):
                try:
                    engine.step(step)
                except NonFiniteError as error:
                    return self._where(step, error.task)
                except ArithmeticError as error:
                    place = f"epoch {progress.epoch + 1}, step {step + 1}"
                    raise TasktraceError(f"{self._job.path}: no update at {place}: {error}") from error
                progress.step = step + 1
                if self._ending.reason is not None:
                    self._save()
                    self._ending.close()
                if time.monotonic() - self._last_save > 60 * self._job.save_minutes:
                    self._save()
            bad = (~torch.isfinite(engine.losses)).nonzero().tolist()
        return self._where(*bad[0]) if bad else None

    def _close_epoch(self) -> dict[str, Any] | None:
        """Evaluate, checkpoint and save; where the evaluation was not finite, if it was not."""
        progress = self._progress
        with self._timed("evaluate"):
            rows = evaluate(self._engine, progress.epoch + 1)
        for row in rows:
            if row.quantity == "loss" and not torch.isfinite(torch.tensor(row.value)):
                tasks = [task.name for task in self._engine.tasks]
                return self._where(self._engine.steps - 1, tasks.index(row.task))
        progress.epoch, progress.step = progress.epoch + 1, 0
        self._record(rows, batch_losses=True)
        self._save()
        return None

    def _record(self, rows: list[Row], batch_losses: bool) -> None:
        """Add an evaluated epoch to the trajectory, and keep its checkpoint if it is due."""
        progress, spec = self._progress, self._job.spec
        if batch_losses:
            means = self._engine.losses.double().mean(dim=0).tolist()
            names = [task.name for task in self._engine.tasks]
            step = progress.epoch * self._engine.steps
            rows = rows + [
                Row(progress.epoch, step, name, "train", "batch_loss", mean)
                for name, mean in zip(names, means, strict=True)
            ]
        progress.rows += rows
        if self._engine.watch is not None:
            progress.rows += self._engine.watch.finish(progress.epoch, progress.epoch * self._engine.steps)
        if _is_kept(progress.epoch, spec):
            with self._timed("save"):
                checkpoint = self._engine.checkpoint()
                progress.checkpoints[progress.epoch] = self._files.save(progress.epoch, checkpoint)
        self._report.epoch(progress.epoch, summary(rows))

    def _save(self) -> None:
        with self._timed("save"):
            self._progress.seconds = dict(self._seconds)
            self._resume.save(self._engine.state_dict(), self._progress)
        self._tell()
        self._last_save = time.monotonic()

    def _where(self, step: int, task: int) -> dict[str, Any]:
        """The place of a non-finite loss: epoch and step counted from 1, and the task's name."""
        return {"epoch": self._progress.epoch + 1, "step": step + 1, "task": self._engine.tasks[task].name}

    def _finish(self, outcome: dict[str, Any]) -> dict[str, Any]:
        job, progress = self._job, self._progress
        target = Path("checkpoints") / job.path
        trajectory = job.folder / TRAJECTORY
        with self._timed("save"):
            packed = self._files.pack(progress.checkpoints, target, job.root)
            discard_temporaries(trajectory)
            write_trajectory(trajectory, progress.rows)
        record = {
            "run": job.path,
            "outcome": outcome,
            "spec": job.spec,
            "spec_digest": digest(job.spec),
            "data": self._content,
            "steps_per_epoch": self._engine.steps,
            "parameters": sum(parameter.numel() for parameter in self._engine.model.parameters()),
            "trajectory": file_digest(trajectory),
            "checkpoints": packed,
            "seconds": {activity: round(value, 3) for activity, value in self._seconds.items()},
            "attempts": progress.attempts,
            "peak_mb": peak_memory(),
            "threads": job.threads,
            "device": describe(self._device),
            **machine(job.root),
        }
        self._resume.finish(record, trajectory)
        return record

    @contextmanager
    def _timed(self, activity: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[activity] += time.perf_counter() - start


def _is_kept(epoch: int, spec: dict[str, Any]) -> bool:
    """Whether an epoch's checkpoint is kept: every so many, and the last; or the one that the selection chose."""
    every = spec["checkpoint_every"]
    return bool(every and (epoch == spec["epochs"] or epoch % every == 0)) or epoch == spec.get("best_epoch")


def _emitted_again(job: Job, resume: ResumeFolder, report: Reporter) -> dict[str, Any] | None:
    """The record of a finished run with its trajectory put back, or None where it has to be trained."""
    finished = resume.finished()
    if finished is None:
        return None
    record, kept = finished.record, resume.folder / TRAJECTORY
    if prepared_content(job.prepared) not in (None, record["data"]):
        report.note(f"{job.prepared}: other data than this run was trained on; training again")
        return None
    if not finished.is_restored:
        try:
            verify(record["checkpoints"], job.root)
        except DamagedFileError as error:
            report.note(f"{error}; training again")
            return None
    if not kept.exists() or file_digest(kept) != record["trajectory"]:
        report.note(f"{kept}: absent or damaged; training again")
        return None
    with atomic_path(job.folder / TRAJECTORY) as temporary:
        shutil.copyfile(kept, temporary)
    resume.remove_states()
    report.note("finished before; its files are as they were")
    return record
