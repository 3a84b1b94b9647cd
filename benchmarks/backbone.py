"""What the training backbone costs beside the usual ways, as ratios within one run.

    python benchmarks/backbone.py [--quick] [--repeats N] [--json FILE]

Measured are (1) the training step against two hand-written loops, (2) the evaluation's share of an epoch, (3) what a
job takes beyond training, and (4) what saving takes of an epoch. The data is random: no download.
"""

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from measuring import Line, as_json, over, table, take_turns, usual_settings
from tasktrace.config import Study
from tasktrace.config.declarations import declaration
from tasktrace.models import build_model
from tasktrace.settings.prepared import Prepared
from tasktrace.training.checkpoints import EpochFiles
from tasktrace.training.data import DeviceData
from tasktrace.training.device import configure, describe
from tasktrace.training.engine import Engine
from tasktrace.training.evaluation import evaluate
from tasktrace.training.resume import Progress, ResumeFolder
from tasktrace.training.trajectory import Row

PROJECT = Path(__file__).resolve().parent.parent
TASKS = ["fashion1", "fashion2"]
BATCH_SIZES = (32, 256)
LEARNING_RATE = 1e-3
SEED = 0
MODEL = {"name": "lenet", "version": 1}


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much to measure.

    Attributes:
        repeats: Turns of every contender.
        step_samples: Training samples per task where steps are compared.
        samples: Samples per task of each split where epochs are measured; the default is that of the fashion setting.
        epochs: Epochs of the whole job.
    """

    repeats: int = 5
    step_samples: int = 5_120
    samples: tuple[int, int, int] = (25_000, 5_000, 5_000)
    epochs: int = 3


def main() -> None:
    """Measure everything, print the table, and write it to a file if asked to."""
    given = _parser().parse_args()
    quick = Sizes(repeats=2, step_samples=2_560, samples=(5_000, 1_000, 1_000), epochs=1)
    sizes = quick if given.quick else Sizes()
    if given.repeats:
        sizes = dataclasses.replace(sizes, repeats=given.repeats)
    lines: list[Line] = []
    for name in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        device = configure(name, threads=1)
        lines += step_lines(device, sizes) + evaluation_lines(device, sizes) + saving_lines(device, sizes)
    lines += job_lines(sizes)
    print(table(lines))
    if given.json:
        content = {"torch": torch.__version__, **dataclasses.asdict(sizes), "lines": list(map(as_json, lines))}
        given.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


# 1. The training step


def step_lines(device: torch.device, sizes: Sizes) -> list[Line]:
    """The engine's steps over those of the two hand-written loops, alone and together."""
    lines = []
    for tasks in (TASKS[:1], TASKS):
        prepared = random_data(tasks, (sizes.step_samples, 1, 1))
        for batch_size in BATCH_SIZES:
            contenders = {
                "engine": EngineEpochs(prepared, tasks, batch_size, device),
                "loop with a DataLoader": LoaderEpochs(prepared, tasks, batch_size, device),
                "loop without a loader": SlicingEpochs(prepared, tasks, batch_size, device),
            }
            seconds = take_turns(contenders, device, sizes.repeats)
            case = f"{_group(tasks)}, batch {batch_size}"
            lines += [
                Line(f"training, {describe(device)}", f"{case}: engine / {peer}", *over(seconds, "engine", peer), 1.0)
                for peer in list(contenders)[1:]
            ]
    return lines


class EngineEpochs:
    """Epochs of the engine, its data order included."""

    def __init__(self, prepared: Prepared, tasks: list[str], batch_size: int, device: torch.device) -> None:
        self.engine = build_engine(prepared, tasks, batch_size, device)
        self._epoch = 0

    def __call__(self) -> None:
        """Train an epoch."""
        self.engine.begin_epoch(self._epoch)
        for step in range(self.engine.steps):
            self.engine.step(step)
        self._epoch += 1


class HandWritten:
    """What one writes without a library: normalised float tensors, a forward per task, the sum of the losses, Adam."""

    def __init__(self, prepared: Prepared, tasks: list[str], batch_size: int, device: torch.device) -> None:
        declared = declaration("setting", "fashion").tasks
        self._model = build_model(MODEL, [declared[name] for name in tasks], SEED).to(device)
        self._optimizer = torch.optim.Adam(self._model.parameters(), lr=LEARNING_RATE)
        self._batch_size, self._device = batch_size, device
        data = DeviceData(prepared, tasks, torch.device("cpu"))
        self._samples = {
            name: (data.normalised(data.rows[name, "train"]), data.targets[name, "train"]) for name in tasks
        }

    def _step(self, batches: dict[str, tuple[Tensor, Tensor]]) -> None:
        self._optimizer.zero_grad()
        losses = [functional.cross_entropy(self._model(x, task), y) for task, (x, y) in batches.items()]
        torch.stack(losses).sum().backward()
        self._optimizer.step()


