"""Trials on the device at hand, of what no finished run tells; kept, so that they are not made twice."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tasktrace.config import Study
from tasktrace.config.study import REFIT_VERSION, TRAINING_VERSION
from tasktrace.errors import ConfigError, TasktraceError
from tasktrace.files import digest, write_json
from tasktrace.places import prepared_path
from tasktrace.planning.device import Device
from tasktrace.planning.jobs import ANALYSIS, CORRUPT, ON_DEVICE, Item, Job, Spec
from tasktrace.planning.prepared_sizes import is_prepared
from tasktrace.planning.shapes import Shape
from tasktrace.planning.timings import ANY_SETTING, Known, Timings

_TRIED = (*ON_DEVICE, CORRUPT)
"""The stages of which trials are made in a setting's process."""

_RULES = ("train", "train_selected", "measure", "refit")
"""The rules whose jobs start as that process does."""

_START = Shape("start", {})

_ANALYSIS = "analysis.rules"
"""Under this name, which is no setting's, trials of the analysis are kept."""

_REPEATS = 3


@dataclass
class Calibration:
    """What trials found.

    Attributes:
        timings: What is known from them.
        tried: Number of trials that this is from.
        failed: By what was tried why it cannot be done.
        not_prepared: Settings without prepared data, of which nothing can be tried.
        share: The share of a processor that the trial with the least of it had.
    """

    timings: Timings = field(default_factory=Timings)
    tried: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    not_prepared: list[str] = field(default_factory=list)
    share: float = 1.0

    def add(self, setting: str, shape: Shape, item: Item, found: Spec) -> None:
        """Take in what a trial found."""
        if "failed" in found:
            self.failed[f"{setting}: {shape.label}"] = found["failed"]
            return
        self.tried += 1
        known = self.timings.shapes[shape.key] = Known(**found)
        self.share = min(self.share, known.share)
        if "checkpoint_bytes" in found:
            self.timings.checkpoints[item.checkpoint_key] = found["checkpoint_bytes"]


class Kept:
    """The trials of a setting that were made before, ``results/plan/<setting>.json``.

    Args:
        root: The project's folder.
        setting: The setting's name.
        device: The device that they were made on.
    """

    def __init__(self, root: Path, setting: str, device: Device) -> None:
        self._path = root / "results/plan" / f"{setting}.json"
        self._device = device
        machine = [device.name, "" if device.is_gpu else device.processor, device.threads]
        self._place = [*machine, TRAINING_VERSION, REFIT_VERSION, version("torch")]
        self._trials: dict[str, Spec] = _read(self._path)

    def find(self, shape: Shape) -> Spec | None:
        """What a trial of a shape found on this device; None if there was none."""
        entry = self._trials.get(self._key(shape))
        return None if entry is None else entry["found"]

    def add(self, found: Iterable[tuple[Shape, Spec]]) -> None:
        """Keep what trials find, each as it is found."""
        for shape, own in found:
            self._trials[self._key(shape)] = {
                "label": shape.label or shape.activity,
                "device": self._device.name,
                "processor": self._device.processor,
                "threads": self._device.threads,
                "depends": shape.depends,
                "found": own,
            }
            write_json(self._path, self._trials)

    def _key(self, shape: Shape) -> str:
        return digest([shape.key, self._place])[:16]


def tried_devices(root: Path) -> list[str]:
    """The devices of all trials that are kept."""
    files = sorted((root / "results/plan").glob("*.json"))
    return sorted({entry["device"] for path in files for entry in _read(path).values()})


def kept_trials(study: Study, jobs: Sequence[Job], device: Device) -> Calibration:
    """What trials found before of the jobs that are left."""
    calibration = Calibration()
    starts = []
    for setting, wanted in _wanted(jobs, Timings()).items():
        kept = Kept(study.root, setting, device)
        starts += _take(calibration, setting, wanted, kept)
    _note_starts(calibration, starts)
    return calibration


def calibrate(study: Study, jobs: Sequence[Job], device: Device, known: Timings, fresh: bool) -> Calibration:
    """Try what is left of the study and was not recorded; what was tried before is not tried again.

    Args:
        study: The study.
        jobs: Its jobs.
        device: The device, which has to be this machine's.
        known: What finished runs tell.
        fresh: Try also what was tried before.

    Raises:
        ConfigError: The device is not here.
        TasktraceError: Data is damaged, or a process of trials failed.
    """
    calibration = Calibration()
    starts = []
    for setting, wanted in _wanted(jobs, known).items():
        kept = Kept(study.root, setting, device)
        # What failed may have lacked no more than memory.
        missing = [shape for shape, _ in wanted.values() if fresh or "failed" in (kept.find(shape) or {"failed": ""})]
        if setting == _ANALYSIS:
            kept.add(_try_analysis(study.root, missing))
        elif not is_prepared(study, setting):
            calibration.not_prepared.append(setting)
        elif missing:
            kept.add(_try(study, setting, device, missing))
        starts += _take(calibration, setting, wanted, kept)
    _note_starts(calibration, starts)
    return calibration


