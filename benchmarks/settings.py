"""How fast each setting trains on this machine, and how much memory that takes.

    python benchmarks/settings.py [SETTING ...] [--batch-size N] [--steps N] [--device cpu|cuda]

The data is random in the shapes of the real data: no download, no weights. A sample counts once for every task that
trains on it: of 2 pictures that three tasks share a step has 6. Numbers are those of the machine at hand.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasktrace.config import Arm, Study
from tasktrace.config.declarations import declaration
from tasktrace.config.loading import read_yaml
from tasktrace.settings.prepared import SPLITS, Prepared, Tensors
from tasktrace.tasks import Task
from tasktrace.training.device import configure
from tasktrace.training.engine import Engine

PROJECT = Path(__file__).resolve().parent.parent
PICTURES = {
    "fashion": (1, 28, 28),
    "cifar100": (3, 32, 32),
    "celeba": (3, 64, 64),
    "cityscapes": (3, 128, 256),
    "nyuv2": (3, 288, 384),
}
TOKENS = 128
BATCH_SIZES = {
    "fashion": 128,
    "cifar100": 32,
    "celeba": 16,
    "cityscapes": 4,
    "cityscapes_segnet": 4,
    "cityscapes_deeplab": 4,
    "nyuv2_segnet": 2,
    "nyuv2_deeplab": 2,
    "glue": 4,
}
"""Small enough for a CPU; the settings' own are larger."""


def main() -> None:
    """Measure each setting in a process of its own, since memory is a process's peak."""
    given = _parser().parse_args()
    if given.alone:
        print(json.dumps(measure(given.settings[0], given.batch_size, given.steps, given.device)))
        return
    print("| setting | tasks | samples a step | samples a second | steps an hour | peak memory |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in given.settings or BATCH_SIZES:
        size = given.batch_size or BATCH_SIZES[name]
        command = [sys.executable, __file__, name, "--alone", "--batch-size", str(size), "--steps", str(given.steps)]
        done = subprocess.run([*command, "--device", given.device], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"| {name} | failed: {done.stderr.strip().splitlines()[-1]} |")
            continue
        found = json.loads(done.stdout)
        samples = found["tasks"] * size
        rate = f"{samples / found['seconds']:.3g} | {3600 / found['seconds']:.3g}"
        print(f"| {name} | {found['tasks']} | {samples} | {rate} | {found['bytes'] / 1e9:.2g} GB |", flush=True)


def measure(name: str, batch_size: int, steps: int, device_name: str) -> dict[str, Any]:
    """Median seconds of a training step of all tasks together, and the process's peak memory."""
    study = _study(name)
    arm = max([*study.arms(name), *study.grid_arms(name)], key=lambda arm: len(arm.tasks))
    device = configure(device_name, threads=1)
    spec = _spec(study, arm, batch_size)
    engine = Engine(spec, _random_data(spec, batch_size), device)
    engine.begin_epoch(0)
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        engine.step(0)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    peak = (
        torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    )
    return {"tasks": len(arm.tasks), "seconds": sorted(seconds[1:])[steps // 2], "bytes": peak}


def _study(name: str) -> Study:
    config = read_yaml(PROJECT / "config/config.yaml")
    return Study({**config, "settings": [name], "demo": []}, PROJECT)


def _spec(study: Study, arm: Arm, batch_size: int) -> dict[str, Any]:
    """The spec of one of the arm's runs, with another batch size, and without weights to fetch."""
    spec = study.run_spec(study.sweep_runs(arm)[0])
    model = {name: value for name, value in spec["model"].items() if name != "weights"}
    return {**spec, "model": model, "point": {"learning_rate": 1e-4, "batch_size": batch_size}}


def _random_data(spec: dict[str, Any], samples: int) -> Prepared:
    """As many samples of every task as a batch has, in each split."""
    rng = np.random.default_rng(0)
    declared = declaration("setting", spec["data"]["name"])
    is_text = spec["data"]["name"] == "glue"
    shape = (TOKENS,) if is_text else PICTURES[spec["data"]["name"]]
    count = samples if declared.shared_inputs else samples * len(spec["tasks"])
    inputs = rng.integers(4, 5000, (count, *shape)).astype(np.int32) if is_text else _pixels(rng, count, shape)
    tensors: Tensors = {"inputs": inputs}
    for number, name in enumerate(spec["tasks"]):
        rows = np.arange(samples) + (0 if declared.shared_inputs else number * samples)
        for split in SPLITS:
            tensors[f"{name}/{split}/index"] = rows
            tensors[f"{name}/{split}/target"] = _targets(rng, declared.tasks[name], samples, shape)
    channels = 0 if is_text else shape[0]
    return Prepared(tensors, [127.0] * channels, [74.0] * channels, "random")


def _pixels(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> Any:
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


def _targets(rng: np.random.Generator, task: Task, count: int, shape: tuple[int, ...]) -> Any:
    """Targets that suit a task's loss: maps where all tasks of the setting have them."""
    is_map = len(shape) == 3 and shape[1] >= PICTURES["cityscapes"][1]
    size = (count, *shape[1:]) if is_map else (count,)
    if task.loss == "cosine":
        return rng.normal(size=(count, 3, *shape[1:])).astype(np.float32)
    if task.loss in ("l1", "mse"):
        return rng.uniform(0.1, 1.0, size).astype(np.float32)
    return rng.integers(0, max(2, task.outputs), size).astype(np.int8 if is_map else np.int64)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", help=f"default: {' '.join(BATCH_SIZES)}")
    parser.add_argument("--batch-size", type=int, default=0, help="samples of each task (default: small ones)")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