class LoaderEpochs(HandWritten):
    """The usual loop: one shuffling DataLoader per task, zipped."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._loaders = [
            DataLoader(
                TensorDataset(*samples),
                self._batch_size,
                shuffle=True,
                drop_last=True,
                pin_memory=self._device.type == "cuda",
            )
            for samples in self._samples.values()
        ]

    def __call__(self) -> None:
        """Train an epoch."""
        with usual_settings():
            self._model.train()
            for batches in zip(*self._loaders, strict=True):
                on_device = [[part.to(self._device, non_blocking=True) for part in batch] for batch in batches]
                self._step({name: (x, y) for name, (x, y) in zip(self._samples, on_device, strict=True)})


class SlicingEpochs(HandWritten):
    """The stricter peer: tensors on the device, sliced by a permutation."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._samples = {name: (x.to(self._device), y.to(self._device)) for name, (x, y) in self._samples.items()}

    def __call__(self) -> None:
        """Train an epoch."""
        with usual_settings():
            self._model.train()
            orders = [torch.randperm(len(y), device=self._device) for _, y in self._samples.values()]
            for rows in zip(*(order.split(self._batch_size) for order in orders), strict=True):
                parts = zip(self._samples.items(), rows, strict=True)
                self._step({name: (x[own], y[own]) for (name, (x, y)), own in parts})


# 2. The evaluation


def evaluation_lines(device: torch.device, sizes: Sizes) -> list[Line]:
    """The evaluation's share of an epoch, and that share over the counted one.

    Counted in forward passes of one sample: an evaluation takes one for every sample of the three splits, training
    takes three (a backward pass is two) for every training sample. The first layer needs no gradient of its input, so
    training is a little cheaper than counted: by multiplications of LeNet 2.7 passes, and the share 1.07 of this one.
    """
    forward, training = sum(sizes.samples), 3 * sizes.samples[0]
    counted = forward / (training + forward)
    lines = []
    for tasks in (TASKS[:1], TASKS):
        prepared = random_data(tasks, sizes.samples)
        for batch_size in BATCH_SIZES:
            train = EngineEpochs(prepared, tasks, batch_size, device)
            contenders: dict[str, Callable[[], Any]] = {
                "train": train,
                "evaluate": lambda engine=train.engine: evaluate(engine, 0),
            }
            seconds = take_turns(contenders, device, sizes.repeats)
            shares = [own / (own + other) for own, other in zip(seconds["evaluate"], seconds["train"], strict=True)]
            section, case = f"evaluation, {describe(device)}", f"{_group(tasks)}, batch {batch_size}"
            lines += [
                Line(section, f"{case}: share of the epoch", shares, seconds["evaluate"]),
                Line(
                    section,
                    f"{case}: share / counted {counted:.3f}",
                    [share / counted for share in shares],
                    seconds["evaluate"],
                ),
            ]
    return lines


# 3. The whole job


