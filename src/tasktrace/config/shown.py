"""Which figures and tables a setting can show, and what each of them shows."""

from typing import TYPE_CHECKING, Any

from tasktrace.config.components import Spec
from tasktrace.config.declarations import declaration
from tasktrace.config.small_studies import SHOWN

if TYPE_CHECKING:
    from tasktrace.config.study import Study

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

FIGURES = ("a1", "a2", "a3", "a4", "a5", "a6", "b2", "b_a3", *SIMILARITY_FIGURES, "b_a8")
"""Figures of a setting."""

TABLES = ("tab_a1", "tab_b2", "tab_b_a8")
"""Tables of a setting, as pages."""


_FROM_GROUPS = (
    "transfer.csv",
    "separation.csv",
    "curves.parquet",
    "factors.parquet",
    "deltas.csv",
    "table_a1.csv",
    "methods.csv",
    "shares.csv",
    "auxiliary.csv",
    "correlations.csv",
)
_FROM_EXPERIMENTS = ("experiments.csv", "results.csv", "pareto_counts.csv")
_FROM_CORRUPTION = ("corruption_scores.csv", "corruption_transfer.csv")


def checked_tables(study: "Study", setting: str) -> list[str]:
    """The tables of a setting that claims and published numbers are held against."""
    block = study.find_setting(setting)
    experiments = block.get("experiments", {})
    by_need = (
        ("groups" in block, _FROM_GROUPS),
        (bool(experiments), _FROM_EXPERIMENTS),
        ("similarity" in experiments, ("similarity.parquet",)),
        ("corruption" in experiments, _FROM_CORRUPTION),
    )
    return [table for is_there, tables in by_need if is_there for table in tables]


def figures_of(study: "Study", setting: str) -> list[str]:
    """Both studies' figures that can be drawn of a setting.

    Figure A4 compares methods with the first one, A5 and A6 need auxiliary sets, study B's need ``experiments``.
    """
    block = study.find_setting(setting)
    experiments = block.get("experiments", {})
    groups = "groups" in block
    able = {
        **dict.fromkeys(("a1", "a2", "a3"), groups),
        "a4": groups and len(block["methods"]) > 1,
        **dict.fromkeys(("a5", "a6"), groups and bool(study.auxiliary[setting])),
        **dict.fromkeys(("b2", "b_a3"), bool(experiments)),
        **dict.fromkeys(SIMILARITY_FIGURES, "similarity" in experiments),
        "b_a8": "corruption" in experiments,
    }
    return [figure for figure in FIGURES if able[figure]]


def tables_of(study: "Study", setting: str) -> list[str]:
    """Both studies' tables that can be made of a setting."""
    block = study.find_setting(setting)
    experiments = block.get("experiments", {})
    able = {"tab_a1": "groups" in block, "tab_b2": bool(experiments), "tab_b_a8": "corruption" in experiments}
    return [table for table in TABLES if able[table]]


def study_figure(study: "Study", name: str) -> Spec:
    """What a figure or table of a small study shows, and how it is drawn."""
    return {**SHOWN[name], **study.config["figures"].get(name, {})}


def figure_options(study: "Study", name: str, setting: str) -> Spec:
    """What a figure or table of one setting shows, and how it is drawn.

    Returns:
        Study A's: ``task``, ``optimizer``, ``method`` and ``curves`` (groups with their labels, single-task first) as
        the setting's ``figures.a1`` chooses them; ``metric`` (of the task), ``metrics`` (of all), ``labels`` (of all
        groups), ``baseline`` and ``methods``, ``auxiliary`` (target to groups), ``factors``, ``band``,
        ``aggregation``, and the figure's size. Study B's: ``optimizers`` of the grid in the study's order, and of the
        corruption figure and table the ``corruption`` block.
    """
    is_of_grid = name.startswith(("b", "tab_b"))
    shown = _grid_shown(study, name, setting) if is_of_grid else _trajectories_shown(study, setting)
    return {"setting": setting, **shown, **study.config["figures"].get(name, {})}


def _grid_shown(study: "Study", name: str, setting: str) -> Spec:
    used = {arm.optimizer for arm in study.grid_arms(setting) if arm.method is not None}
    ordered = [optimizer for optimizer in study.config["optimizers"] if optimizer in used]
    corruption = study.find_setting(setting)["experiments"].get("corruption")
    asked = {"corruption": corruption} if name in ("b_a8", "tab_b_a8") else {}
    return {"optimizers": ordered, "labels": {}, **SIMILARITY_FIGURES.get(name, {}), **asked}


def _trajectories_shown(study: "Study", setting: str) -> Spec:
    block, analysis = study.find_setting(setting), study.config["analysis"]
    tasks = declaration("setting", block["setting"]).tasks
    a1: dict[str, Any] = block["figures"]["a1"]
    labels = {f"mtl.{group}": members["label"] for group, members in block["groups"].items()}
    groups = [{"group": f"mtl.{group}", "label": labels[f"mtl.{group}"]} for group in a1["groups"]]
    return {
        "task": a1["task"],
        "optimizer": a1.get("optimizer", block["optimizers"][0]),
        "method": a1.get("method", block["methods"][0]),
        "curves": [{"group": f"stl.{a1['task']}", "label": "STL"}, *groups],
        "metric": tasks[a1["task"]].metric,
        "metrics": {task.name: task.metric for task in tasks.values()},
        "labels": labels,
        "baseline": block["methods"][0],
        "methods": block["methods"][1:],
        "auxiliary": study.factor_options(setting)["auxiliary"],
        "factors": analysis["factors"],
        "band": analysis["band"],
        "aggregation": analysis["aggregation"],
    }
