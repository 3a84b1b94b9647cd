"""The study as configured: which runs there are, where each lives, and what makes each one stale."""

import functools
import json
import math
import os
import random
from pathlib import Path
from typing import Any

from tasktrace.config.arms import SELECTED, Arm, Run, parse_point, point_name
from tasktrace.config.declarations import Declaration, declaration
from tasktrace.config.experiments import (
    SIMILARITY_FIGURES,
    grid_arms,
    grid_runs,
    grid_schedule,
    in_grid,
    watch_spec,
    watched_runs,
)
from tasktrace.config.loading import merged, read_yaml, validate
from tasktrace.config.options import check_options
from tasktrace.config.small_studies import SHOWN
from tasktrace.errors import ConfigError
from tasktrace.files import digest
from tasktrace.seeding import derive_seed
from tasktrace.tasks import Task

TRAINING_VERSION = 2
"""Raised when the training loop, the evaluation, the order of the data or what a checkpoint holds changes."""

Spec = dict[str, Any]


class Study:
    """The checked configuration and the runs that follow from it.

    Args:
        config: The content of ``config/config.yaml`` (Snakemake's ``config``).
        root: The project's folder, which holds ``config/settings`` and ``workflow/schemas``.
        where: What to call the source of ``config`` in messages.

    Attributes:
        auxiliary: Section 5's auxiliary sets: by setting and target task, the groups and their tasks, the target first.

    Raises:
        ConfigError: Anything that cannot be run, before any job starts.
    """

    def __init__(self, config: Spec, root: Path = Path(), where: str = "config/config.yaml") -> None:
        self.root = root
        self.where = where
        validate(config, root / "workflow/schemas/config.schema.yaml", where)
        self.config = config
        if not self.setting_names():
            raise ConfigError(
                f"{where}: settings and demo name no setting; config/settings/ has: {self._known_settings()}"
            )
        self._check_components()
        self.settings = {name: self._read_setting(name) for name in self.setting_names()}
        for name in self.settings:
            self._check_setting(name)
        self.auxiliary = {name: self._auxiliary_groups(name) for name in self.settings}

    @classmethod
    def load(cls, root: Path = Path()) -> "Study":
        """The study configured below ``root``."""
        path = root / "config/config.yaml"
        return cls(read_yaml(path), root, str(path))

    def setting_names(self) -> list[str]:
        """Every setting that a target covers, in the configured order."""
        return list(dict.fromkeys([*self.config["settings"], *self.config["demo"]]))

    def find_setting(self, name: str) -> Spec:
        """The checked block of a setting.

        Raises:
            ConfigError: The study has no such setting.
        """
        if name not in self.settings:
            raise ConfigError(f"{name}: not a setting of this study; it has: {', '.join(self.settings)}")
        return self.settings[name]

    def arms(self, setting: str) -> list[Arm]:
        """All arms of a setting: tasks alone, each group under each method, and section 5's auxiliary sets.

        The tasks alone are those of the groups, or those of the setting's ``alone``, and the auxiliary sets' targets.
        """
        block = self.find_setting(setting)
        if "groups" not in block:
            return []
        groups = {f"mtl.{name}": tuple(group["tasks"]) for name, group in block["groups"].items()}
        alone = self._tasks_alone(setting)
        arms = [
            Arm(setting, f"mtl.{group}", tasks, block["methods"][0], block["optimizers"][0])
            for groups_of_target in self.auxiliary[setting].values()
            for group, tasks in groups_of_target.items()
        ]
        for optimizer in block["optimizers"]:
            arms += [Arm(setting, f"stl.{task}", (task,), None, optimizer) for task in alone]
            arms += [
                Arm(setting, group, tasks, method, optimizer)
                for method in block["methods"]
                for group, tasks in groups.items()
            ]
        return arms

    def grid_arms(self, setting: str) -> list[Arm]:
        """The arms of study B's grid over the setting's tasks; none if the setting has no ``experiments``."""
        return grid_arms(setting, self.find_setting(setting).get("experiments"))

    def grid_runs_of(self, setting: str) -> list[Run]:
        """All runs of a setting's grid."""
        return [run for arm in self.grid_arms(setting) for run in self.sweep_runs(arm)]

    def watched_runs_of(self, setting: str) -> list[Run]:
        """The runs of a setting's grid in which gradients of single samples are compared."""
        return [run for arm in self.grid_arms(setting) for run in self.selected_runs(arm)]

    def sweep_runs(self, arm: Arm) -> list[Run]:
        """The runs among which the arm's point is chosen; of an arm of study B's grid, all of its runs.

        For an auxiliary set they are the target's own when it is alone: all sets of a target share a point, so that
        what differs between them is the set.
        """
        if in_grid(arm):
            return grid_runs(arm, self.settings[arm.setting]["experiments"], self.config["seeds"])
        for target, groups in self.auxiliary[arm.setting].items():
            if arm.group.removeprefix("mtl.") in groups:
                arm = Arm(arm.setting, f"stl.{target}", (target,), None, arm.optimizer)
        sweep = self.settings[arm.setting]["sweep"]
        points = [point_name(rate, size) for rate in sweep["learning_rates"] for size in sweep["batch_sizes"]]
        return [Run(arm, point, sweep["seed"]) for point in points]

    def selected_runs(self, arm: Arm) -> list[Run]:
        """The arm's runs at its selected point, one per seed; in a grid only those that are watched."""
        if in_grid(arm):
            return watched_runs(arm, self.settings[arm.setting]["experiments"], self.config["seeds"])
        return [Run(arm, SELECTED, seed) for seed in self.config["seeds"]]

    def selected_runs_of(self, setting: str) -> list[Run]:
        """All runs of a setting at their selected points."""
        return [run for arm in self.arms(setting) for run in self.selected_runs(arm)]

    @functools.cached_property
    def runs(self) -> dict[str, Run]:
        """Every run of the study by its path."""
        runs = [run for arm in self.arms_by_path.values() for run in [*self.sweep_runs(arm), *self.selected_runs(arm)]]
        return {run.path: run for run in runs}

    @functools.cached_property
    def arms_by_path(self) -> dict[str, Arm]:
        """Every arm of the study by its path."""
        arms = [arm for setting in self.settings for arm in [*self.arms(setting), *self.grid_arms(setting)]]
        return {arm.path: arm for arm in arms}

    def find_run(self, path: str) -> Run:
        """The run whose folder is ``path``, given from the project's folder or below ``results/runs``.

        Raises:
            ConfigError: The study has no such run.
        """
        run = self.runs.get(run_path(path))
        if run is None:
            raise ConfigError(
                f"{path}: not a run of this study; runs look like results/runs/{next(iter(self.runs))}, "
                "and `snakemake -n all` lists those that are missing"
            )
        return run

    def find_arm(self, path: str) -> Arm:
        """The arm at ``path`` below ``results/runs``.

        Raises:
            ConfigError: The study has no such arm.
        """
        if path not in self.arms_by_path:
            raise ConfigError(f"{path}: not an arm of this study; it has: {', '.join(self.arms_by_path)}")
        return self.arms_by_path[path]

    def data_spec(self, setting: str) -> Spec:
        """What the setting's prepared data is made of; a change makes data and runs stale."""
        block = self.find_setting(setting)
        return self._component("setting", block["setting"], block["data"], f"{self._file(setting)}: data")

    def run_spec(self, run: Run) -> Spec:
        """Everything that a run's result depends on, with options at their defaults left out.

        A selected run's learning rate and batch size are in its selection file, so ``point`` is null here.
        """
        block = self.settings[run.arm.setting]
        is_sweep = run.point != SELECTED
        return {
            "training": TRAINING_VERSION,
            "setting": run.arm.setting,
            "group": run.arm.group,
            "tasks": list(run.arm.tasks),
            "data": self.data_spec(run.arm.setting),
            "model": self._named("model", block["model"], f"{self._file(run.arm.setting)}: model"),
            "method": None if run.arm.method is None else self._method(run.arm.method),
            "optimizer": self._optimizer(run.arm.optimizer),
            "point": parse_point(run.point) if is_sweep else None,
            **self._training(run, is_sweep),
            "seed": run.seed,
        }

    def _training(self, run: Run, is_sweep: bool) -> Spec:
        """How long a run trains, what it keeps, and what its arm asks for beside the defaults."""
        block = self.settings[run.arm.setting]
        if in_grid(run.arm):
            experiments = block["experiments"]
            return {
                **grid_schedule(experiments),
                **watch_spec(run, experiments),
                "epochs": experiments["epochs"],
                "checkpoint_every": 0,
            }
        training = block["training"]
        return {
            **({"jacobian": training["jacobian"]} if training.get("jacobian", "full") != "full" else {}),
            "epochs": block["sweep"]["epochs"] if is_sweep else training["epochs"],
            "checkpoint_every": 0 if is_sweep else training["checkpoint_every"],
        }

    def measure_spec(self, setting: str) -> Spec:
        """What is measured of the setting's runs: every how many epochs, and by name which measures."""
        measuring = self.find_setting(setting)["measuring"]
        own, where = measuring.get("options", {}), f"{self._file(setting)}: measuring.options"
        measures = {}
        for name in measuring["measures"]:
            block = self.config["measures"][name]
            measures[name] = (
                self._named("measure", {**block, **own[name]}, f"{where}.{name}")
                if name in own
                else self._measure(name)
            )
        return {"every": measuring["every"], "measures": measures}

    def factor_options(self, setting: str) -> Spec:
        """What the tables of the setting's factors depend on beside its runs."""
        return {
            **self.config["analysis"],
            "baseline": self.find_setting(setting)["methods"][0],
            "auxiliary": {
                target: [f"mtl.{group}" for group in groups] for target, groups in self.auxiliary[setting].items()
            },
        }

    def figures_of(self, setting: str) -> list[str]:
        """Both studies' figures that can be drawn of a setting.

        Figure A4 compares methods with the first one, A5 and A6 need auxiliary sets, study B's need ``experiments``.
        """
        block = self.find_setting(setting)
        grid = ["b2", "b_a3"] if "experiments" in block else []
        grid += ["b4", "b_a5", "b_a6", "b_a7"] if "similarity" in block.get("experiments", {}) else []
        if "groups" not in block:
            return grid
        compared = ["a4"] if len(block["methods"]) > 1 else []
        conflict = ["a5", "a6"] if self.auxiliary[setting] else []
        return ["a1", "a2", "a3", *compared, *conflict, *grid]

    def tables_of(self, setting: str) -> list[str]:
        """Both studies' tables that can be made of a setting."""
        block = self.find_setting(setting)
        return [table for table, needs in (("tab_a1", "groups"), ("tab_b2", "experiments")) if needs in block]

    def study_spec(self, name: str) -> Spec:
        """Version and options of a small study."""
        return self._component("study", name, self.config["studies"].get(name, {}), f"{self.where}: studies.{name}")

    def study_figure(self, name: str) -> Spec:
        """What a figure or table of a small study shows, and how it is drawn."""
        rates = {"learning_rates": self.learning_rates_of_toy} if name == "tab_b1" else {}
        return {**SHOWN[name], **rates, **self.config["figures"].get(name, {})}

    @property
    def learning_rates_of_toy(self) -> list[float]:
        """The toy study's grid."""
        options = declaration("study", "toy").options(**component_options(self.study_spec("toy")))
        return list(options.learning_rates)

    def figure(self, name: str, setting: str) -> Spec:
        """What a figure or table of one setting shows, and how it is drawn.

        Returns:
            ``task``, ``optimizer``, ``method`` and ``curves`` (groups with their labels, single-task first) as the
            setting's ``figures.a1`` chooses them; ``metric`` (of the task), ``metrics`` (of all), ``labels`` (of all
            groups), ``baseline`` and ``methods``, ``auxiliary`` (target to groups), ``factors``, ``band``,
            ``aggregation``, and the figure's size. For study B's grid ``optimizers`` in the study's order.
        """
        block = self.find_setting(setting)
        if name.startswith(("b", "tab_b")):
            shown = SIMILARITY_FIGURES.get(name, {})
            return {**self._grid_shown(setting), **shown, **self.config["figures"].get(name, {})}
        a1 = block["figures"]["a1"]
        labels = {f"mtl.{group}": members["label"] for group, members in block["groups"].items()}
        groups = [{"group": f"mtl.{group}", "label": labels[f"mtl.{group}"]} for group in a1["groups"]]
        return {
            "setting": setting,
            "task": a1["task"],
            "optimizer": a1.get("optimizer", block["optimizers"][0]),
            "method": a1.get("method", block["methods"][0]),
            "curves": [{"group": f"stl.{a1['task']}", "label": "STL"}, *groups],
            "metric": self._task(setting, a1["task"]).metric,
            "metrics": {task.name: task.metric for task in self._tasks(setting).values()},
            "labels": labels,
            "baseline": block["methods"][0],
            "methods": block["methods"][1:],
            "auxiliary": self.factor_options(setting)["auxiliary"],
            "factors": self.config["analysis"]["factors"],
            "band": self.config["analysis"]["band"],
            "aggregation": self.config["analysis"]["aggregation"],
            **self.config["figures"].get(name, {}),
        }

    def _grid_shown(self, setting: str) -> Spec:
        """What the figures and the table of a setting's grid show."""
        used = {arm.optimizer for arm in self.grid_arms(setting) if arm.method is not None}
        ordered = [optimizer for optimizer in self.config["optimizers"] if optimizer in used]
        return {"setting": setting, "optimizers": ordered, "labels": {}}

    def _tasks_alone(self, setting: str) -> list[str]:
        block = self.settings[setting]
        grouped = dict.fromkeys(task for group in block["groups"].values() for task in group["tasks"])
        targets = block.get("auxiliary", {}).get("targets", [])
        return list(dict.fromkeys([*block.get("alone", grouped), *targets]))

    def _auxiliary_groups(self, setting: str) -> dict[str, dict[str, tuple[str, ...]]]:
        """By target the groups of its auxiliary sets, drawn from the setting's other tasks."""
        block = self.settings[setting].get("auxiliary")
        if block is None:
            return {}
        return {target: self._drawn_sets(setting, target, block) for target in block["targets"]}

    def _drawn_sets(self, setting: str, target: str, block: Spec) -> dict[str, tuple[str, ...]]:
        """Different random sets of the other tasks, the same for the same seed."""
        others = [task for task in self._tasks(setting) if task != target]
        possible = math.comb(len(others), block["size"])
        if possible < block["sets"]:
            raise ConfigError(
                f"{self._file(setting)}: auxiliary: {block['sets']} different sets of {block['size']} are asked for, "
                f"but the setting has {len(others)} tasks beside {target!r}, which make {possible}"
            )
        drawing = random.Random(derive_seed(block["seed"], "auxiliary", target))
        drawn: dict[tuple[str, ...], None] = {}
        while len(drawn) < block["sets"]:
            drawn[tuple(others[place] for place in sorted(drawing.sample(range(len(others)), block["size"])))] = None
        return {f"aux_{target}_{number:02d}": (target, *tasks) for number, tasks in enumerate(drawn)}

    def _tasks(self, setting: str) -> dict[str, Task]:
        return declaration("setting", self.settings[setting]["setting"]).tasks

    def _task(self, setting: str, name: str) -> Task:
        return self._tasks(setting)[name]

    def _file(self, setting: str) -> str:
        """What to call the source of a setting's block in messages."""
        path = self.root / f"config/settings/{setting}.yaml"
        is_overridden = setting in self.config.get("overrides", {})
        return f"{path} with overrides.{setting} of {self.where}" if is_overridden else str(path)

    def _known_settings(self) -> str:
        return ", ".join(sorted(file.stem for file in (self.root / "config/settings").glob("*.yaml")))

    def _read_setting(self, name: str) -> Spec:
        path = self.root / f"config/settings/{name}.yaml"
        if not path.exists():
            raise ConfigError(f"{self.where}: unknown setting {name!r}; config/settings/ has: {self._known_settings()}")
        block = merged(read_yaml(path), self.config.get("overrides", {}).get(name, {}))
        validate(block, self.root / "workflow/schemas/setting.schema.yaml", self._file(name))
        return block

    def _check_components(self) -> None:
        for name in self.config["methods"]:
            self._method(name)
        for name in self.config["optimizers"]:
            self._optimizer(name)
        for name in self.config["measures"]:
            self._measure(name)
        for name in self.config["studies"]:
            self.study_spec(name)
        for factor, measure in self.config["analysis"]["factors"].items():
            where = f"{self.where}: analysis.factors.{factor}"
            _check_known(measure.partition(".")[0], self.config["measures"], "measure", where)
        self._check_bins()
        for name in self.config.get("overrides", {}):
            if name not in self.setting_names():
                raise ConfigError(
                    f"{self.where}: overrides.{name}: not a setting of this study; found in settings and demo: "
                    f"{', '.join(self.setting_names())}"
                )

    def _check_bins(self) -> None:
        analysis = self.config["analysis"]
        for name in ("early_bins", "end_bins"):
            first, last = analysis[name]
            if not first <= last <= analysis["bins"]:
                raise ConfigError(
                    f"{self.where}: analysis.{name}: expected the first and the last of {analysis['bins']} bins, "
                    f"counted from 1, found {[first, last]}"
                )

    def _check_setting(self, name: str) -> None:
        block, file = self.settings[name], self._file(name)
        self._named("model", block["model"], f"{file}: model")
        tasks = self._declared("setting", block["setting"], f"{file}: setting").tasks
        self.data_spec(name)
        if not {"groups", "experiments"} & block.keys():
            raise ConfigError(f"{file}: nothing to train: give it groups (study A), experiments (study B), or both")
        if "groups" in block:
            self._check_groups(block, tasks, file)
            self.measure_spec(name)
            self._check_figure(name)
        if "experiments" in block:
            self._check_experiments(block, tasks, f"{file}: experiments")

    def _check_groups(self, block: Spec, tasks: dict[str, Task], file: str) -> None:
        for group, members in block["groups"].items():
            for task in members["tasks"]:
                _check_known(task, tasks, "task", f"{file}: groups.{group}.tasks")
        for task in block.get("alone", []):
            _check_known(task, tasks, "task", f"{file}: alone")
        for task in block.get("auxiliary", {}).get("targets", []):
            _check_known(task, tasks, "task", f"{file}: auxiliary.targets")
        for entry in block["measuring"]["measures"]:
            _check_known(entry, self.config["measures"], "measure", f"{file}: measuring.measures")
        for entry in block["measuring"].get("options", {}):
            _check_known(entry, block["measuring"]["measures"], "measure", f"{file}: measuring.options")
        for kind in ("methods", "optimizers"):
            for entry in block[kind]:
                _check_known(entry, self.config[kind], kind.removesuffix("s"), f"{file}: {kind}")

    def _check_experiments(self, block: Spec, tasks: dict[str, Task], where: str) -> None:
        experiments = block["experiments"]
        shares_inputs = declaration("setting", block["setting"]).shared_inputs
        for task in experiments["tasks"]:
            _check_known(task, tasks, "task", f"{where}.tasks")
        for optimizer in experiments["alone"]["optimizers"]:
            _check_known(optimizer, self.config["optimizers"], "optimizer", f"{where}.alone.optimizers")
        for method, optimizers in experiments["methods"].items():
            _check_known(method, self.config["methods"], "method", f"{where}.methods")
            for optimizer in optimizers:
                _check_known(optimizer, self.config["optimizers"], "optimizer", f"{where}.methods.{method}")
        watched = experiments.get("similarity")
        if watched is not None:
            _check_known(watched["method"], experiments["methods"], "method", f"{where}.similarity.method")
            known = experiments["methods"][watched["method"]]
            _check_known(watched["optimizer"], known, "optimizer", f"{where}.similarity.optimizer")
            if not shares_inputs:
                raise ConfigError(
                    f"{where}.similarity: gradients of different tasks are compared on the same sample, and the tasks "
                    "of this setting have inputs of their own; take it out, or choose a setting that shares inputs"
                )

    def _check_figure(self, name: str) -> None:
        block, where = self.settings[name], f"{self._file(name)}: figures.a1"
        a1 = block["figures"]["a1"]
        _check_known(a1["task"], self._tasks_alone(name), "task", f"{where}.task")
        for group in a1["groups"]:
            _check_known(group, block["groups"], "group", f"{where}.groups")
            if a1["task"] not in block["groups"][group]["tasks"]:
                raise ConfigError(f"{where}.groups: group {group!r} does not train the figure's task {a1['task']!r}")
        for kind in ("method", "optimizer"):
            if kind in a1:
                _check_known(a1[kind], block[f"{kind}s"], kind, f"{where}.{kind}")

    def _method(self, name: str) -> Spec:
        return self._named("method", self.config["methods"][name], f"{self.where}: methods.{name}")

    def _optimizer(self, name: str) -> Spec:
        return self._named("optimizer", self.config["optimizers"][name], f"{self.where}: optimizers.{name}")

    def _measure(self, name: str) -> Spec:
        return self._named("measure", self.config["measures"][name], f"{self.where}: measures.{name}")

    def _named(self, kind: str, block: Spec, where: str) -> Spec:
        """The spec of a block such as ``{method: umtg, scale: sum}``, whose key ``kind`` names the component."""
        options = {key: value for key, value in block.items() if key != kind}
        return self._component(kind, block[kind], options, where)

    def _component(self, kind: str, name: str, options: Spec, where: str) -> Spec:
        declared = self._declared(kind, name, where)
        packages = {"packages": declared.packages} if declared.packages else {}
        return {
            "name": name,
            "version": declared.version,
            **packages,
            **check_options(declared.options, options, where),
        }

    @staticmethod
    def _declared(kind: str, name: str, where: str) -> Declaration:
        try:
            return declaration(kind, name)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None


def identity(spec: Spec) -> str:
    """A run's spec in sixteen characters, but for its point, which its path or its selection says."""
    return digest({**spec, "point": None})[:16]


def run_path(text: str) -> str:
    """The path below ``results/runs`` of a run's folder, however it is written."""
    path = os.path.normpath(text)
    _, found, below = path.partition("results/runs/")
    return below if found else path


def resolved(spec: Spec, selection: Path) -> Spec:
    """The spec with its point: its own, or for a selected run the one that ``select`` wrote.

    Raises:
        ConfigError: The selection is needed and absent.
    """
    if spec["point"] is not None:
        return spec
    if not selection.exists():
        raise ConfigError(f"{selection}: no selection for this run yet; run `snakemake --cores 1 {selection}`")
    return {**spec, "point": json.loads(selection.read_text(encoding="utf-8"))["point"]}


def component_options(spec: Spec) -> Spec:
    """The options in a component's part of a spec."""
    return {key: value for key, value in spec.items() if key not in ("name", "version", "packages")}


def _check_known(name: str, known: Any, kind: str, where: str) -> None:
    if name not in known:
        raise ConfigError(f"{where}: unknown {kind} {name!r}; allowed: {', '.join(known)}")
