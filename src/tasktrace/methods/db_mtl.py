"""DB-MTL (Lin et al. 2023): gradients of the logarithms of the losses, averaged over steps, brought to one length."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import Method as Base
from tasktrace.methods.base import NonFiniteError

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How slowly the averages follow.

    Attributes:
        beta: Share of the past in an average; LibMTL's 0.9.
        decay: The share at step n is beta / n^decay; LibMTL's 0 keeps it constant.
    """

    beta: float = 0.9
    decay: float = 0.0

    def __post_init__(self) -> None:
        """Hold the constants to their ranges."""
        check_range(self, "beta", low=0, below=1)
        check_range(self, "decay", low=0)


class Method(Base):
    """The update sum_k (max_j |a_j| / |a_k|) a_k, with a_k the running average of g_k / L_k.

    Source: Lin et al., "Dual-Balancing for Multi-Task Learning" (2023): g_k / L_k is the gradient of log L_k, which has
    no unit of loss; all averages are brought to the length of the longest. They start at zero, as in LibMTL.

    Degree 1 in the gradients, for given losses; a constant scale of one task's loss changes nothing. An average of zero
    stays zero. A non-finite gradient makes the update non-finite; a loss that is not positive and finite raises
    :class:`NonFiniteError`, since it has no logarithm. Memory: T x P numbers.
    """

    def __init__(self, _num_tasks: int, options: Options, _seed: int) -> None:
        self._options = options
        self._averages: Tensor | None = None
        self._steps = 0

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """The balanced sum, which counts as a step; see :meth:`tasktrace.methods.Method.combine`."""
        bad = ~(torch.isfinite(losses) & (losses > 0))
        if bad.any():
            raise NonFiniteError(int(bad.int().argmax()), "logarithm of the loss")
        if self._averages is None:
            self._averages = torch.zeros_like(jacobian)
        self._averages = self._averages.to(jacobian)  # what was loaded is on the CPU
        self._steps += 1
        share = self._options.beta / self._steps**self._options.decay
        self._averages.lerp_(jacobian / losses.to(jacobian)[:, None], 1 - share)
        lengths = self._averages.norm(dim=1)
        weights = torch.where(lengths > 0, lengths.max() / lengths, 0.0)
        return weights @ self._averages

    def state_dict(self) -> dict[str, Tensor]:
        """The averages, (T, P), and the number of steps."""
        return {} if self._averages is None else {"averages": self._averages, "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from :meth:`state_dict`."""
        if state:
            self._averages, self._steps = state["averages"].clone(), int(state["steps"])
