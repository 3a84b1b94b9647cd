"""What has to hold between the parts of a configuration, beyond what its schema says of each."""

from collections.abc import Collection
from typing import Any

from tasktrace.config.arms import AUXILIARY
from tasktrace.config.components import check_known, declared_at
from tasktrace.config.corruptions import NAMES
from tasktrace.config.declarations import Declaration
from tasktrace.errors import ConfigError

Spec = dict[str, Any]


def check_analysis(config: Spec, where: str) -> None:
    """Refuse factors of measures that there are not, and bins that there are not.

    Args:
        config: The whole configuration.
        where: What to call its source.

    Raises:
        ConfigError: See above.
    """
    analysis = config["analysis"]
    for factor, measure in analysis["factors"].items():
        check_known(measure.partition(".")[0], config["measures"], "measure", f"{where}: analysis.factors.{factor}")
    for name in ("early_bins", "end_bins"):
        first, last = analysis[name]
        if not first <= last <= analysis["bins"]:
            raise ConfigError(
                f"{where}: analysis.{name}: expected the first and the last of {analysis['bins']} bins, "
                f"counted from 1, found {[first, last]}"
            )


def check_setting(block: Spec, config: Spec, tasks_alone: Collection[str], file: str) -> None:
    """Refuse a setting that names what there is not, or has nothing to train.

    Args:
        block: The setting's block.
        config: The whole configuration.
        tasks_alone: Tasks that study A trains alone.
        file: What to call the block's source.

    Raises:
        ConfigError: See above.
    """
    declared = declared_at(f"{file}: setting", "setting", block["setting"])
    if not {"groups", "experiments"} & block.keys():
        raise ConfigError(f"{file}: nothing to train: give it groups (study A), experiments (study B), or both")
    if "groups" in block:
        _check_groups(block, config, declared.tasks, file)
        _check_figure(block, tasks_alone, f"{file}: figures.a1")
    if "experiments" in block:
        _check_experiments(block["experiments"], config, declared, f"{file}: experiments")


def _check_groups(block: Spec, config: Spec, tasks: Collection[str], file: str) -> None:
    for group, members in block["groups"].items():
        if group.startswith(AUXILIARY):
            raise ConfigError(
                f"{file}: groups.{group}: names that begin with {AUXILIARY!r} are those of the sets that `auxiliary` "
                "draws; choose another"
            )
        for task in members["tasks"]:
            check_known(task, tasks, "task", f"{file}: groups.{group}.tasks")
    for task in block.get("alone", []):
        check_known(task, tasks, "task", f"{file}: alone")
    for task in block.get("auxiliary", {}).get("targets", []):
        check_known(task, tasks, "task", f"{file}: auxiliary.targets")
    for entry in block["measuring"]["measures"]:
        check_known(entry, config["measures"], "measure", f"{file}: measuring.measures")
    for entry in block["measuring"].get("options", {}):
        check_known(entry, block["measuring"]["measures"], "measure", f"{file}: measuring.options")
    for kind in ("methods", "optimizers"):
        for entry in block[kind]:
            check_known(entry, config[kind], kind.removesuffix("s"), f"{file}: {kind}")


def _check_figure(block: Spec, tasks_alone: Collection[str], where: str) -> None:
    a1 = block["figures"]["a1"]
    check_known(a1["task"], tasks_alone, "task", f"{where}.task")
    for group in a1["groups"]:
        check_known(group, block["groups"], "group", f"{where}.groups")
        if a1["task"] not in block["groups"][group]["tasks"]:
            raise ConfigError(f"{where}.groups: group {group!r} does not train the figure's task {a1['task']!r}")
    for kind in ("method", "optimizer"):
        if kind in a1:
            check_known(a1[kind], block[f"{kind}s"], kind, f"{where}.{kind}")


def _check_experiments(experiments: Spec, config: Spec, declared: Declaration, where: str) -> None:
    for task in experiments["tasks"]:
        check_known(task, declared.tasks, "task", f"{where}.tasks")
    if all(declared.tasks[task].is_noise for task in experiments["tasks"]):
        raise ConfigError(
            f"{where}.tasks: nothing to compare: the labels of {', '.join(experiments['tasks'])} are noise"
        )
    for optimizer in experiments["alone"]["optimizers"]:
        check_known(optimizer, config["optimizers"], "optimizer", f"{where}.alone.optimizers")
    for method, optimizers in experiments["methods"].items():
        check_known(method, config["methods"], "method", f"{where}.methods")
        for optimizer in optimizers:
            check_known(optimizer, config["optimizers"], "optimizer", f"{where}.methods.{method}")
    if "similarity" in experiments:
        _check_similarity(experiments, declared.shared_inputs, f"{where}.similarity")
    if "corruption" in experiments:
        _check_corruption(experiments, config, f"{where}.corruption")


def _check_similarity(experiments: Spec, shares_inputs: bool, where: str) -> None:
    watched = experiments["similarity"]
    check_known(watched["method"], experiments["methods"], "method", f"{where}.method")
    known = experiments["methods"][watched["method"]]
    check_known(watched["optimizer"], known, "optimizer", f"{where}.optimizer")
    if not shares_inputs:
        raise ConfigError(
            f"{where}: gradients of different tasks are compared on the same sample, and the tasks "
            "of this setting have inputs of their own; take it out, or choose a setting that shares inputs"
        )


def _check_corruption(experiments: Spec, config: Spec, where: str) -> None:
    block = experiments["corruption"]
    check_known(
        block["optimizer"], experiments["alone"]["optimizers"], "optimizer of tasks alone", f"{where}.optimizer"
    )
    for method in block["methods"]:
        check_known(method, experiments["methods"], "method", f"{where}.methods")
        known = experiments["methods"][method]
        check_known(block["optimizer"], known, f"optimizer of {method}", f"{where}.optimizer")
    check_known(block["refit"]["optimizer"], config["optimizers"], "optimizer", f"{where}.refit.optimizer")
    for name in block["leave_out"]:
        check_known(name, NAMES, "corruption", f"{where}.leave_out")
    if set(block["leave_out"]) == set(NAMES):
        raise ConfigError(f"{where}.leave_out: all corruptions are left out; take the block out, or keep some")
