"""AdaTask (Yang et al. 2023): Adam with moments of its own for every task on the shared parameters."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import Method as Base

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Adam's constants, for the shared parameters; the heads have the run's optimizer."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Hold the constants to their ranges."""
        check_range(self, "beta1", "beta2", low=0, below=1)
        check_range(self, "eps", low=0)


class Method(Base):
    """theta <- theta - lr * sum_t mhat_t / (sqrt(vhat_t) + eps), with m_t, v_t the moments of task t's gradient alone.

    ``combine`` gives the sum; it counts as a step, since it moves the moments. Its degree under a common scale of the
    gradients is 0, up to eps, and so it is under a constant scale of each task's own loss (study B, appendix A1). A
    task without gradient keeps moving along its old moments, as with Adam; a non-finite gradient makes the step
    non-finite, which ends the run as diverged. Memory: 2 x T x P numbers.
    """

    replaces_optimizer = True

    def __init__(self, _num_tasks: int, options: Options, _seed: int) -> None:
        self._options = options
        self._steps = 0
        self._first: Tensor | None = None
        self._second: Tensor | None = None

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002 (the losses have no part in it)
        """The step per unit of learning rate; see :meth:`tasktrace.methods.Method.combine`."""
        beta1, beta2 = self._options.beta1, self._options.beta2
        if self._first is None or self._second is None:
            self._first, self._second = torch.zeros_like(jacobian), torch.zeros_like(jacobian)
        # What was loaded is on the CPU, wherever training goes on.
        self._first, self._second = self._first.to(jacobian), self._second.to(jacobian)
        self._steps += 1
        self._first.lerp_(jacobian, 1 - beta1)
        self._second.mul_(beta2).addcmul_(jacobian, jacobian, value=1 - beta2)
        size = (self._second / (1 - beta2**self._steps)).sqrt_().add_(self._options.eps)
        return (self._first / size).sum(dim=0) / (1 - beta1**self._steps)

    def state_dict(self) -> dict[str, Tensor]:
        """The moments, (T, P) each, and the number of steps."""
        if self._first is None or self._second is None:
            return {}
        return {"first": self._first, "second": self._second, "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from :meth:`state_dict`."""
        if state:
            self._first, self._second = state["first"].clone(), state["second"].clone()
            self._steps = int(state["steps"])
