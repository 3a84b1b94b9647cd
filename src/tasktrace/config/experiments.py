"""Study B's grid: every method with every optimizer at every learning rate is an experiment of its own."""

from typing import Any

from tasktrace.config.arms import Arm, Run, point_name

GROUP = "grid"
ALONE = "grid_stl."

Spec = dict[str, Any]


def grid_arms(setting: str, block: Spec | None) -> list[Arm]:
    """The arms of a setting's grid: every task alone, then every method with each of its optimizers.

    Args:
        setting: The setting's name.
        block: The setting's ``experiments``; None if it has none.
    """
    if block is None:
        return []
    tasks = tuple(block["tasks"])
    alone = [
        Arm(setting, f"{ALONE}{task}", (task,), None, optimizer)
        for optimizer in block["alone"]["optimizers"]
        for task in tasks
    ]
    together = [
        Arm(setting, GROUP, tasks, method, optimizer)
        for method, optimizers in block["methods"].items()
        for optimizer in optimizers
    ]
    return alone + together


def in_grid(arm: Arm) -> bool:
    """Whether an arm belongs to its setting's grid."""
    return arm.group == GROUP or arm.group.startswith(ALONE)


def grid_runs(arm: Arm, block: Spec, seeds: list[int]) -> list[Run]:
    """The runs of an arm of the grid: every learning rate, every seed."""
    rates = block["learning_rates"] if arm.method is not None else block["alone"]["learning_rates"]
    points = [point_name(rate, block["batch_size"]) for rate in rates]
    return [Run(arm, point, seed) for point in points for seed in seeds]


def grid_schedule(block: Spec) -> Spec:
    """What the grid's runs have in their spec beside what all runs have."""
    schedule = block.get("schedule")
    return {} if schedule is None else {"schedule": dict(schedule)}
