"""What is known of how long work takes: from finished runs, and from trials."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tasktrace.planning.device import Device
from tasktrace.planning.jobs import MEASURE, REFIT, TRAINING, Item, Job, Spec

Rates = dict[str, float]
"""Seconds by what an item's counts count."""

_OF_RECORD = {"setup": "setup", "train": "epoch", "evaluate": "evaluation"}
"""What a run's record calls what is counted here; ``evaluate`` leaves out the initial model's evaluation."""

ANY_SETTING = ""
"""Stands for the settings of which the start of a rule's jobs is not known."""

_MB = 1.048576
"""Snakemake counts memory in units of 2^20 bytes."""


@dataclass(frozen=True)
class Known:
    """What is known of a shape.

    Attributes:
        rates: Seconds by what is counted.
        main_mb: Peak of main memory, in MB of 10^6 bytes; None if that is unknown.
        device_mb: Peak of a GPU's memory, likewise.
        checkpoint_bytes: Size of a checkpoint; None if that is unknown.
        shard_bytes: As much as that, of a run's checkpoints, is held in memory at its end, beside the peak of a trial.
        share: The share of its threads' time that a trial had a processor for.
    """

    rates: Rates
    main_mb: float | None = None
    device_mb: float | None = None
    checkpoint_bytes: int | None = None
    shard_bytes: int = 0
    share: float = 1.0

    @classmethod
    def median(cls, known: Sequence["Known"]) -> "Known":
        """The medians of rates and the largest peaks."""
        names = dict.fromkeys(name for own in known for name in own.rates)
        # Of runs that share a process the first one sets up for all.
        middle = {name: statistics.fmean if name == "setup" else statistics.median for name in names}
        rates = {name: middle[name](own.rates[name] for own in known if name in own.rates) for name in names}
        return cls(rates, _largest(own.main_mb for own in known), _largest(own.device_mb for own in known))

    def main_of(self, checkpoints: int) -> float | None:
        """The peak of main memory of a run that keeps so many checkpoints."""
        if self.main_mb is None:
            return None
        return self.main_mb + min(self.shard_bytes, checkpoints * (self.checkpoint_bytes or 0)) / 1e6


@dataclass
class Timings:
    """What is known, by shape.

    Attributes:
        shapes: By the shapes' keys.
        starts: By rule and setting what a job takes beside what is timed: the start of its process, and its end.
        checkpoints: By the keys of what their sizes depend on the sizes of checkpoints.
        runs: Number of finished runs that this is from.
        processors: Of the machines that did them.
    """

    shapes: dict[str, Known] = field(default_factory=dict)
    starts: dict[tuple[str, str], float] = field(default_factory=dict)
    checkpoints: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    processors: list[str] = field(default_factory=list)

    def start(self, job: Job) -> float | None:
        """What a job on runs takes beside its items; None if that is unknown."""
        return self.starts.get((job.rule, job.setting), self.starts.get((job.rule, ANY_SETTING)))

    def seconds(self, item: Item) -> float | None:
        """What an item takes, the mean where it may come in several shapes; None if one of them is unknown."""
        known = [self.shapes.get(shape.key) for shape in item.shapes]
        return None if None in known else statistics.fmean(_seconds(own.rates, item.counts) for own in known if own)

    def peak(self, item: Item) -> tuple[float | None, float | None]:
        """Peaks of main memory and of a GPU's, in MB; None where one is unknown."""
        known = [self.shapes.get(shape.key, Known({})) for shape in item.shapes]
        main, device = [own.main_of(item.checkpoints) for own in known], [own.device_mb for own in known]
        return (None if None in main else _largest(main)), (None if None in device else _largest(device))


def recorded(jobs: Iterable[Job], device: Device, root: Path) -> Timings:
    """What finished runs on a device tell, and the benchmarks of the workflow's other jobs.

    Args:
        jobs: Jobs, done or not.
        device: Of others nothing is taken.
        root: The project's folder.
    """
    timings = Timings()
    found: dict[str, list[Known]] = defaultdict(list)
    starts: dict[tuple[str, str], list[float]] = defaultdict(list)
    processors: dict[str, None] = {}
    for job in jobs:
        benchmark = _benchmark(root / "results/benchmarks" / job.benchmark) if job.is_done else None
        for item in job.items:
            record = item.record
            if record is None:
                if benchmark is not None and item.run is None:
                    found[item.shapes[0].key].append(Known({"job": benchmark[0]}, benchmark[1]))
                continue
            _note_checkpoint(timings.checkpoints, item, record)
            if device.made(record):
                processors[record["processor"]] = None
                timings.runs += job.stage in TRAINING
                known = _known(job.stage, item, record)
                if known is not None:
                    found[item.shapes[0].key].append(known)
        spare = _spare(job, benchmark, device)
        if spare is not None:
            starts[job.rule, job.setting].append(spare)
            starts[job.rule, ANY_SETTING].append(spare)
    timings.shapes = {key: Known.median(own) for key, own in found.items()}
    timings.starts = {place: statistics.median(own) for place, own in starts.items()}
    timings.processors = list(processors)
    return timings


def _seconds(rates: Rates, counts: Mapping[str, float]) -> float:
    return sum(rates.get(name, 0.0) * count for name, count in counts.items())


def _known(stage: str, item: Item, record: Spec) -> Known | None:
    """What one record tells; None of a run that diverged, whose last epoch is a part of one."""
    peak = record.get("peak_mb", {})
    memory = {"main_mb": peak.get("main"), "device_mb": peak.get("device")}
    if stage == MEASURE:
        return Known({"checkpoint": sum(record["seconds"].values()) / item.counts["checkpoint"]}, **memory)
    if stage == REFIT:
        return Known({"refit": record["seconds"]}, **memory)
    if record["outcome"]["status"] != "finished":
        return None
    seconds, epochs = record["seconds"], record["spec"]["epochs"]
    rates = {name: seconds.get(own, 0.0) / (1 if own == "setup" else epochs) for own, name in _OF_RECORD.items()}
    # A checkpoint is written, and written again when all are packed; a state is as large as three.
    save = seconds.get("save", 0.0) / (epochs + item.checkpoints)
    return Known({**rates, "state": save, "checkpoint": save}, **memory)


def _note_checkpoint(known: dict[str, int], item: Item, record: Spec) -> None:
    for entry in record.get("checkpoints", []):
        known.setdefault(item.checkpoint_key, entry["size"] // len(entry["epochs"]))


def _spare(job: Job, benchmark: tuple[float, float | None] | None, device: Device) -> float | None:
    """What a finished job on runs took beside what their records say; None if that is unknown."""
    records = [item.record for item in job.runs if item.record is not None]
    if benchmark is None or not records or not all(device.made(record) for record in records):
        return None
    # A run of several attempts took more than the last job; one that had finished before took less.
    if any(record.get("attempts", 1) > 1 for record in records):
        return None
    spare = benchmark[0] - sum(_total(record["seconds"]) for record in records)
    return spare if spare > 0 else None


def _total(seconds: float | Mapping[str, float]) -> float:
    return sum(seconds.values()) if isinstance(seconds, Mapping) else seconds


def _benchmark(path: Path) -> tuple[float, float | None] | None:
    """Seconds and peak main memory in MB of a job that Snakemake ran; None if there is no such file."""
    try:
        names, values, *_ = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
        found = dict(zip(names, values, strict=True))
        return float(found["s"]), _megabytes(found["max_rss"])
    except (OSError, ValueError, KeyError):
        return None


def _megabytes(text: str) -> float | None:
    return float(text) * _MB if text not in ("-", "NA") else None


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
