"""How large checkpoints are, from models without numbers: no memory, and no weights to fetch.

Torch is imported by the functions, and only where nothing else tells the size.
"""

import functools
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tasktrace.config import Arm, Study
from tasktrace.config.declarations import declaration
from tasktrace.files import canonical_json
from tasktrace.planning.shapes import kept_checkpoints, without_weights
from tasktrace.tasks import Loss, Task

if TYPE_CHECKING:
    from torch import Tensor

    from tasktrace.models import MultiTaskModel

Spec = dict[str, Any]

_HEAD_BYTES = 100
"""What a file says of each tensor."""


def empty_model(spec: Spec) -> "MultiTaskModel":
    """A run's model without its numbers.

    Args:
        spec: The run's spec.
    """
    tasks = declaration("setting", spec["data"]["name"]).tasks
    return _empty(without_weights(spec)["model"], [tasks[name] for name in spec["tasks"]])


def checkpoint_bytes(spec: Spec) -> int:
    """Size of one of a run's checkpoints: the model's state, and what its method remembers from the start.

    Args:
        spec: The run's spec.
    """
    from tasktrace.methods import run_method

    tasks = declaration("setting", spec["data"]["name"]).tasks
    heads = tuple((tasks[name].loss, tasks[name].outputs) for name in spec["tasks"])
    method = run_method(spec["method"], len(heads), seed=0)
    return _model_bytes(canonical_json(without_weights(spec)["model"]), heads) + _bytes(method.state_dict().values())


def all_checkpoints_bytes(study: Study, setting: str) -> int:
    """Size of all checkpoints that a setting's runs keep."""

    def of_arm(arm: Arm) -> int:
        specs = [study.run_spec(run) for run in study.selected_runs(arm)]
        kept = sum(map(kept_checkpoints, specs))
        return kept * checkpoint_bytes(specs[0]) if kept else 0

    return sum(map(of_arm, (*study.arms(setting), *study.grid_arms(setting))))


@functools.cache
def _model_bytes(model: str, heads: tuple[tuple[Loss, int], ...]) -> int:
    """Size of a model, given by its spec as JSON, with heads for tasks of these losses and outputs."""
    tasks = [Task(name=f"task{number}", loss=loss, outputs=outputs) for number, (loss, outputs) in enumerate(heads)]
    return _bytes(_empty(json.loads(model), tasks).state_dict().values())


def _empty(model: Spec, tasks: list[Task]) -> "MultiTaskModel":
    import torch

    from tasktrace.models import build_model

    with torch.device("meta"):
        return build_model(model, tasks, seed=0)


def _bytes(tensors: Iterable["Tensor"]) -> int:
    return sum(_HEAD_BYTES + tensor.numel() * tensor.element_size() for tensor in tensors)
