"""What a task is: the names of its loss and metrics, and how many outputs its head has."""

from dataclasses import dataclass
from typing import Literal

Loss = Literal["cross_entropy", "l1"]
Metric = Literal["accuracy", "absolute_error", "relative_error"]

HIGHER_IS_BETTER: dict[str, bool] = {"accuracy": True, "absolute_error": False, "relative_error": False}
"""Every metric's direction."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a setting.

    Attributes:
        name: The task's name in configuration, tables and paths (lower case, no dots or slashes).
        outputs: Width of the task's linear head.
        loss: The training loss, averaged over samples (natural logarithm, so cross-entropy is in nats).
        metric: The generalisation metric G on unseen data, as a fraction of 1 for accuracy.
        more_metrics: Further metrics, which study B compares as well.
    """

    name: str
    outputs: int
    loss: Loss = "cross_entropy"
    metric: Metric = "accuracy"
    more_metrics: tuple[Metric, ...] = ()

    @property
    def higher_is_better(self) -> bool:
        """The direction of ``metric``."""
        return HIGHER_IS_BETTER[self.metric]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics, G's first."""
        return (self.metric, *self.more_metrics)
