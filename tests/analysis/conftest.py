"""Run folders made by hand, with known trajectories."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasktrace.files import file_digest
from tasktrace.training.trajectory import Row, write_trajectory

Curves = dict[str, dict[str, list[float]]]
"""By task: train (losses), validation and test (metrics), one value an epoch."""


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a finished (or diverged) run of the digits and return its folder."""

    def make(path: str, curves: Curves, *, diverged: bool = False, point: dict[str, Any] | None = None) -> Path:
        folder = tmp_path / "results/runs" / path
        folder.mkdir(parents=True)
        quantities = {"train": "loss", "validation": "metric", "test": "metric"}
        rows = [
            Row(epoch, 10 * epoch, task, split, quantities[split], value)
            for task, splits in curves.items()
            for split, values in splits.items()
            for epoch, value in enumerate(values)
        ]
        write_trajectory(folder / "trajectory.parquet", rows)
        outcome = (
            {"status": "diverged", "epoch": 2, "step": 7, "task": "digits1"} if diverged else {"status": "finished"}
        )
        record = {
            "run": path,
            "outcome": outcome,
            "spec": {
                "setting": "digits",
                "data": {"name": "digits", "version": 1},
                "tasks": list(curves),
                "point": point or {"learning_rate": 0.1, "batch_size": 8},
                "seed": int(path[-1]),
            },
            "trajectory": file_digest(folder / "trajectory.parquet"),
            "steps_per_epoch": 10,
            "seconds": {"train": 1.0, "evaluate": 0.5},
            "attempts": 1,
            "device": "cpu",
            "processor": "a processor",
            "versions": {"torch": "2.11"},
            "commit": "abc",
            "modified": False,
        }
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return make
