"""From the study to its jobs: the same that Snakemake plans, without asking it.

What is done is told by what lies in the folders, a run by the identity of its spec. Of a run that is under way all is
left.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tasktrace.config import Arm, Run, Study
from tasktrace.config.arms import parse_point
from tasktrace.config.declarations import declaration
from tasktrace.config.study import identity
from tasktrace.places import RUNS, corrupted_path, prepared_path, selection_path
from tasktrace.planning import sizes
from tasktrace.planning.analysis_jobs import analysis_jobs
from tasktrace.planning.jobs import (
    CORRUPT,
    GRID,
    MEASURE,
    PREPARE,
    REFIT,
    SELECTED,
    SWEEP,
    Item,
    Job,
    Spec,
    jobs_of,
    pack_name,
)
from tasktrace.planning.prepared_sizes import corrupted_bytes, is_prepared, task_kinds
from tasktrace.planning.shapes import (
    Shape,
    checkpoint_key,
    corrupt_shape,
    kept_checkpoints,
    measure_shape,
    measured_checkpoints,
    refit_shape,
    train_counts,
    train_shape,
)
from tasktrace.tasks import Task


def jobs_of_setting(study: Study, setting: str) -> list[Job]:
    """All jobs that a setting's figures, tables and page take."""
    return _Workload(study, setting).jobs()


