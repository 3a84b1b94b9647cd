"""A trial of training: some steps, an evaluation or a part of one, a state and a checkpoint."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasktrace.planning.trials.bench import Bench
from tasktrace.planning.trials.stopwatch import ENOUGH, SOON, TOO_LONG
from tasktrace.settings.prepared import SPLITS
from tasktrace.training.checkpoints import SHARD_BYTES, EpochFiles
from tasktrace.training.engine import Engine
from tasktrace.training.evaluation import evaluate
from tasktrace.training.resume import Progress, ResumeFolder
from tasktrace.training.tallies import chunk_size
from tasktrace.training.trajectory import Row

Spec = dict[str, Any]

_EPOCHS = 100
"""Of the trajectory that a state holds, to see what rows take."""


def try_training(bench: Bench, spec: Spec) -> Spec:
    """Rates of a run's training.

    Args:
        bench: Where.
        spec: The run's spec.

    Returns:
        ``rates`` (seconds by what :func:`tasktrace.planning.shapes.train_counts` counts), ``checkpoint_bytes`` and
        ``shard_bytes``.
    """
    engine, setup = bench.engine(spec)
    # A run that is watched looks at the first of so many steps.
    epoch = _epoch(bench, engine, min(spec.get("similarity", {}).get("every", 1), engine.steps))
    # Evaluations and checkpoints leave the optimizer and the batches alone.
    work = {name: spec[name] for name in ("data", "model", "tasks")}
    evaluation: float = bench.once("evaluation", work, lambda: evaluation_seconds(bench, engine))
    kept = {**work, "method": spec["method"], "optimizer": spec["optimizer"]["name"]}
    saving: Spec = bench.once("saving", kept, lambda: _saving(bench, engine))
    rates = {"setup": setup, "epoch": epoch, "evaluation": evaluation, **saving["rates"]}
    return {"rates": rates, "checkpoint_bytes": saving["checkpoint_bytes"], "shard_bytes": SHARD_BYTES}


def evaluation_seconds(bench: Bench, engine: Engine) -> float:
    """What one evaluation of all splits takes; of a long one the first samples are evaluated."""
    chunk = chunk_size(engine.data.inputs)
    with _first(engine, 0.0, chunk) as share:
        seconds = bench.watch.seconds(lambda: evaluate(engine, 0)) / share
    with _first(engine, ENOUGH / seconds if seconds > TOO_LONG else 1.0, chunk) as share:
        return bench.watch.typical(lambda: evaluate(engine, 0), SOON) / share


def _epoch(bench: Bench, engine: Engine, group: int) -> float:
    """What an epoch's training takes, of which groups of so many steps are alike."""
    begin = bench.watch.typical(lambda: engine.begin_epoch(0), SOON)
    starts = itertools.cycle(range(0, engine.steps - group + 1, group))

    def take_group() -> None:
        start = next(starts)
        for step in range(start, start + group):
            engine.step(step)

    take_group()  # makes buffers that later steps use again
    return begin + engine.steps * bench.watch.typical(take_group) / group


@contextmanager
def _first(engine: Engine, share: float, fewest: int) -> Iterator[float]:
    """A context in which the engine has a share of every split's samples, and so many at least; yields the share."""
    data = engine.data
    rows, targets = data.rows, data.targets
    sizes = {key: min(len(own), max(fewest, math.ceil(share * len(own)))) for key, own in rows.items()}
    data.rows = {key: own[: sizes[key]] for key, own in rows.items()}
    data.targets = {key: own[: sizes[key]] for key, own in targets.items()}
    try:
        yield sum(sizes.values()) / sum(map(len, rows.values()))
    finally:
        data.rows, data.targets = rows, targets


def _saving(bench: Bench, engine: Engine) -> Spec:
    """What a state and a checkpoint take, and a checkpoint's size."""
    resume = ResumeFolder(bench.folder / "states", "trial", lambda _: None)
    state = bench.watch.typical(lambda: resume.save(engine.state_dict(), Progress()), SOON)
    rows = [
        Row(0, 0, task.name, split, quantity, math.pi)
        for task in engine.tasks
        for split in SPLITS
        for quantity in ("loss", "metric", *task.more_metrics)
    ]
    few = {"losses": engine.losses}
    bare = bench.watch.typical(lambda: resume.save(few, Progress()), SOON)
    full = bench.watch.typical(lambda: resume.save(few, Progress(rows=rows * _EPOCHS)), SOON)
    files = EpochFiles(bench.folder / "checkpoints")
    digests = {0: files.save(0, engine.checkpoint())}
    save = bench.watch.typical(lambda: files.save(0, engine.checkpoint()), SOON)
    pack = bench.watch.typical(lambda: files.pack(digests, Path("packed"), bench.folder), SOON)
    size = sum(path.stat().st_size for path in bench.folder.glob("packed*"))
    rates = {"state": state, "row": max(0.0, full - bare) / _EPOCHS, "checkpoint": save + pack}
    return {"rates": rates, "checkpoint_bytes": size}
