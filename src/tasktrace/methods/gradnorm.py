"""GradNorm (Chen et al. 2018, Algorithm 1): learned weights that let all tasks train at similar rates."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.base import gramian as inner_products

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How strongly rates are balanced, and how fast the weights follow.

    Attributes:
        alpha: Strength with which slower tasks get larger gradients: the paper's 1.5.
        weight_learning_rate: Length of the weights' step along the gradient of their objective: the paper's 0.025.
        layer: Whose gradients' norms are balanced: ``all`` shared parameters, as LibMTL, or the ``last`` shared layer,
            as the paper does to save time; here both cost the same.
        objective: ``absolute`` for the paper's, in units of the gradients; ``relative`` for the paper's divided by the
            mean norm of the step, which makes the weights blind to a common scale of the gradients.
    """

    alpha: float = 1.5
    weight_learning_rate: float = 0.025
    layer: Literal["all", "last"] = "all"
    objective: Literal["absolute", "relative"] = "absolute"

    def __post_init__(self) -> None:
        """Hold the strength and the rate to their ranges."""
        check_range(self, "alpha", "weight_learning_rate", low=0)


class Method(GramianWeighting):
    """Weights w_t with sum T, all 1 at the start, moved once a step to bring the gradients' norms to their targets.

    With G_t = w_t |g_t|, their mean Gbar, and the rate r_t = (L_t/L_t(0)) / mean_u (L_u/L_u(0)), where L(0) are the
    losses of the first step: minimise sum_t |G_t - Gbar r_t^alpha| over w, the targets held constant. Its gradient is
    sign(G_t - Gbar r_t^alpha) |g_t|. The weights of a step are those after all earlier steps; the weights then take one
    step down this gradient and are scaled to sum T. The norms are those of the gradients of all shared parameters, or
    of the last shared layer's.

    Proposed where the paper is silent: plain gradient descent for the weights, and no weight loses more than half of
    itself in a step, before the scaling, which keeps all of them positive.

    The weights have no unit. For given weights the update is of degree 1 in the gradients; over several steps only
    with ``objective: relative``, since the absolute gradient carries the unit of |g_t|. Scaling one task's loss alone
    leaves its rate as it is.

    A zero gradient leaves its weight to the scaling. A non-finite gradient or loss raises :class:`NonFiniteError`, a
    negative loss or a first loss of zero, which has no rate, ``ValueError``.
    """

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        self._options = options
        self.needs_coordinates = options.layer == "last"
        self._weights = torch.ones(num_tasks, dtype=torch.float64)
        self._first_losses: Tensor | None = None

    def combine(self, jacobian: Tensor, losses: Tensor) -> Tensor:
        """The weighted sum of the rows; see :meth:`tasktrace.methods.Method.combine`.

        Raises:
            ValueError: ``layer`` is ``last``, and nobody has said which columns that is.
        """
        columns = jacobian
        if self._options.layer == "last":
            if self.last_layer is None:
                raise ValueError("gradnorm: layer 'last' needs last_layer, the columns of the last shared layer")
            columns = jacobian[:, self.last_layer]
        weights = self.weights(inner_products(columns), losses.double().cpu())
        return weights.to(jacobian) @ jacobian

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        """The weights of the step, which then move on; see :class:`GramianWeighting`."""
        check_finite(gramian, losses)
        if self._first_losses is None:
            _check_losses(losses, losses > 0, "the first loss must be positive")
            self._first_losses = losses.clone()
        _check_losses(losses, losses >= 0, "losses must not be negative")
        weights = self._weights
        self._weights = self._moved(gramian.diagonal().sqrt(), losses / self._first_losses)
        return weights

    def _moved(self, norms: Tensor, ratios: Tensor) -> Tensor:
        """The weights after their step, from the norms |g_t| and the ratios L_t/L_t(0), each of shape (T,)."""
        weighted = self._weights * norms
        mean = weighted.mean()
        if mean == 0 or ratios.sum() == 0:  # no gradient, or no rate to compare
            return self._weights
        gradient = torch.sign(weighted - mean * (ratios / ratios.mean()) ** self._options.alpha) * norms
        if self._options.objective == "relative":
            gradient = gradient / mean
        moved = torch.maximum(self._weights - self._options.weight_learning_rate * gradient, self._weights / 2)
        return moved * (len(moved) / moved.sum())

    def state_dict(self) -> dict[str, Tensor]:
        """The weights and, after the first step, its losses."""
        first = {} if self._first_losses is None else {"first_losses": self._first_losses.clone()}
        return {"weights": self._weights.clone(), **first}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._weights = state["weights"].clone()
        self._first_losses = state["first_losses"].clone() if "first_losses" in state else None


def _check_losses(losses: Tensor, holds: Tensor, rule: str) -> None:
    if not holds.all():
        task = int(holds.int().argmin())
        raise ValueError(f"gradnorm: {rule}, found {float(losses[task])!r} for task {task}")
