"""Study B's grid: every method with every optimizer at every learning rate is an experiment of its own."""

from collections.abc import Collection
from typing import Any

from tasktrace.config.arms import SELECTED, Arm, Run, point_name

GROUP = "grid"
ALONE = "grid_stl."

Spec = dict[str, Any]


def grid_arms(setting: str, block: Spec | None, noise: Collection[str]) -> list[Arm]:
    """The arms of a setting's grid: every task alone, then every method with each of its optimizers.

    Args:
        setting: The setting's name.
        block: The setting's ``experiments``; None if it has none.
        noise: Tasks that are compared with nothing, and so are not trained alone.
    """
    if block is None:
        return []
    tasks = tuple(block["tasks"])
    alone = [
        Arm(setting, f"{ALONE}{task}", (task,), None, optimizer)
        for optimizer in block["alone"]["optimizers"]
        for task in tasks
        if task not in noise
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
    """The runs of an arm of the grid: every learning rate, every seed (the grid's own seeds if it names some)."""
    rates = block["learning_rates"] if arm.method is not None else block["alone"]["learning_rates"]
    points = [point_name(rate, block["batch_size"]) for rate in rates]
    return [Run(arm, point, seed) for point in points for seed in block.get("seeds", seeds)]


def is_watched(arm: Arm, block: Spec) -> bool:
    """Whether gradients of single samples are compared while this arm trains at its best point."""
    watched = block.get("similarity")
    return watched is not None and (arm.method, arm.optimizer) == (watched["method"], watched["optimizer"])


def is_refitted(arm: Arm, block: Spec) -> bool:
    """Whether this arm's heads are refitted on corrupted data: the compared methods', and those of the tasks alone."""
    corruption = block.get("corruption")
    if corruption is None or arm.optimizer != corruption["optimizer"]:
        return False
    return arm.method is None or arm.method in corruption["methods"]


def best_runs(arm: Arm, block: Spec, seeds: list[int]) -> list[Run]:
    """The runs that train an arm of the grid once more at its best point, for what its first runs did not keep."""
    if not (is_watched(arm, block) or is_refitted(arm, block)):
        return []
    return [Run(arm, SELECTED, seed) for seed in block.get("seeds", seeds)]


def best_run_spec(run: Run, block: Spec) -> Spec:
    """What the spec of such a run has beside what the grid's others have.

    Gradients that it compares, and that it keeps the checkpoint of its best epoch, which its selection file names.
    """
    if run.point != SELECTED:
        return {}
    watched = block["similarity"] if is_watched(run.arm, block) else {}
    return {
        **({"similarity": {name: watched[name] for name in ("every", "most")}} if watched else {}),
        **({"best_epoch": None} if is_refitted(run.arm, block) else {}),
    }
