"""MoCo (Fernando et al. 2023): MGDA's weights followed slowly, on tracked gradients, against the noise of batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import Method as Base
from tasktrace.methods.base import check_finite, gramian

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Step sizes of the tracked gradients and of the weights; the defaults are LibMTL's.

    Attributes:
        beta: Share of the new gradient in the tracked one at the first step.
        beta_decay: At step n that share is beta / n^beta_decay.
        gamma: Step of the weights at the first step, in units of one over a squared gradient.
        gamma_decay: At step n that is gamma / n^gamma_decay.
        rho: Ridge that keeps the weights' problem strictly convex, in units of a squared gradient.
    """

    beta: float = 0.5
    beta_decay: float = 0.5
    gamma: float = 0.1
    gamma_decay: float = 0.5
    rho: float = 0.0

    def __post_init__(self) -> None:
        """Hold the constants to their ranges."""
        check_range(self, "beta", "beta_decay", "gamma", "gamma_decay", "rho", low=0)


class Method(Base):
    """The update Y'w, with tracked gradients Y <- Y - b_n (Y - G) and w <- P(w - c_n (YY' + rho I) w).

    Source: Fernando et al., "Mitigating Gradient Bias in Multi-Objective Learning" (2023), algorithm 1; P is the
    projection onto the simplex, where LibMTL has a softmax. Y starts at zero and w at 1/T. The weights of a step are
    those after its own move.

    The weights' step carries the unit of a squared gradient, so the update has no degree. A zero gradient is tracked
    like any other; a non-finite one raises :class:`NonFiniteError`. Memory: T x P numbers.
    """

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        self._options = options
        self._weights = torch.full((num_tasks,), 1.0 / num_tasks, dtype=torch.float64)
        self._tracked: Tensor | None = None
        self._steps = 0

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002 (the losses have no part in it)
        """The weighted sum of the tracked gradients, which counts as a step; see :meth:`Method.combine`."""
        options = self._options
        if self._tracked is None:
            self._tracked = torch.zeros_like(jacobian)
        self._tracked = self._tracked.to(jacobian)  # what was loaded is on the CPU
        self._steps += 1
        self._tracked.lerp_(jacobian, options.beta / self._steps**options.beta_decay)
        products = gramian(self._tracked)
        check_finite(products)
        slope = (products + options.rho * torch.eye(len(products), dtype=torch.float64)) @ self._weights
        self._weights = on_simplex(self._weights - options.gamma / self._steps**options.gamma_decay * slope)
        return self._weights.to(jacobian) @ self._tracked

    def state_dict(self) -> dict[str, Tensor]:
        """The tracked gradients, (T, P), the weights, (T,), and the number of steps."""
        if self._tracked is None:
            return {}
        return {"tracked": self._tracked, "weights": self._weights, "steps": torch.tensor(self._steps)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from :meth:`state_dict`."""
        if state:
            self._tracked, self._weights = state["tracked"].clone(), state["weights"].clone()
            self._steps = int(state["steps"])


def on_simplex(point: Tensor) -> Tensor:
    """The nearest point with non-negative entries of sum 1 (Held, Wolfe and Crowder 1974), shape (T,) as given."""
    falling = point.sort(descending=True).values
    excess = (falling.cumsum(0) - 1) / torch.arange(1, len(point) + 1, dtype=point.dtype)
    last = int((falling > excess).nonzero().max())
    return (point - excess[last]).clamp(min=0)
