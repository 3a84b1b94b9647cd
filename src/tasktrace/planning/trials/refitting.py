"""A trial of refitting: features of some pictures, steps of each kind of head, and an evaluation."""

import math
from typing import Any

import torch

from tasktrace.config.corruptions import SEVERITIES
from tasktrace.corruption_transfer.data import plan
from tasktrace.corruption_transfer.heads import REMEMBERED_BYTES, Features, Fitting, fit_head
from tasktrace.measures.trained import TrainedRun
from tasktrace.planning.trials.bench import Bench
from tasktrace.planning.trials.stopwatch import ENOUGH
from tasktrace.planning.trials.training import evaluation_seconds
from tasktrace.training.data import Order
from tasktrace.training.tallies import chunk_size

Spec = dict[str, Any]


def try_refitting(bench: Bench, spec: Spec, refit: Spec) -> Spec:
    """Rates of refitting a run, on pictures as they are: corrupted ones take as long.

    Args:
        bench: Where.
        spec: The run's spec.
        refit: ``Study.refit_spec``.

    Returns:
        ``rates``: seconds by what is counted of refitting, ``setup`` and ``refit``.
    """
    work = {name: spec[name] for name in ("data", "model", "tasks")}
    evaluation: float = bench.once("evaluation", work, lambda: evaluation_seconds(bench, bench.engine(spec)[0]))
    run, setup = bench.trained(spec)
    run.load(1)
    chosen = plan(bench.prepared, refit["corruption"]["tasks"], refit["corruption"]["test"])
    tested = [len(chosen.tested[task.name]) for task in run.tasks]
    rounds = 1 + len(refit["corruption"]["names"]) * len(SEVERITIES)
    scoring = rounds * evaluation * _share(run.data.rows, tested, run.data.shared)
    fitting = _Fitting(bench, run, refit, torch.from_numpy(bench.prepared.tensors["inputs"][chosen.train]))
    return {"rates": {"setup": setup, "refit": scoring + fitting.seconds()}}


def _share(rows: dict[tuple[str, str], torch.Tensor], tested: list[int], shared: bool) -> float:
    """The tested samples' share of those that an evaluation goes through; shared ones count once."""
    by_task: dict[str, int] = {}
    for (task, _), own in rows.items():
        by_task[task] = by_task.get(task, 0) + len(own)
    return max(tested) / max(by_task.values()) if shared else sum(tested) / sum(by_task.values())


class _Fitting:
    """The fitting of all heads of a run, tried on the first pictures.

    Args:
        bench: Where.
        run: The run.
        refit: How heads are fitted.
        pictures: All training pictures, (n, C, H, W).
    """

    def __init__(self, bench: Bench, run: TrainedRun, refit: Spec, pictures: torch.Tensor) -> None:
        self._bench, self._run, self._pictures = bench, run, pictures
        self._how = Fitting(refit["optimizer"], refit["learning_rate"], refit["batch_size"], 1)
        self._epochs: int = refit["epochs"]

    def seconds(self) -> float:
        """What the features of all pictures and the steps of all heads take."""
        some = self._some()
        extracting = self._bench.watch.typical(lambda: self._features(some)) / some
        features = self._features(some)
        first = features[torch.zeros(1, dtype=torch.int64, device=self._bench.device)]
        is_kept = first.numel() * first.element_size() * len(self._pictures) <= REMEMBERED_BYTES
        seconds = extracting * len(self._pictures) if is_kept else 0.0
        for number, task in enumerate(self._run.tasks):
            steps = self._epochs * (len(self._run.data.rows[task.name, "train"]) // self._how.batch_size)
            seconds += steps * self._step(number, features, some)
            seconds += 0.0 if is_kept else steps * self._how.batch_size * extracting
        return seconds

    def _step(self, number: int, features: Features, some: int) -> float:
        """What a step of a task's head takes."""
        parts, task = self._run.parts, self._run.tasks[number]
        targets = self._run.data.targets[task.name, "train"]
        positions = torch.arange(some, device=self._bench.device)
        targets = targets[positions % len(targets)]
        order = Order("trial", some, self._how.batch_size, self._run.seed)
        head, objective = parts.heads[number], parts.objectives[number]
        fit = self._bench.watch.typical(
            lambda: fit_head(head, objective, features, positions, targets, self._how, order)
        )
        return fit / order.batches_per_pass

    def _some(self) -> int:
        """As many pictures as take a second, whole batches of training and of passes where there are so many."""
        fewest = min(len(self._pictures), max(chunk_size(self._pictures), self._how.batch_size))
        self._features(fewest)
        seconds = self._bench.watch.seconds(lambda: self._features(fewest))
        return min(len(self._pictures), fewest * max(1, math.floor(ENOUGH / seconds)))

    def _features(self, count: int) -> Features:
        pictures = self._pictures[:count].to(self._bench.device)
        return Features(self._run.parts.model.encoder, self._run.data, pictures)
