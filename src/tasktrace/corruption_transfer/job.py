"""Refitting one run: its heads are fitted to corrupted data and tested on every corruption."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from tasktrace.config.study import identity
from tasktrace.corruption_transfer.data import Corrupted, Plan, plan
from tasktrace.corruption_transfer.heads import Features, Fitting, fit_head
from tasktrace.errors import ConfigError, DataError
from tasktrace.files import discard_temporaries, file_digest, write_json
from tasktrace.locking import exclusive
from tasktrace.measures.trained import TrainedRun
from tasktrace.progress import Reporter, reporter
from tasktrace.provenance import machine
from tasktrace.rows import write_rows
from tasktrace.seeding import derive_seed
from tasktrace.training.checkpoints import kept_epochs
from tasktrace.training.data import Order
from tasktrace.training.device import configure, describe
from tasktrace.training.job import RunJob
from tasktrace.training.tallies import chunk_size, take_in, tally

CLEAN = "clean"
"""Stands for the corruption of pictures as they are, at severity 0, seen by the heads as they were trained."""


@dataclass(frozen=True, kw_only=True)
class RefitJob(RunJob):
    """What a refitting process is asked to do; ``spec`` is ``Study.refit_spec``.

    Attributes:
        corrupted: Folder of the setting's corrupted pictures.
    """

    corrupted: Path


@dataclass(frozen=True)
class Score:
    """One number of ``corrupted.parquet``.

    Attributes:
        task: The task's name.
        metric: The metric's name.
        corruption: The corruption, or ``clean``.
        severity: 1 to 5; 0 for ``clean``.
        value: The metric on the test samples.
    """

    task: str
    metric: str
    corruption: str
    severity: int
    value: float


_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("metric", pa.string()),
        ("corruption", pa.string()),
        ("severity", pa.int32()),
        ("value", pa.float64()),
    ]
)


def refit(job: RefitJob) -> dict[str, Any]:
    """Fit a run's heads to corrupted data, test them, and return the content of the ``corrupted.json`` it writes.

    The encoder is frozen in eval mode: its weights and its running statistics stay as they are. So the heads of tasks
    trained together are fitted one by one: nothing that one of them does reaches another.

    Raises:
        BusyError: Another process does this.
        ConfigError: The batches are larger than a task's training data.
        DataError: The run has not finished or did not keep its best epoch, data is absent or of another spec, or a
            refitted head diverged.
        DamagedFileError: Data or the checkpoint is not what was written.
    """
    record = _record(job)
    with exclusive(job.folder / ".refit" / "lock", "refitting"), reporter(job.path, job.spec["epochs"]) as report:
        device = configure(job.device, job.threads)
        start = time.perf_counter()
        scores = _scores(job, record, device, report)
        path = job.folder / "corrupted.parquet"
        discard_temporaries(path)
        write_rows(path, scores, _SCHEMA)
        content = {
            "run": job.path,
            "identity": identity(record["spec"]),
            "trajectory": record["trajectory"],
            "epoch": record["spec"]["best_epoch"],
            "spec": job.spec,
            "sha256": file_digest(path),
            "seconds": round(time.perf_counter() - start, 3),
            "threads": job.threads,
            "device": describe(device),
            **machine(job.root),
        }
        write_json(job.folder / "corrupted.json", content)
        return content


def _record(job: RefitJob) -> dict[str, Any]:
    record = job.finished_record()
    best = record["spec"].get("best_epoch")
    if best is None or best not in kept_epochs(record):
        raise DataError(
            f"{job.folder}: this run did not keep the checkpoint of its best epoch ({best}); it ended as "
            f"{record['outcome']['status']}; delete the folder and run `snakemake --cores 1 "
            f"{job.folder / 'run.json'}`"
        )
    return record


def _scores(job: RefitJob, record: dict[str, Any], device: torch.device, report: Reporter) -> list[Score]:
    prepared = job.data_of(record)
    asked = job.spec["corruption"]
    corrupted = Corrupted(job.corrupted, asked, prepared.content)
    chosen = plan(prepared, asked["tasks"], asked["test"])
    run = TrainedRun(record, prepared, job.root, device)
    run.load(record["spec"]["best_epoch"], is_verified=False)
    testing = _Testing(run, chosen, device)
    clean = torch.from_numpy(prepared.tensors["inputs"][chosen.test])
    trained = {task.name: run.parts.model.heads[task.name] for task in run.tasks}
    scores = testing.scores(clean, trained, CLEAN, 0)
    heads = _refitted(run, chosen, torch.from_numpy(corrupted.train()).to(device), job.spec, report)
    _check_finite(job.folder, heads)
    for name, severity, pictures in corrupted.test():
        scores += testing.scores(torch.from_numpy(pictures), heads, name, severity)
    return scores


def _refitted(
    run: TrainedRun, chosen: Plan, pictures: Tensor, spec: dict[str, Any], report: Reporter
) -> dict[str, nn.Module]:
    """The run's heads by task, fitted to the corrupted training pictures."""
    how = Fitting(spec["optimizer"], spec["learning_rate"], spec["batch_size"], spec["epochs"])
    features = Features(run.parts.model.encoder, run.data, pictures)
    heads = {}
    for task, head, objective in zip(run.tasks, run.parts.heads, run.parts.objectives, strict=True):
        seed = run.seed
        torch.manual_seed(derive_seed(seed, "refit", "layers", task.name))  # a head may drop features out
        rows = run.data.rows[task.name, "train"]
        if len(rows) < how.batch_size:
            raise ConfigError(
                f"batch size {how.batch_size} is larger than the {len(rows)} training samples of task {task.name!r}; "
                "take a smaller one in the setting's experiments.corruption.refit.batch_size"
            )
        positions = torch.from_numpy(np.searchsorted(chosen.train, rows.cpu().numpy())).to(rows.device)
        order = Order(f"refit {task.name}", len(rows), how.batch_size, seed)
        targets = run.data.targets[task.name, "train"]
        heads[task.name] = fit_head(head, objective, features, positions, targets, how, order)
        report.note(f"{task.name}: head fitted")
    return heads