def job_lines(sizes: Sizes) -> list[Line]:
    """What a training job takes beyond training and evaluating, and how soon verbs without torch start.

    Ratios are to the start of a Python that imports torch.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        copy_project(root)
        subprocess.run([_script(), "prepare", "digits"], cwd=root, check=True, capture_output=True)
        turns = [job_turn(root, sizes.epochs) for _ in range(sizes.repeats)]
    seconds = {what: [turn[what] for turn in turns] for what in turns[0]}
    return [Line("job beyond training", what, *over(seconds, what, _TORCH)) for what in seconds]


_TORCH = "python -c 'import torch'"


def job_turn(root: Path, epochs: int) -> dict[str, float]:
    """Seconds of one small job outside training and evaluation, their parts, and of the imports next to it."""
    torch_alone = process_seconds([sys.executable, "-c", "import torch"], root)
    optimizers = process_seconds([sys.executable, "-c", "import torch, torch._dynamo"], root)
    figures = process_seconds([sys.executable, "-c", "import tasktrace.figures"], root)
    imports = process_seconds([sys.executable, "-c", "import tasktrace.training.session"], root)
    total, record = train_job(root, epochs)
    spent = record["seconds"]
    beyond = total - spent["train"] - spent["evaluate"]
    return {
        _TORCH: torch_alone,
        # Any process that steps a torch optimizer imports the compiler, whether it compiles or not.
        "python -c 'import torch, torch._dynamo'": optimizers,
        "python -c 'import tasktrace.figures'": figures,
        "tasktrace train, without training and evaluating": beyond,
        "  of it: interpreter and imports": imports,
        "  of it: saving, checkpoints included": spent["save"],
        "  of it: the rest": beyond - imports - spent["save"],
    }


def copy_project(root: Path) -> None:
    """Copy what a project folder must have for a job: the configuration and its schemas."""
    shutil.copytree(PROJECT / "config", root / "config")
    shutil.copytree(PROJECT / "workflow/schemas", root / "workflow/schemas")


def train_job(root: Path, epochs: int) -> tuple[float, dict[str, Any]]:
    """Run ``tasktrace train`` from nothing; its wall-clock seconds and its ``run.json``."""
    study = Study.load(root)
    run = study.sweep_runs(study.arms("digits")[0])[0]
    spec = {**study.run_spec(run), "epochs": epochs, "checkpoint_every": 1}
    folder = root / "results/runs" / run.path
    shutil.rmtree(folder, ignore_errors=True)
    command = [_script(), "train", run.path, "--spec", json.dumps(spec), "--device", "cpu"]
    seconds = process_seconds(command, root)
    return seconds, json.loads((folder / "run.json").read_text(encoding="utf-8"))


def process_seconds(command: list[str], folder: Path) -> float:
    """Wall-clock seconds of a process, from its start to its end."""
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def _script() -> str:
    return str(Path(sysconfig.get_path("scripts")) / "tasktrace")


# 4. Saving


def saving_lines(device: torch.device, sizes: Sizes) -> list[Line]:
    """What the resume state and the checkpoint of an epoch take of it, at the end of a run of 100 epochs.

    The resume state holds the trajectory so far, so the last one is the largest.
    """
    train = EngineEpochs(random_data(TASKS, sizes.samples), TASKS, max(BATCH_SIZES), device)
    engine = train.engine
    rows = [dataclasses.replace(row, epoch=epoch) for row in evaluate(engine, 0) for epoch in range(101)]
    rows += [Row(epoch, 0, task, "train", "batch_loss", 2.302585092994046) for task in TASKS for epoch in range(101)]
    progress = Progress(epoch=100, rows=rows, checkpoints=dict.fromkeys(range(101), "0" * 64))
    with tempfile.TemporaryDirectory() as folder:
        resume = ResumeFolder(Path(folder), "0" * 64, print)
        files = EpochFiles(Path(folder) / "checkpoints")

        def epoch() -> None:
            train()
            evaluate(engine, 0)

        contenders: dict[str, Callable[[], Any]] = {
            "epoch": epoch,
            "resume state": lambda: resume.save(engine.state_dict(), progress),
            "checkpoint": lambda: files.save(100, engine.model.state_dict()),
        }
        # Waiting for the disk is part of the cost, so both are measured by the wall clock.
        seconds = take_turns(contenders, device, sizes.repeats, waits=True)
    section, case = f"saving, {describe(device)}", f"{_group(TASKS)}, batch {max(BATCH_SIZES)}"
    return [Line(section, f"{case}: {what} / epoch", *over(seconds, what, "epoch")) for what in list(contenders)[1:]]


# What the sections share


def random_data(tasks: list[str], samples: tuple[int, int, int]) -> Prepared:
    """Random images of LeNet's size with random labels; every task has samples of its own.

    Args:
        tasks: The tasks' names.
        samples: Samples per task of ``train``, ``validation`` and ``test``.
    """
    rng = np.random.default_rng(SEED)
    own = sum(samples)
    tensors = {"inputs": rng.integers(0, 256, (own * len(tasks), 1, 28, 28), dtype=np.uint8)}
    for number, task in enumerate(tasks):
        rows = rng.permutation(own) + number * own
        parts = np.split(rows, np.cumsum(samples)[:-1])
        for split, index in zip(("train", "validation", "test"), parts, strict=True):
            tensors[f"{task}/{split}/index"] = index
            tensors[f"{task}/{split}/target"] = rng.integers(0, 10, len(index))
    return Prepared(tensors, mean=[127.5], std=[73.9], content="random")


def build_engine(prepared: Prepared, tasks: list[str], batch_size: int, device: torch.device) -> Engine:
    """The engine of a LeNet run; ``umtg`` combines the tasks, as it does for a task alone."""
    spec = {
        "data": {"name": "fashion"},
        "tasks": tasks,
        "model": MODEL,
        "method": {"name": "umtg", "version": 1},
        "optimizer": {"name": "adam", "version": 1},
        "point": {"learning_rate": LEARNING_RATE, "batch_size": batch_size},
        "seed": SEED,
    }
    return Engine(spec, prepared, device)


def _group(tasks: list[str]) -> str:
    return "1 task" if len(tasks) == 1 else f"{len(tasks)} tasks"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small data and few repeats: does it run at all?")
    parser.add_argument("--repeats", type=int, help=f"turns of every contender (default: {Sizes.repeats})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number to FILE")
    return parser


if __name__ == "__main__":
    main()
