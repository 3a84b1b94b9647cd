"""A trial of measuring: one checkpoint, or a part of what is measured of it."""

import dataclasses
import importlib
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from tasktrace.config.components import component_options
from tasktrace.config.options import build_options
from tasktrace.measures.base import GradientMeasure, Pass, SampleMeasure
from tasktrace.measures.journal import Journal
from tasktrace.measures.trained import TrainedRun
from tasktrace.measures.walk import walk
from tasktrace.planning.trials.bench import Bench
from tasktrace.planning.trials.stopwatch import SOON, TOO_LONG
from tasktrace.tasks import Task

Spec = dict[str, Any]

_SHORTEST = 2
"""Batches of the shortest pass."""


def try_measuring(bench: Bench, spec: Spec, measures: Spec) -> Spec:
    """Rates of measuring a run.

    Args:
        bench: Where.
        spec: The run's spec.
        measures: The measures by name, of ``Study.measure_spec``.

    Returns:
        ``rates``: seconds by what is counted of measuring, ``setup`` and ``checkpoint``.
    """
    run, setup = bench.trained(spec)
    seconds = bench.watch.typical(lambda: run.load(1), SOON)
    asked: dict[Pass, list[GradientMeasure]] = defaultdict(list)
    for block in measures.values():
        module = importlib.import_module(f"tasktrace.measures.{block['name']}")
        options = build_options(module.Options, component_options(block))
        measure = module.Measure(options)
        if isinstance(measure, GradientMeasure):
            asked[measure.walk].append(measure)
        else:
            # Neither the method nor the batch size of the run has a part in it.
            work = [*(spec[name] for name in ("data", "model", "tasks")), block]
            seconds += bench.once("samples", work, partial(_of_samples, bench, run, module, options))
    seconds += sum(_of_batches(bench, run, wanted, sharing) for wanted, sharing in asked.items())
    journal = Journal(bench.folder / "journal", lambda _: None)
    lines = len(measures) * bench.watch.typical(lambda: journal.add("trial", 1, []), SOON)
    return {"rates": {"setup": setup, "checkpoint": seconds + lines}}


def _of_samples(bench: Bench, run: TrainedRun, module: Any, options: Any) -> float:
    """What a measure of samples takes for all tasks; of one that takes long some batches of a task of each kind."""
    whole: SampleMeasure = module.Measure(options)
    kinds = {(task.loss, task.outputs): task for task in run.tasks}
    counts = Counter((task.loss, task.outputs) for task in run.tasks)
    seconds = 0.0
    for kind, task in kinds.items():
        available = min(whole.samples, run.population(task))
        size = min(getattr(options, "batch_size", available), available)

        def work(batches: int, task: Task = task, size: int = size) -> Callable[[], object]:
            part = batches * size
            own = module.Measure(dataclasses.replace(options, samples=part)) if part < whole.samples else whole
            return lambda: own.measure(run.subject(task, own.samples))

        seconds += counts[kind] * _scaled(bench, work, 1, available // size)
    return seconds


def _of_batches(bench: Bench, run: TrainedRun, wanted: Pass, sharing: list[GradientMeasure]) -> float:
    """What a pass over mini-batches takes; of a long one its first batches."""
    size = wanted.batch_size or run.batch_size
    batches = min(wanted.batches, min(run.population(task) for task in run.tasks) // size)

    def work(count: int) -> Callable[[], object]:
        return lambda: walk(run, Pass(size, count), sharing)

    return _scaled(bench, work, _SHORTEST, batches)


def _scaled(bench: Bench, work: Callable[[int], Callable[[], object]], fewest: int, batches: int) -> float:
    """What work on so many batches takes, from as many of them as fit into the time that a trial may take."""
    bench.watch.seconds(work(fewest))  # what is made at the first call
    one = bench.watch.seconds(work(fewest)) / fewest
    fitting = max(fewest, min(batches, int(TOO_LONG / one)))
    return batches / fitting * bench.watch.typical(work(fitting))
