"""A run's tasks, data and model on a device, for whatever is done with them: training, measuring, refitting."""

from dataclasses import dataclass
from typing import Any

import torch

from tasktrace.config.declarations import declaration
from tasktrace.models import build_model
from tasktrace.settings.prepared import Prepared
from tasktrace.tasks import Task
from tasktrace.training.data import DeviceData
from tasktrace.training.objectives import LOSSES
from tasktrace.training.updates import Parts


@dataclass(frozen=True)
class Assembly:
    """What a run works on.

    Attributes:
        tasks: Its tasks, in the spec's order.
        data: The setting's data on the device.
        parts: The model, as initialised from the seed, by the roles of its parameters.
    """

    tasks: list[Task]
    data: DeviceData
    parts: Parts


def assemble(spec: dict[str, Any], prepared: Prepared, device: torch.device) -> Assembly:
    """Tasks, data and model of a run's spec.

    Args:
        spec: The run's spec.
        prepared: The setting's data.
        device: Where to put them.
    """
    declared = declaration("setting", spec["data"]["name"])
    tasks = [declared.tasks[name] for name in spec["tasks"]]
    data = DeviceData(prepared, spec["tasks"], device, declared.shared_inputs)
    # Pooling and convolutions of small images run twice as fast on a CPU with the channels last.
    model = build_model(spec["model"], tasks, spec["seed"]).to(device).to(memory_format=torch.channels_last)
    heads = [model.heads[task.name] for task in tasks]
    return Assembly(tasks, data, Parts(model, heads, [LOSSES[task.loss] for task in tasks]))
