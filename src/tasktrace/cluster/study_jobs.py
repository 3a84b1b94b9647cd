"""What a study's jobs ask of a cluster at their first attempt: the rules' resources, and the settings'."""

from collections.abc import Iterator

from tasktrace.cluster.requests import Request
from tasktrace.config import Study

_TABLES = {"analyse": (2000, 30), "factors": (4000, 30), "experiments": (2000, 30), "similarity": (2000, 10)}
"""MB and minutes of the rules in workflow/rules/analyse.smk."""

_PREPARING = {"prepare": 120, "corrupt": 240}
"""Minutes of rules that take the setting's memory and no GPU."""


def requests_of(study: Study) -> list[Request]:
    """One request for each rule and setting whose jobs are submitted."""
    return [request for setting in study.settings for request in (*_on_runs(study, setting), *_others(study, setting))]


def _on_runs(study: Study, setting: str) -> Iterator[Request]:
    resources = study.resources(setting)
    arms = [*study.arms(setting), *study.grid_arms(setting)]
    most = {
        "train": max(len(study.sweep_runs(arm)) for arm in arms),
        "train_selected": max(len(study.selected_runs(arm)) for arm in arms),
        "measure": len(study.config["seeds"]) if study.arms(setting) else 0,
        "refit": len(study.refitted_runs_of(setting)),
    }
    for kind, runs in most.items():
        if runs:
            minutes = resources.runtime(kind.partition("_")[0], min(runs, resources.runs_per_job), attempt=1)
            yield Request(kind, setting, resources.mem_mb, minutes, resources.gpu, threads=1)


def _others(study: Study, setting: str) -> Iterator[Request]:
    refitted = bool(study.refitted_runs_of(setting))
    for kind, minutes in _PREPARING.items():
        if kind == "prepare" or refitted:
            yield Request(kind, setting, study.resources(setting).mem_mb, minutes, gpu=0, threads=1)
    for kind, (mem_mb, minutes) in _TABLES.items():
        yield Request(kind, setting, mem_mb, minutes, gpu=0, threads=1)
