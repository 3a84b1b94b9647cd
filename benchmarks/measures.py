"""What measuring costs beside plain gradients, beside peers, and beside training.

    python benchmarks/measures.py [--quick] [--repeats N] [--only SECTION ...] [--json FILE]

Measured are (1) per-sample gradient norms over one plain gradient, BackPACK and vmap(grad), (2) sharpness in units of
one forward pass, and many radii and batches over as many separate calls, (3) coherence, mini-batch empirical Fisher and
conflict in one pass over the gradients of all tasks by themselves, and (4) everything that is measured of a checkpoint
over one epoch of the run that it belongs to. The data is random, with the sizes of ``fashion``: no download.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import measures_fisher
import measures_sharpness
from measuring import Line, as_json, over, table, take_turns
from tasktrace.config.study import TRAINING_VERSION
from tasktrace.measures import coherence, conflict
from tasktrace.measures.base import Pass
from tasktrace.measures.journal import Journal
from tasktrace.measures.session import MeasureJob, Session
from tasktrace.measures.trained import TrainedRun
from tasktrace.measures.walk import walk
from tasktrace.progress import reporter
from tasktrace.settings.prepared import Prepared, Tensors, write_prepared
from tasktrace.training.device import configure
from tasktrace.training.engine import Engine
from tasktrace.training.evaluation import evaluate
from tasktrace.training.session import Job, run

SECTIONS = ("fisher", "sharpness", "pass", "checkpoint")
TASKS = ("fashion1", "fashion2", "noisy_fashion")
SIZES = {"train": 25_000, "validation": 5_000, "test": 5_000}
MEASURES = ("sharpness", "fisher", "coherence", "conflict")


class Fashion:
    """A run of one epoch on random images of the shape of ``fashion``, with the tasks that are asked for.

    Args:
        folder: Where its files are written.
        tasks: How many tasks are trained together.
        sizes: Samples of each split of each task.
        batch_size: Samples per batch of training.
    """

    def __init__(self, folder: Path, tasks: int, sizes: dict[str, int], batch_size: int) -> None:
        data = {"name": "fashion", "version": 1, **sizes}
        self.spec: dict[str, Any] = {
            "training": TRAINING_VERSION,
            "setting": "fashion",
            "group": "mtl.random",
            "tasks": list(TASKS[:tasks]),
            "data": data,
            "model": {"name": "lenet", "version": 1},
            "method": {"name": "umtg", "version": 1} if tasks > 1 else None,
            "optimizer": {"name": "adam", "version": 1},
            "point": {"learning_rate": 0.001, "batch_size": batch_size},
            "epochs": 1,
            "checkpoint_every": 1,
            "seed": 0,
        }
        file = folder / "data.safetensors"
        self.prepared: Prepared = write_prepared(file, _random_images(sizes), data)
        self.record = run(Job("fashion/mtl.random/umtg/adam/selected/seed0", self.spec, file, folder))
        self.folder, self.file = folder, file
        self.trained = TrainedRun(self.record, self.prepared, folder, torch.device("cpu"))
        self.trained.load(1)

    def session(self) -> Session:
        """A session that measures everything, with nothing measured so far."""
        measures = {name: {"name": name, "version": 1} for name in MEASURES}
        job = MeasureJob(self.record["run"], {"every": 1, "measures": measures}, self.file, self.folder)
        journal = self.folder / "journal"
        journal.unlink(missing_ok=True)
        return Session(job, self.record, Journal(journal, print), reporter("", 1))

    def engine(self) -> Engine:
        """What trains it."""
        return Engine(self.spec, self.prepared, torch.device("cpu"))


def pass_lines(repeats: int, sizes: dict[str, int]) -> list[Line]:
    """One pass for coherence, empirical Fisher and conflict, over the plain gradients of the same batches."""
    lines = []
    for tasks in (1, 2, 3):
        with tempfile.TemporaryDirectory() as folder:
            fashion = Fashion(Path(folder), tasks, sizes, batch_size=128)
            measures = [coherence.Measure(coherence.Options()), conflict.Measure(conflict.Options())]
            contenders: dict[str, Callable[[], Any]] = {
                "measured": lambda own=fashion, all_=measures: walk(own.trained, Pass(0, 20), all_),
                "gradients": lambda own=fashion: _plain_gradients(own.trained, 20),
            }
            seconds = take_turns(contenders, torch.device("cpu"), repeats)
            what = f"coherence, Fisher, conflict / gradients, LeNet, T={tasks}, 20 batches of 128"
            lines.append(Line("one pass", what, *over(seconds, "measured", "gradients"), bound=1.25))
    return lines


def checkpoint_lines(repeats: int, sizes: dict[str, int]) -> list[Line]:
    """Everything that is measured of a checkpoint, over an epoch of its run."""
    lines = []
    for tasks in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            fashion = Fashion(Path(folder), tasks, sizes, batch_size=256)
            engine = fashion.engine()
            contenders: dict[str, Callable[[], Any]] = {
                "measure": lambda own=fashion: own.session().measure(1),
                "train": lambda own=engine: _train(own),
                "epoch": lambda own=engine: (_train(own), evaluate(own, 1)),
            }
            seconds = take_turns(contenders, torch.device("cpu"), repeats)
        what = f"all measures of a checkpoint / epoch with its evaluation, T={tasks}"
        lines.append(Line("a checkpoint", what, *over(seconds, "measure", "epoch"), bound=0.5))
        what = f"all measures of a checkpoint / epoch without evaluation, T={tasks}"
        lines.append(Line("a checkpoint", what, *over(seconds, "measure", "train")))
    return lines


def _plain_gradients(run: TrainedRun, batches: int) -> None:
    """Every task's gradient of encoder and head on the same batches, and nothing else."""
    for task, head, loss in zip(run.tasks, run.parts.heads, run.parts.objectives, strict=True):
        parameters = [*run.parts.shared, *head.parameters()]
        for rows in run.rows(task, batches * run.batch_size).split(run.batch_size):
            inputs, targets = run.inputs(task, rows)
            torch.autograd.grad(loss(head(run.parts.model.encoder(inputs)), targets), parameters)


