"""FAMO, fast adaptive multitask optimization (Liu et al. 2023, Algorithms 1 and 2)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tasktrace.config.bounds import check_range
from tasktrace.methods.base import LossWeighting

VERSION = 1

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Options:
    """How the logits move, and what the weights weigh.

    Attributes:
        weight_learning_rate: beta, the logits' learning rate: the paper's 0.025.
        decay: gamma, which pulls the logits to zero: Algorithm 2's 0.001 (the authors' code also shows 0.01).
        weight_optimizer: ``adam`` with betas 0.9 and 0.999 as in Algorithm 2 and the authors' code, ``descent`` for
            Algorithm 1's plain step.
        heads: ``plain`` for every head's own gradient, ``weighted`` for the weights on the heads too, as in the
            paper's sum of weighted losses.
    """

    weight_learning_rate: float = 0.025
    decay: float = 1e-3
    weight_optimizer: Literal["adam", "descent"] = "adam"
    heads: Literal["plain", "weighted"] = "plain"

    def __post_init__(self) -> None:
        """Hold rate and decay to their ranges."""
        check_range(self, "weight_learning_rate", "decay", low=0)


class Method(LossWeighting):
    """The weight c z_t/L_t with z = softmax(xi), c = 1 / sum_u z_u/L_u, and logits xi that start at zero.

    The weights have no unit and sum to 1. After the update of the model, with L' the losses of the same batch, the
    logits take one step of size beta down delta + gamma xi, with delta = J^T (log L - log L') and J = diag(z) - z z^T
    the derivative of the softmax: a task whose loss fell more than the others' loses weight.

    L' is one more forward pass of the training: ``needs_losses_after_step`` asks for it, and training calls
    :meth:`after_step` with it once after every update; the next step's :meth:`weights` refuses to go on without.

    The weights follow the ratios of the losses: they stay as they are when all losses are scaled. The update is linear
    in the gradients, of degree 1; scaling one task's loss, and its gradient with it, changes only c.

    Losses are to be positive, with the minimal losses of the authors' code at zero, and without its 1e-8 on top of the
    losses and its clipping of the gradient. A loss that is zero or non-finite makes the weights, a non-finite gradient
    the update non-finite, which ends the run as diverged. A zero gradient contributes nothing.

    Attributes:
        needs_losses_after_step: Asks training for the losses of the batch after the update.
    """

    needs_losses_after_step = True

    def __init__(self, num_tasks: int, options: Options, _seed: int) -> None:
        self.weigh_heads = options.heads == "weighted"
        self._options = options
        self._logits = torch.zeros(num_tasks, dtype=torch.float64)
        self._means = torch.zeros(num_tasks, dtype=torch.float64)
        self._squares = torch.zeros(num_tasks, dtype=torch.float64)
        self._steps = 0
        self._losses: Tensor | None = None

    def weights(self, losses: Tensor) -> Tensor:
        """Softmax over losses, with sum 1; see :class:`LossWeighting`.

        Raises:
            RuntimeError: The losses after the last update never came.
        """
        if self._losses is not None:
            raise RuntimeError("famo: after_step must be called once after every update, before the next weights")
        self._losses = losses.detach().clone()
        self._to(losses.device)
        # softmax(xi - log L) is z/L over its sum: the same without an overflow on the way.
        return (self._logits - losses.log()).softmax(dim=0).to(losses)

    def after_step(self, losses: Tensor) -> None:
        """Move the logits.

        Args:
            losses: Losses of the step's batch after the update of the model, shape (T,), detached.

        Raises:
            RuntimeError: No step precedes.
        """
        if self._losses is None:
            raise RuntimeError("famo: after_step was called without a step before it")
        falls = self._losses.double().log() - losses.double().log()
        self._losses = None
        shares = self._logits.softmax(dim=0)
        gradient = shares * (falls - shares @ falls) + self._options.decay * self._logits
        self._logits = self._logits - self._options.weight_learning_rate * self._direction(gradient)

    def _direction(self, gradient: Tensor) -> Tensor:
        """What the logits go down: the gradient, or Adam's ratio of its moments."""
        self._steps += 1
        if self._options.weight_optimizer == "descent":
            return gradient
        first, second = _BETAS
        self._means = first * self._means + (1 - first) * gradient
        self._squares = second * self._squares + (1 - second) * gradient**2
        mean = self._means / (1 - first**self._steps)
        return mean / ((self._squares / (1 - second**self._steps)).sqrt() + _EPSILON)

    def _to(self, device: torch.device) -> None:
        """Keep the state on the losses' device, where nothing waits for it."""
        self._logits, self._means, self._squares = (
            value.to(device) for value in (self._logits, self._means, self._squares)
        )

    def state_dict(self) -> dict[str, Tensor]:
        """Logits, their moments and the number of their steps, as they are between two steps."""
        return {
            "logits": self._logits.clone(),
            "means": self._means.clone(),
            "squares": self._squares.clone(),
            "steps": torch.tensor(self._steps),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self._logits, self._means = state["logits"].clone(), state["means"].clone()
        self._squares, self._steps = state["squares"].clone(), int(state["steps"])
        self._losses = None
