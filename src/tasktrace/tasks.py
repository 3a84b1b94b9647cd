"""What a task is: the names of its loss and metrics, and how many outputs its head has."""

from dataclasses import dataclass
from typing import Literal

Loss = Literal["cross_entropy", "binary_cross_entropy", "mse", "l1", "cosine"]
Metric = Literal[
    "accuracy",
    "balanced_accuracy",
    "f1",
    "matthews",
    "pearson",
    "spearman",
    "absolute_error",
    "relative_error",
    "mean_iou",
    "pixel_accuracy",
    "mean_angle",
    "median_angle",
    "within_11",
    "within_22",
    "within_30",
]

HIGHER_IS_BETTER: dict[str, bool] = {
    "accuracy": True,
    "balanced_accuracy": True,
    "f1": True,
    "matthews": True,
    "pearson": True,
    "spearman": True,
    "absolute_error": False,
    "relative_error": False,
    "mean_iou": True,
    "pixel_accuracy": True,
    "mean_angle": False,
    "median_angle": False,
    "within_11": True,
    "within_22": True,
    "within_30": True,
}
"""Every metric's direction."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a setting; :mod:`tasktrace.training.objectives` says what the losses and metrics are.

    Attributes:
        name: The task's name in configuration, tables and paths (lower case, no dots or slashes).
        outputs: Outputs of the task's head, per sample or pixel: the classes for ``cross_entropy``, 3 for ``cosine``
            (surface normals), else 1.
        loss: The training loss, averaged over samples or known pixels (natural logarithm, so cross-entropy is in nats).
        metric: The generalisation metric G on unseen data; shares are fractions of 1, angles degrees.
        more_metrics: Further metrics, which study B compares as well.
        is_noise: Whether its labels are permuted: on unseen data its metric is chance, whatever a model has learnt, so
            that study B's comparisons leave it out.
    """

    name: str
    outputs: int
    loss: Loss = "cross_entropy"
    metric: Metric = "accuracy"
    more_metrics: tuple[Metric, ...] = ()
    is_noise: bool = False

    @property
    def higher_is_better(self) -> bool:
        """The direction of ``metric``."""
        return HIGHER_IS_BETTER[self.metric]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics, G's first."""
        return (self.metric, *self.more_metrics)
