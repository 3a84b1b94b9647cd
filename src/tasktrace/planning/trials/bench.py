"""What all trials of a setting share: its data, the device, and what one trial has found that others need."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tasktrace.measures.trained import TrainedRun
from tasktrace.planning.trials.stopwatch import Stopwatch
from tasktrace.settings.prepared import Prepared, read_prepared
from tasktrace.training.checkpoints import EpochFiles
from tasktrace.training.engine import Engine

Spec = dict[str, Any]


@dataclass
class Bench:
    """Where trials take place.

    Attributes:
        prepared: The setting's data.
        reading: Seconds that it took to read.
        device: The device.
        folder: Where trials may write.
        warming: Seconds that this process spent on what a process does once, beside its start: what its first model,
            its first step and its first optimizer import and set up.
    """

    prepared: Prepared
    reading: float
    device: torch.device
    folder: Path
    warming: float | None = None
    _found: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, data: Spec, device: torch.device, folder: Path) -> "Bench":
        """A bench over a setting's prepared file.

        Raises:
            DataError: There is none, or it was made from another spec.
            DamagedFileError: It is not what was written.
        """
        start = time.perf_counter()
        prepared = read_prepared(path, data)
        return cls(prepared, time.perf_counter() - start, device, folder)

    @property
    def watch(self) -> Stopwatch:
        """Times work on the device."""
        return Stopwatch(self.device)

    def once(self, what: str, of: Any, find: Callable[[], Any]) -> Any:
        """What was found before of something that is JSON, or is found now."""
        key = json.dumps([what, of], sort_keys=True)
        if key not in self._found:
            self._found[key] = find()
        return self._found[key]

    def engine(self, spec: Spec) -> tuple[Engine, float]:
        """A run's engine, and what its data and its model take in a process that has built one before."""
        if self.warming is None:
            first, second = (self.watch.seconds(lambda: self._engine(spec).step(0)) for _ in range(2))
            self.warming = max(0.0, first - second)
        start = time.perf_counter()
        engine = Engine(spec, self.prepared, self.device)
        return engine, self.reading + time.perf_counter() - start

    def _engine(self, spec: Spec) -> Engine:
        engine = Engine(spec, self.prepared, self.device)
        engine.begin_epoch(0)
        return engine

    def trained(self, spec: Spec) -> tuple[TrainedRun, float]:
        """A run that kept its first state after epoch 1, and what a process takes to have it at hand."""
        record = {"spec": spec, "checkpoints": self._packed(spec)}
        start = time.perf_counter()
        run = TrainedRun(record, self.prepared, self.folder, self.device)
        return run, self.reading + time.perf_counter() - start

    def _packed(self, spec: Spec) -> list[Spec]:
        engine, _ = self.engine(spec)
        files = EpochFiles(self.folder / "epochs")
        return files.pack({1: files.save(1, engine.checkpoint())}, Path("trial"), self.folder)
