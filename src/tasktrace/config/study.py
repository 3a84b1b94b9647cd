"""The study as configured: which runs there are, where each lives, and what makes each one stale."""

import functools
import json
import math
import os
import random
from collections.abc import Callable
from pathlib import Path

from tasktrace.config import corruptions
from tasktrace.config.arms import AUXILIARY, SELECTED, Arm, Run, parse_point, point_name
from tasktrace.config.checks import check_analysis, check_setting
from tasktrace.config.components import Spec, component, named
from tasktrace.config.declarations import declaration
from tasktrace.config.experiments import (
    best_run_spec,
    best_runs,
    grid_arms,
    grid_runs,
    in_grid,
    is_refitted,
    is_watched,
)
from tasktrace.config.loading import merged, read_yaml, validate
from tasktrace.config.packing import Pack, packs
from tasktrace.config.resources import Resources
from tasktrace.errors import ConfigError
from tasktrace.files import digest
from tasktrace.seeding import derive_seed
from tasktrace.tasks import Task

TRAINING_VERSION = 2
"""Raised when the training loop, the evaluation, the order of the data or what a checkpoint holds changes."""

REFIT_VERSION = 1
"""Raised when the fitting of heads to corrupted data, or its evaluation, changes."""


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
        block = self.find_setting(setting).get("experiments")
        noise = [task.name for task in self._tasks(setting).values() if task.is_noise]
        return grid_arms(setting, block, noise)

    def grid_runs_of(self, setting: str) -> list[Run]:
        """All runs of a setting's grid."""
        return [run for arm in self.grid_arms(setting) for run in self.sweep_runs(arm)]

    def watched_runs_of(self, setting: str) -> list[Run]:
        """The runs of a setting's grid in which gradients of single samples are compared."""
        return self._best_runs_of(setting, is_watched)

    def refitted_runs_of(self, setting: str) -> list[Run]:
        """The runs of a setting's grid whose heads are refitted on corrupted data."""
        return self._best_runs_of(setting, is_refitted)

    def _best_runs_of(self, setting: str, which: Callable[[Arm, Spec], bool]) -> list[Run]:
        arms = [arm for arm in self.grid_arms(setting) if which(arm, self.settings[setting]["experiments"])]
        return [run for arm in arms for run in self.selected_runs(arm)]

    def candidate_runs(self, arm: Arm) -> list[Run]:
        """The runs that an arm's point is chosen from: its sweep; in a grid with the baseline of Delta_m."""
        if not in_grid(arm) or arm.method is None:
            return self.sweep_runs(arm)
        alone = [other for other in self.grid_arms(arm.setting) if other.method is None]
        return [run for own in (*alone, arm) for run in self.sweep_runs(own)]

    def sweep_runs(self, arm: Arm) -> list[Run]:
        """The arm's runs at every point of its sweep; of an arm of study B's grid, all of its runs.

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
        """The arm's runs at its selected point, one per seed; in a grid only where something needs them."""
        if in_grid(arm):
            return best_runs(arm, self.settings[arm.setting]["experiments"], self.config["seeds"])
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

    def resources(self, setting: str) -> Resources:
        """What a setting's jobs take of a machine."""
        return Resources.read(self.find_setting(setting).get("resources", {}))

    def sweep_packs(self) -> list[Pack]:
        """How the runs of sweeps and grids are packed into jobs."""
        return self._packs(self.sweep_runs)

    def selected_packs(self) -> list[Pack]:
        """How the runs at selected points are packed into jobs, to be trained and to be measured or refitted."""
        return self._packs(self.selected_runs)

    def _packs(self, runs_of: Callable[[Arm], list[Run]]) -> list[Pack]:
        return packs(list(self.arms_by_path.values()), runs_of, lambda setting: self.resources(setting).runs_per_job)

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
        return component("setting", block["setting"], block["data"], f"{self._file(setting)}: data")

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
            "model": named("model", block["model"], f"{self._file(run.arm.setting)}: model"),
            "method": None if run.arm.method is None else self._method(run.arm.method),
            "optimizer": self._run_optimizer(run),
            "point": parse_point(run.point) if is_sweep else None,
            **self._training(run, is_sweep),
            "seed": run.seed,
        }

    def _run_optimizer(self, run: Run) -> Spec:
        """The optimizer of a run; study B's grid may have a weight decay for all of its optimizers."""
        decay = self.settings[run.arm.setting].get("experiments", {}).get("weight_decay")
        if decay is None or not in_grid(run.arm):
            return self._optimizer(run.arm.optimizer)
        block = {**self.config["optimizers"][run.arm.optimizer], "weight_decay": decay}
        return named("optimizer", block, f"{self._file(run.arm.setting)}: experiments.weight_decay")

    def _training(self, run: Run, is_sweep: bool) -> Spec:
        """How long a run trains, what it keeps, and what its arm asks for beside the defaults."""
        block = self.settings[run.arm.setting]
        if in_grid(run.arm):
            experiments = block["experiments"]
            return {
                **training_options(experiments),
                **best_run_spec(run, experiments),
                "epochs": experiments["epochs"],
                "checkpoint_every": 0,
            }
        training = block["training"]
        return {
            **training_options(training),
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
                named("measure", {**block, **own[name]}, f"{where}.{name}") if name in own else self._measure(name)
            )
        return {"every": measuring["every"], "measures": measures}

    def corruption_spec(self, setting: str) -> Spec:
        """What a setting's corrupted data is made of."""
        block = self._corruption(setting)
        return {
            "version": corruptions.VERSION,
            "data": self.data_spec(setting),
            "tasks": list(self.settings[setting]["experiments"]["tasks"]),
            "names": [name for name in corruptions.NAMES if name not in block["leave_out"]],
            "test": block.get("test"),
        }

    def refit_spec(self, setting: str) -> Spec:
        """How the heads of a setting's runs are fitted to corrupted data."""
        refit = self._corruption(setting)["refit"]
        return {
            "version": REFIT_VERSION,
            "corruption": self.corruption_spec(setting),
            **refit,
            "optimizer": self._optimizer(refit["optimizer"]),
        }

    def _corruption(self, setting: str) -> Spec:
        block: Spec | None = self.find_setting(setting).get("experiments", {}).get("corruption")
        if block is None:
            raise ConfigError(
                f"{self._file(setting)}: no experiments.corruption, so there is nothing to corrupt or refit"
            )
        return block

    def factor_options(self, setting: str) -> Spec:
        """What the tables of the setting's factors depend on beside its runs."""
        return {
            **self.config["analysis"],
            "baseline": self.find_setting(setting)["methods"][0],
            "auxiliary": {
                target: [f"mtl.{group}" for group in groups] for target, groups in self.auxiliary[setting].items()
            },
        }

    def study_spec(self, name: str) -> Spec:
        """Version and options of a small study."""
        return component("study", name, self.config["studies"].get(name, {}), f"{self.where}: studies.{name}")

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
        return {f"{AUXILIARY}{target}_{number:02d}": (target, *tasks) for number, tasks in enumerate(drawn)}

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
        check_analysis(self.config, self.where)
        for name in self.config.get("overrides", {}):
            if name not in self.setting_names():
                raise ConfigError(
                    f"{self.where}: overrides.{name}: not a setting of this study; found in settings and demo: "
                    f"{', '.join(self.setting_names())}"
                )

    def _check_setting(self, name: str) -> None:
        block, file = self.settings[name], self._file(name)
        named("model", block["model"], f"{file}: model")
        check_setting(block, self.config, self._tasks_alone(name) if "groups" in block else [], file)
        self.data_spec(name)
        if "groups" in block:
            self.measure_spec(name)

    def _method(self, name: str) -> Spec:
        return named("method", self.config["methods"][name], f"{self.where}: methods.{name}")

    def _optimizer(self, name: str) -> Spec:
        return named("optimizer", self.config["optimizers"][name], f"{self.where}: optimizers.{name}")

    def _measure(self, name: str) -> Spec:
        return named("measure", self.config["measures"][name], f"{self.where}: measures.{name}")