def _check_finite(folder: Path, heads: dict[str, nn.Module]) -> None:
    for task, head in heads.items():
        if not all(bool(parameter.isfinite().all()) for parameter in head.parameters()):
            raise DataError(
                f"{folder}: the refitted head of {task!r} diverged; take a smaller learning rate in the setting's "
                "experiments.corruption.refit.learning_rate"
            )


class _Testing:
    """A run's encoder, and the test samples of its tasks among the corrupted test pictures."""

    def __init__(self, run: TrainedRun, chosen: Plan, device: torch.device) -> None:
        self._run, self._device = run, device
        self._positions, self._targets = {}, {}
        for task in run.tasks:
            tested = torch.from_numpy(chosen.tested[task.name]).to(device)
            rows = run.data.rows[task.name, "test"][tested].cpu().numpy()
            self._positions[task.name] = torch.from_numpy(np.searchsorted(chosen.test, rows))
            self._targets[task.name] = run.data.targets[task.name, "test"][tested]

    def scores(self, pictures: Tensor, heads: dict[str, nn.Module], corruption: str, severity: int) -> list[Score]:
        """All metrics of all tasks on test pictures (n, C, H, W) under one corruption."""
        run = self._run
        tallies = {task.name: tally(task, self._targets[task.name]) for task in run.tasks}

        def inputs(name: str) -> Iterator[Tensor]:
            chunks = self._positions[name].split(chunk_size(pictures))
            return (run.data.normalise(pictures[own].to(self._device)) for own in chunks)

        with torch.inference_mode():
            take_in(tallies, run.parts.model.encoder, heads, inputs, run.data.shared)
            values = {task: own.values()[1:] for task, own in tallies.items()}
        return [
            Score(task.name, metric, corruption, severity, value.item())
            for task in run.tasks
            for metric, value in zip(task.metrics, values[task.name], strict=True)
        ]
