"""What a task is: the names of its loss and metric, and how many outputs its head has."""

from dataclasses import dataclass
from typing import Literal

Loss = Literal["cross_entropy"]
Metric = Literal["accuracy"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a setting.

    Attributes:
        name: The task's name in configuration, tables and paths (lower case, no dots or slashes).
        outputs: Width of the task's linear head.
        loss: The training loss, averaged over samples (natural logarithm, so cross-entropy is in nats).
        metric: The generalisation metric G on unseen data, as a fraction of 1 for accuracy.
        higher_is_better: The metric's direction.
    """

    name: str
    outputs: int
    loss: Loss = "cross_entropy"
    metric: Metric = "accuracy"
    higher_is_better: bool = True
