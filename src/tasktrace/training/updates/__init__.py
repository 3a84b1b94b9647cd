"""From a batch of every task to one update of all parameters; one module per way of getting the gradients."""

from tasktrace.training.updates.base import Batch, Parts, Update
from tasktrace.training.updates.choice import build_update

__all__ = ["Batch", "Parts", "Update", "build_update"]