def _train(engine: Engine) -> None:
    engine.begin_epoch(0)
    for step in range(engine.steps):
        engine.step(step)


def _random_images(sizes: dict[str, int]) -> Tensors:
    rng = np.random.default_rng(0)
    total = sum(sizes.values())
    tensors: Tensors = {"inputs": rng.integers(0, 256, (2 * total, 1, 28, 28), dtype=np.uint8)}
    for task, first in zip(TASKS, (0, total, total), strict=True):
        for split, size in sizes.items():
            tensors[f"{task}/{split}/index"] = np.arange(first, first + size)
            tensors[f"{task}/{split}/target"] = rng.integers(0, 10, size)
            first += size
    return tensors


def main() -> None:
    """Measure, print the table, and write the numbers if asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small data, two repeats: to see that it runs")
    parser.add_argument("--repeats", type=int, help="turns of every contender (default: 7)")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    given = parser.parse_args()
    configure("cpu", 1)
    repeats = given.repeats or (2 if given.quick else 7)
    sizes = {"train": 3_000, "validation": 100, "test": 100} if given.quick else SIZES
    sections: dict[str, Callable[[], list[Line]]] = {
        "fisher": lambda: measures_fisher.lines(repeats),
        "sharpness": lambda: measures_sharpness.lines(repeats),
        "pass": lambda: pass_lines(repeats, sizes),
        "checkpoint": lambda: checkpoint_lines(repeats, sizes),
    }
    lines = [line for name in given.only for line in sections[name]()]
    print(f"torch {version('torch')}, one thread, medians of {repeats}")
    print(table(lines))
    if given.json:
        given.json.write_text(json.dumps([as_json(line) for line in lines], indent=2))


if __name__ == "__main__":
    main()