_CHOSEN = ("point", "best_epoch")
"""What of a selected run's spec its selection file says."""


_TRAINING_OPTIONS = {"jacobian": "full", "augmentation": "none", "precision": "float32", "schedule": None}
"""What a block may say of how its runs train, with the defaults, which no spec mentions."""


def training_options(block: Spec) -> Spec:
    """What a block of study A's or study B's runs says of how they train, beside what all runs have to say."""
    said = {name: block.get(name, default) for name, default in _TRAINING_OPTIONS.items()}
    return {name: value for name, value in said.items() if value != _TRAINING_OPTIONS[name]}


def identity(spec: Spec) -> str:
    """A run's spec in sixteen characters, but for its point, which its path or its selection says."""
    return digest({name: value for name, value in spec.items() if name not in _CHOSEN} | {"point": None})[:16]


def run_path(text: str) -> str:
    """The path below ``results/runs`` of a run's folder, however it is written."""
    path = os.path.normpath(text)
    _, found, below = path.partition("results/runs/")
    return below if found else path


def resolved(spec: Spec, selection: Path) -> Spec:
    """The spec with its point: its own, or for a selected run the one that ``select`` wrote.

    Raises:
        ConfigError: The selection is needed and absent, or does not name the best epoch that is needed.
    """
    if spec["point"] is not None:
        return spec
    if not selection.exists():
        raise ConfigError(f"{selection}: no selection for this run yet; run `snakemake --cores 1 {selection}`")
    chosen = json.loads(selection.read_text(encoding="utf-8"))
    if "best_epoch" not in spec:
        return {**spec, "point": chosen["point"]}
    best = chosen.get("epochs", {}).get(str(spec["seed"]))
    if best is None:
        raise ConfigError(
            f"{selection}: names no best epoch of seed {spec['seed']}, so it is older than the study; delete it and "
            f"run `snakemake --cores 1 {selection}`"
        )
    return {**spec, "point": chosen["point"], "best_epoch": best}
