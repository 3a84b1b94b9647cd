"""Nash-MTL: the tasks bargain over the update (Navon et al. 2022)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import GramianWeighting, check_finite
from tasktrace.methods.solvers.nash import nash_weights

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How often the tasks bargain, and how long the update may be.

    Attributes:
        update_every: Steps from one solution to the next, >= 1; the weights stay in between.
        max_norm: Longest combined gradient, > 0; longer ones are shortened to it, as the authors' code does. Null for
            no limit.
    """

    update_every: int = 1
    max_norm: float | None = 1.0

    def __post_init__(self) -> None:
        """Refuse what is no period or no length."""
        check_range(self, "update_every", low=1)
        if self.max_norm is not None and not self.max_norm > 0:
            raise ValueError(f"max_norm must be above 0 or null, found {self.max_norm!r}")


class Method(GramianWeighting):
    """The direction d = sum_k alpha_k g_k, with alpha_k (G alpha)_k = 1 for every task, cut to ``max_norm``.

    Source: Navon et al., "Multi-Task Learning as a Bargaining Game" (2022), claim 3.1 and algorithm 1; G holds the
    inner products. Solved exactly, instead of by 20 rounds of their convex-concave procedure.

    Units: none; |d| = sqrt(T) before the cut, whatever the scale of any gradient: degree 0. (On steps that keep earlier
    weights d is linear in the gradients, degree 1, until the cut.) A zero gradient has no direction: weight 0, and
    the other tasks bargain. Where a convex combination of the gradients is 0 to rounding, no update helps every task:
    d = 0. The first step always bargains.
    """

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        self._every = options.update_every
        self._max_norm = options.max_norm
        self._steps = 0
        self._kept = torch.zeros(num_tasks, dtype=torch.float64)

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:  # noqa: ARG002 - the losses play no part
        """alpha, cut; see :meth:`GramianWeighting.weights`.

        Raises:
            NonFiniteError: A gradient is NaN or infinite.
            SolverError: Not solved to tolerance.
        """
        check_finite(gramian)
        if self._steps % self._every == 0:
            self._kept = torch.from_numpy(nash_weights(gramian.numpy()))
        self._steps += 1
        return self._cut(self._kept, gramian)

    def state_dict(self) -> dict[str, Tensor]:
        """Steps so far, and the weights before the cut."""
        return {"steps": torch.tensor(self._steps), "weights": self._kept.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See :meth:`Method.load_state_dict`.

        Raises:
            ValueError: Not the state of this method for as many tasks.
        """
        if sorted(state) != ["steps", "weights"] or state["weights"].shape != self._kept.shape:
            found = {name: tuple(value.shape) for name, value in sorted(state.items())}
            raise ValueError(f"nash_mtl keeps steps () and weights {tuple(self._kept.shape)}, found {found}")
        self._steps = int(state["steps"])
        self._kept = state["weights"].to("cpu", torch.float64, copy=True)

    def _cut(self, weights: Tensor, gramian: Tensor) -> Tensor:
        if self._max_norm is None:
            return weights.clone()
        # rounding may push the square of a vanishing combination below zero
        norm = max(float(weights @ gramian @ weights), 0.0) ** 0.5
        return weights * min(1.0, self._max_norm / norm) if norm > 0.0 else weights.clone()
