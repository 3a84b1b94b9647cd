"""Study B's grid: every method with every optimizer at every learning rate is an experiment of its own."""

from typing import Any

from tasktrace.config.arms import SELECTED, Arm, Run, point_name

GROUP = "grid"
ALONE = "grid_stl."

Spec = dict[str, Any]

_PAIRS = ["inter_task", "inter_sample"]
_COSINE = {"quantity": "cosine", "label": "cosine"}
_ALIKE = [
    _COSINE,
    {"quantity": "magnitude_similarity", "label": "magnitude similarity"},
    {"quantity": "conflicting", "label": "share of conflicting coordinates"},
]

SIMILARITY_FIGURES: dict[str, Spec] = {
    "b4": {"kinds": _PAIRS, "panels": _ALIKE},
    "b_a5": {"kinds": [f"{kind}_averaged" for kind in _PAIRS], "panels": _ALIKE},
    "b_a6": {
        "kinds": _PAIRS,
        "panels": [
            _COSINE,
            {"quantity": "cosine", "label": "cosine, positive pairs", "center": "mean_positive"},
            {"quantity": "cosine", "label": "cosine, negative pairs", "center": "mean_negative"},
        ],
    },
    "b_a7": {"kinds": _PAIRS, "panels": [{"quantity": "product", "label": "scalar product"}]},
}
"""Study B's figures 4 and A5 to A7: which pairs, and which of their quantities; ``center`` is the line, the mean if it
is left out."""


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
    """The runs of an arm of the grid: every learning rate, every seed (the grid's own seeds if it names some)."""
    rates = block["learning_rates"] if arm.method is not None else block["alone"]["learning_rates"]
    points = [point_name(rate, block["batch_size"]) for rate in rates]
    return [Run(arm, point, seed) for point in points for seed in block.get("seeds", seeds)]


def watched_runs(arm: Arm, block: Spec, seeds: list[int]) -> list[Run]:
    """The runs in which gradients of single samples are compared: one arm at its best point, once a seed."""
    watched = block.get("similarity")
    if watched is None or (arm.method, arm.optimizer) != (watched["method"], watched["optimizer"]):
        return []
    return [Run(arm, SELECTED, seed) for seed in block.get("seeds", seeds)]


def watch_spec(run: Run, block: Spec) -> Spec:
    """What the spec of a watched run has beside what the grid's others have."""
    if run.point != SELECTED:
        return {}
    return {"similarity": {name: block["similarity"][name] for name in ("every", "most")}}


def grid_schedule(block: Spec) -> Spec:
    """What the grid's runs have in their spec beside what all runs have."""
    schedule = block.get("schedule")
    return {} if schedule is None else {"schedule": dict(schedule)}