class _Workload:
    """The jobs of one setting.

    Args:
        study: The study.
        setting: The setting's name.
    """

    def __init__(self, study: Study, setting: str) -> None:
        self._study, self._setting = study, setting
        self._block = study.find_setting(setting)
        self._kinds = task_kinds(study, setting)
        self._arms, self._grid = study.arms(setting), study.grid_arms(setting)
        self._trained: dict[str, Item] = {}

    def jobs(self) -> list[Job]:
        """All of them, what is made first before what is made of it."""
        if not (self._arms or self._grid):
            return []
        study = self._study
        jobs = [self._prepare()]
        jobs += self._train(self._arms, study.sweep_runs, SWEEP)
        jobs += self._train(self._grid, study.sweep_runs, GRID)
        jobs += self._train([*self._arms, *self._grid], study.selected_runs, SELECTED)
        if self._arms:
            jobs += self._of_selected(self._arms, MEASURE, self._measured)
        if "corruption" in self._block.get("experiments", {}):
            refitted = {run.arm for run in study.refitted_runs_of(self._setting)}
            jobs.append(self._corrupt())
            jobs += self._of_selected([arm for arm in self._grid if arm in refitted], REFIT, self._refitted)
        return jobs + analysis_jobs(study, self._setting, jobs)

    def _prepare(self) -> Job:
        is_done = is_prepared(self._study, self._setting)
        path = self._study.root / prepared_path(self._setting)
        size = path.stat().st_size if is_done else None
        shape = Shape("prepare", {"data": self._study.data_spec(self._setting)})
        return self._job(PREPARE, "prepare", Item(is_done, (shape,), other_bytes=size))

    def _corrupt(self) -> Job:
        study, setting = self._study, self._setting
        spec = study.corruption_spec(setting)
        record = _read(study.root / corrupted_path(setting) / "corrupted.json", "spec")
        is_done = record is not None and record["spec"] == spec
        shape = corrupt_shape(spec, declaration("setting", self._block["setting"]).white)
        return self._job(CORRUPT, "corrupt", Item(is_done, (shape,), other_bytes=corrupted_bytes(study, setting)))

    def _train(self, arms: list[Arm], runs_of: Callable[[Arm], list[Run]], stage: str) -> list[Job]:
        rule = "train_selected" if stage == SELECTED else "train"
        jobs = []
        for arm in arms:
            # An auxiliary set has no sweep of its own.
            own = [run for run in runs_of(arm) if run.arm == arm]
            self._trained.update({run.path: self._train_item(run) for run in own})
            jobs += self._packed(own, stage, rule, self._trained)
        return jobs

    def _of_selected(self, arms: list[Arm], stage: str, item_of: Callable[[Run, Item], Item]) -> list[Job]:
        """The jobs on runs at selected points."""
        jobs = []
        for arm in arms:
            runs = self._study.selected_runs(arm)
            jobs += self._packed(runs, stage, stage, {run.path: item_of(run, self._trained[run.path]) for run in runs})
        return jobs

    def _packed(self, runs: list[Run], stage: str, rule: str, items: Mapping[str, Item]) -> list[Job]:
        folder = "train" if rule.startswith("train") else rule
        return [
            Job(
                self._setting,
                stage,
                rule,
                Path(folder) / f"{pack[0].arm.path}/{pack_name(pack)}.tsv",
                tuple(items[run.path] for run in pack),
            )
            for pack in jobs_of(runs, self._study.resources(self._setting).runs_per_job)
        ]

    def _train_item(self, run: Run) -> Item:
        spec = self._study.run_spec(run)
        record = _read(self._folder(run) / "run.json", "spec")
        if record is not None and identity(record["spec"]) != identity(spec):
            record = None
        pointed = [{**spec, "point": point} for point in self._points(run)] if record is None else [record["spec"]]
        shapes = {shape.key: shape for shape in (train_shape(own, self._kinds) for own in pointed)}
        return Item(
            record is not None,
            tuple(shapes.values()),
            train_counts(spec),
            run,
            spec,
            record,
            sizes.trained(self._folder(run), self._tasks(run.arm), spec["epochs"], "similarity" in spec),
            kept_checkpoints(spec),
            checkpoint_key(spec, self._kinds),
        )

    def _points(self, run: Run) -> list[Spec]:
        """The points that a run may be trained at, one per batch size, with the lowest learning rate."""
        if run.point != SELECTED:
            return [parse_point(run.point)]
        selection = _read(self._study.root / selection_path(run.arm.path), "point")
        if selection is not None:
            return [selection["point"]]
        points = [parse_point(own.point) for own in self._study.sweep_runs(run.arm)]
        lowest = min(point["learning_rate"] for point in points)
        batch_sizes = dict.fromkeys(point["batch_size"] for point in points)
        return [{"learning_rate": lowest, "batch_size": size} for size in batch_sizes]

    def _measured(self, run: Run, trained: Item) -> Item:
        spec = self._study.measure_spec(self._setting)
        assert trained.spec is not None
        record = self._made_of(run, trained, "factors.json", spec)
        shapes = self._shapes_of(trained, lambda own: measure_shape(own, spec["measures"], self._kinds))
        checkpoints = measured_checkpoints(trained.spec, spec["every"])
        names = [block["name"] for block in spec["measures"].values()]
        size = sizes.measured(self._folder(run), len(run.arm.tasks), checkpoints, names)
        counts = {"setup": 1, "checkpoint": checkpoints}
        return Item(record is not None, shapes, counts, run, trained.spec, record, size)

    def _refitted(self, run: Run, trained: Item) -> Item:
        spec = self._study.refit_spec(self._setting)
        record = self._made_of(run, trained, "corrupted.json", spec)
        shapes = self._shapes_of(trained, lambda own: refit_shape(own, spec, self._kinds))
        size = sizes.refitted(self._folder(run), self._tasks(run.arm), len(spec["corruption"]["names"]))
        return Item(record is not None, shapes, {"setup": 1, "refit": 1}, run, trained.spec, record, size)

    def _made_of(self, run: Run, trained: Item, name: str, spec: Spec) -> Spec | None:
        """The record of what was made of a finished run; None if it has to be made."""
        record = _read(self._folder(run) / name, "identity") if trained.record is not None else None
        if record is None or trained.record is None or record["spec"] != spec:
            return None
        return record if record["identity"] == identity(trained.record["spec"]) else None

    def _shapes_of(self, trained: Item, shape_of: Callable[[Spec], Shape]) -> tuple[Shape, ...]:
        """The shapes of what is made of a run, at each of the points that it may be trained at."""
        runs = [shape.example["run"] for shape in trained.shapes if shape.example is not None]
        return tuple({shape.key: shape for shape in map(shape_of, runs)}.values())

    def _job(self, stage: str, rule: str, item: Item) -> Job:
        return Job(self._setting, stage, rule, Path(rule) / f"{self._setting}.tsv", (item,))

    def _tasks(self, arm: Arm) -> list[Task]:
        tasks = declaration("setting", self._block["setting"]).tasks
        return [tasks[name] for name in arm.tasks]

    def _folder(self, run: Run) -> Path:
        return self._study.root / RUNS / run.path


def _read(path: Path, has: str) -> Spec | None:
    """The content of a JSON file that has a key; None if there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and has in content else None