def _wanted(jobs: Sequence[Job], known: Timings) -> dict[str, dict[str, tuple[Shape, Item]]]:
    """By setting the shapes of what is left that are not known, by key, each with an item that has it."""
    wanted: dict[str, dict[str, tuple[Shape, Item]]] = {}
    for job in jobs:
        if job.is_done or job.stage not in (*_TRIED, ANALYSIS):
            continue
        setting = _ANALYSIS if job.stage == ANALYSIS else job.setting
        for item in job.items:
            for shape in item.shapes:
                if shape.key not in known.shapes:
                    wanted.setdefault(setting, {}).setdefault(shape.key, (shape, item))
    return wanted


def _try(study: Study, setting: str, device: Device, shapes: Sequence[Shape]) -> Iterator[tuple[Shape, Spec]]:
    """Try shapes in a process of their own, and yield what is found as it is found; the last is the process's start."""
    folder = study.root / "results/plan"
    folder.mkdir(parents=True, exist_ok=True)
    asked = {
        "device": "cuda" if device.is_gpu else "cpu",
        "threads": device.threads,
        "prepared": str(study.root / prepared_path(setting)),
        "data": study.data_spec(setting),
        "folder": str(folder),
        "trials": [{"key": own.key, "activity": own.activity, "example": own.example} for own in shapes],
    }
    begin = time.perf_counter()
    command = [sys.executable, "-m", "tasktrace.planning.trials"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process.stdin as questions:
                json.dump(asked, questions)
            ready = _answer(process.stdout.readline(), setting)
            start = time.perf_counter() - begin
            if ready["ready"] != device.name:
                raise ConfigError(f"trials are made on the device here, {ready['ready']}; asked for {device.name}")
            for shape in shapes:
                found = _answer(process.stdout.readline(), setting, may_fail=True)
                _say(f"{setting}: {shape.label}: {found.get('failed', 'tried')}")
                yield shape, {name: value for name, value in found.items() if name != "key"}
            warming = _answer(process.stdout.readline(), setting)["warming"]
            end = time.perf_counter()
            process.wait()
            if warming is not None:
                yield _START, {"rates": {"start": start + warming + time.perf_counter() - end}}
        finally:
            process.kill()


def _answer(line: str, setting: str, may_fail: bool = False) -> Spec:
    """An answer of a process of trials.

    Raises:
        TasktraceError: It ended without one, or says that it cannot go on.
    """
    if not line:
        raise TasktraceError(f"{setting}: the process of its trials ended early; what it said stands above")
    answer: Spec = json.loads(line)
    if "failed" in answer and not may_fail:
        raise TasktraceError(f"{setting}: {answer['failed']}")
    return answer


def _try_analysis(root: Path, shapes: Sequence[Shape]) -> Iterator[tuple[Shape, Spec]]:
    """Try jobs of the analysis: they take about as long as to start, and a figure as long as another."""
    folder = root / "results/plan"
    folder.mkdir(parents=True, exist_ok=True)
    figures = [shape for shape in shapes if shape.activity.startswith("figure_")]
    others = [shape for shape in shapes if shape not in figures]
    for own, arguments in ((figures, [str(folder)]), (others, [])):
        if own:
            found = _specimen(arguments)
            yield from ((shape, found) for shape in own)


def _specimen(arguments: list[str]) -> Spec:
    """What a process of the analysis takes."""
    command = [sys.executable, "-m", "tasktrace.planning.specimen", *arguments]
    spent = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        spent.append(time.perf_counter() - begin)
    return {"rates": {"job": statistics.median(spent)}, **json.loads(done.stdout)}


def _take(calibration: Calibration, setting: str, wanted: dict[str, tuple[Shape, Item]], kept: Kept) -> list[float]:
    """Take what is kept of a setting's shapes; what its process took to start, if that is kept too."""
    for shape, item in wanted.values():
        found = kept.find(shape)
        if found is not None:
            calibration.add(setting, shape, item, found)
    start = kept.find(_START)
    return [] if start is None else [start["rates"]["start"]]


def _note_starts(calibration: Calibration, starts: list[float]) -> None:
    if starts:
        calibration.timings.starts = dict.fromkeys(((rule, ANY_SETTING) for rule in _RULES), statistics.median(starts))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _read(path: Path) -> dict[str, Any]:
    """The content of a file of trials; without one that can be read they are made anew."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
