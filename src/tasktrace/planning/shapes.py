"""What the time of a piece of work depends on, so that what one took tells how long others like it take.

Seeds, learning rates and optimizers have no part in it; the batch size, the method, the model, the data and the kinds
of the tasks have. Tasks are of one kind if losses, outputs, metrics and numbers of samples are the same, whatever their
names: CelebA's forty attributes alone take as long as each other.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

from tasktrace.files import digest

Spec = dict[str, Any]

OPTIONS = ("jacobian", "augmentation", "precision", "similarity")
"""What a run's spec may say beside the method that changes how long a step takes."""

WEIGHTS = "weights"
"""What a model starts from; it has no part in times and sizes, and would have to be fetched."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """One kind of work.

    Attributes:
        activity: ``train``, ``measure``, ``refit`` or ``corrupt``; for other work the rule's name.
        depends: All that its time depends on, as JSON has it.
        example: What a trial of it is given; None where there is no trial.
        label: What to call it in messages.
    """

    activity: str
    depends: Spec
    example: Spec | None = None
    label: str = ""

    @functools.cached_property
    def key(self) -> str:
        """Identifies it in sixteen characters."""
        return digest({"activity": self.activity, **self.depends})[:16]


def train_shape(spec: Spec, kinds: Mapping[str, Any]) -> Shape:
    """The shape of training a run.

    Args:
        spec: The run's spec with its point.
        kinds: By task what its kind is.
    """
    options = {name: spec[name] for name in OPTIONS if name in spec}
    depends = {**_assembled(spec, kinds), "batch_size": spec["point"]["batch_size"], **options}
    return Shape("train", depends, {"run": without_weights(spec)}, _label("train", spec))


def measure_shape(spec: Spec, measures: Spec, kinds: Mapping[str, Any]) -> Shape:
    """The shape of measuring a run.

    Args:
        spec: The run's spec with its point; measures may use its batch size.
        measures: The measures by name, of ``Study.measure_spec``.
        kinds: By task what its kind is.
    """
    depends = {**_assembled(spec, kinds), "batch_size": spec["point"]["batch_size"], "measures": measures}
    return Shape("measure", depends, {"run": without_weights(spec), "measures": measures}, _label("measure", spec))


def refit_shape(spec: Spec, refit: Spec, kinds: Mapping[str, Any]) -> Shape:
    """The shape of refitting a run's heads.

    Args:
        spec: The run's spec with its point.
        refit: ``Study.refit_spec``.
        kinds: By task what its kind is.
    """
    assembled = {name: value for name, value in _assembled(spec, kinds).items() if name != "method"}
    example = {"run": without_weights(spec), "refit": refit}
    return Shape("refit", {**assembled, "refit": refit}, example, _label("refit", spec))


def corrupt_shape(spec: Spec, white: int) -> Shape:
    """The shape of corrupting a setting's pictures.

    Args:
        spec: ``Study.corruption_spec``.
        white: The value of the pictures' brightest pixel.
    """
    return Shape("corrupt", {"corruption": spec}, {"corruption": spec, "white": white}, "corrupt")


def checkpoint_key(spec: Spec, kinds: Mapping[str, Any]) -> str:
    """Identifies what a checkpoint's size depends on."""
    return digest(_assembled(spec, kinds))[:16]


def train_counts(spec: Spec) -> dict[str, float]:
    """How often a run does what is timed.

    ``setup`` (data read, model built), ``epoch`` (its training), ``evaluation`` (the initial model's too), ``state``
    (for resuming), ``row`` (a state holds the trajectory so far: epochs that all states together hold) and
    ``checkpoint``.
    """
    epochs = int(spec["epochs"])
    return {
        "setup": 1,
        "epoch": epochs,
        "evaluation": epochs + 1,
        "state": epochs,
        "row": epochs * (epochs + 1) / 2,
        "checkpoint": kept_checkpoints(spec),
    }


def kept_checkpoints(spec: Spec) -> int:
    """How many checkpoints a run keeps: the initial one, every so many and the last; or that of its best epoch."""
    every, epochs = int(spec["checkpoint_every"]), int(spec["epochs"])
    return 1 + math.ceil(epochs / every) if every else int("best_epoch" in spec)


def measured_checkpoints(spec: Spec, every: int) -> int:
    """How many of a run's checkpoints are measured: those at every so many epochs, and the last."""
    kept, epochs = int(spec["checkpoint_every"]), int(spec["epochs"])
    if not kept:
        return 0
    return 1 + (epochs - 1) // math.lcm(kept, every) + 1


def without_weights(spec: Spec) -> Spec:
    """A run's spec whose model starts from random numbers."""
    model = {name: value for name, value in spec["model"].items() if name != WEIGHTS}
    return {**spec, "model": model}


def _assembled(spec: Spec, kinds: Mapping[str, Any]) -> Spec:
    """What a run works on."""
    return {
        "data": spec["data"],
        "model": without_weights(spec)["model"],
        "tasks": [kinds[name] for name in spec["tasks"]],
        "method": spec["method"],
    }


def _label(activity: str, spec: Spec) -> str:
    method = [] if spec["method"] is None else [spec["method"]["name"]]
    watched = ["watched"] if "similarity" in spec else []
    return " ".join([activity, spec["group"], *method, f"bs{spec['point']['batch_size']}", *watched])
