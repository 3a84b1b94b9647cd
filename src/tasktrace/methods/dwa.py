"""DWA, dynamic weight average (Liu et al. 2019, Eq. 7): larger weights for losses that fall more slowly."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import LossWeighting

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How evenly the tasks are weighed, over which times, and what the weights weigh.

    Attributes:
        temperature: Higher is more even: the paper's 2.
        window: Steps over which a loss is averaged. The paper and LibMTL average over an epoch, which is a setting's
            number of steps; 100 is proposed.
        heads: ``plain`` for every head's own gradient, ``weighted`` for the weights on the heads too, as in the
            paper's sum of weighted losses.
    """

    temperature: float = 2.0
    window: int = 100
    heads: Literal["plain", "weighted"] = "plain"

    def __post_init__(self) -> None:
        """Hold temperature and window to their ranges."""
        check_range(self, "temperature", low=1e-6)
        check_range(self, "window", low=1)


class Method(LossWeighting):
    """The weight T softmax(r / temperature)_t, with r_t the last full window's mean loss over that of the one before.

    Weights without a unit that sum to the number of tasks T; all 1 during the first two windows, constant within a
    window. r is the same whatever a task's unit of loss; the update is linear in the gradients, of degree 1.

    A zero gradient contributes nothing, while its loss is averaged all the same. A non-finite gradient makes the
    update non-finite; a NaN loss, a window of zero loss or, after the first window, an infinite loss makes the weights
    of a later window NaN; both end the run as diverged.
    """

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        self.weigh_heads = options.heads == "weighted"
        self._temperature = options.temperature
        self._window = options.window
        self._steps = 0
        self._sums = torch.zeros(num_tasks, dtype=torch.float64)
        self._last_sums = torch.zeros(num_tasks, dtype=torch.float64)
        self._weights = torch.ones(num_tasks, dtype=torch.float64)

    def weights(self, losses: Tensor) -> Tensor:
        """The window's weights; see :class:`LossWeighting`."""
        if self._steps and self._steps % self._window == 0:
            self._begin_window()
        # On the losses' device, where nothing waits for the sums.
        self._sums = self._sums.to(losses.device) + losses
        self._steps += 1
        return self._weights.to(losses)

    def _begin_window(self) -> None:
        """Weights from the window that is full and the one before; sums compare as means do."""
        if self._steps >= 2 * self._window:
            ratios = self._sums / self._last_sums.to(self._sums.device)
            self._weights = len(ratios) * (ratios / self._temperature).softmax(dim=0)
        self._last_sums, self._sums = self._sums, torch.zeros_like(self._sums)

    def state_dict(self) -> dict[str, Tensor]:
        """Steps so far, the sums of this window's and the last one's losses, and the weights."""
        return {
            "steps": torch.tensor(self._steps),
            "sums": self._sums.clone(),
            "last_sums": self._last_sums.clone(),
            "weights": self._weights.clone(),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._steps = int(state["steps"])
        self._sums, self._last_sums = state["sums"].clone(), state["last_sums"].clone()
        self._weights = state["weights"].clone()
