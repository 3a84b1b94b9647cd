"""MTL-IO (Pascal et al. 2021): an optimizer per task over the encoder and its head, one after the other."""

from dataclasses import dataclass

from torch import Tensor

from tasktrace.methods.base import Method as Base

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """MTL-IO has no options of its own: the optimizers are T copies of the run's."""


class Method(Base):
    """Each task steps from where the one before it left the shared parameters.

    With plain SGD this is the uniform gradient up to second order in the learning rate. A non-finite loss ends the run
    as diverged.
    """

    one_after_the_other = True

    def __init__(self, _num_tasks: int, _options: Options, _seed: int) -> None:
        pass

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002 (the losses have no part in it)
        """The sum of the gradients, which is what one pass through the tasks follows to first order with SGD.

        Training never calls this: there, each task's gradient is taken after the tasks before it have moved.
        """
        return jacobian.sum(dim=0)
