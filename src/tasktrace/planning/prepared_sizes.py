"""How much prepared data there is, from the head of its file: nothing is read but names and shapes."""

import json
import math
from typing import Any

from safetensors import safe_open

from tasktrace.config import Study
from tasktrace.config.declarations import declaration
from tasktrace.places import prepared_path
from tasktrace.settings.prepared import SPLITS, Prepared


def is_prepared(study: Study, setting: str) -> bool:
    """Whether the setting's data has been prepared as the study asks for."""
    path = study.root / prepared_path(setting)
    try:
        made_from = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["spec"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return path.exists() and bool(made_from == study.data_spec(setting))


def task_kinds(study: Study, setting: str) -> dict[str, Any]:
    """By task of a setting what its kind is; without prepared data every task is of its own."""
    tasks = declaration("setting", study.settings[setting]["setting"]).tasks
    if not is_prepared(study, setting):
        return {name: name for name in tasks}
    with safe_open(study.root / prepared_path(setting), framework="numpy") as stream:
        held = set(stream.keys())
        sizes = {
            name: [stream.get_slice(f"{name}/{split}/index").get_shape()[0] for split in SPLITS]
            for name in tasks
            if f"{name}/train/index" in held
        }
    return {name: [task.loss, task.outputs, *task.metrics, *sizes.get(name, ())] for name, task in tasks.items()}


def corrupted_bytes(study: Study, setting: str) -> int | None:
    """Size of a setting's corrupted pictures; None as long as its data is not prepared.

    One of each training picture, and one of each test picture for every corruption and severity.
    """
    if not is_prepared(study, setting):
        return None
    from tasktrace.config.corruptions import SEVERITIES
    from tasktrace.corruption_transfer.data import plan

    spec = study.corruption_spec(setting)
    with safe_open(study.root / prepared_path(setting), framework="numpy") as stream:
        shape: list[int] = stream.get_slice("inputs").get_shape()
        names = [f"{task}/{split}/index" for task in spec["tasks"] for split in ("train", "test")]
        tensors = {name: stream.get_tensor(name) for name in names}
    chosen = plan(Prepared(tensors, [], [], ""), spec["tasks"], spec["test"])
    pictures = len(chosen.train) + len(spec["names"]) * len(SEVERITIES) * len(chosen.test)
    return pictures * math.prod(shape[1:])
