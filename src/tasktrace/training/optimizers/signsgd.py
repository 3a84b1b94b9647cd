"""signSGD with momentum (Bernstein et al. 2018): a step of the learning rate's size in every coordinate."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tasktrace.config.bounds import check_range

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """signSGD's constants.

    Attributes:
        momentum: Decay of the averaged gradient; 0 for the sign of the present one. Study B has momentum without a
            value; 0.9 is proposed.
        weight_decay: Factor of the L2 term of the gradient.
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Hold the constants to their ranges."""
        check_range(self, "momentum", low=0, below=1)
        check_range(self, "weight_decay", low=0)


class SignSGD(torch.optim.Optimizer):
    """m <- beta m + (1 - beta) g; theta <- theta - lr sign(m), and sign(0) = 0."""

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float, options: Options) -> None:
        defaults = {"lr": learning_rate, "momentum": options.momentum, "weight_decay": options.weight_decay}
        super().__init__(parameters, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("SignSGD takes no closure")
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            gradients = [parameter.grad for parameter in moved]
            if group["weight_decay"]:
                gradients = list(torch._foreach_add(gradients, moved, alpha=group["weight_decay"]))
            if group["momentum"]:
                averages = [self._average(parameter) for parameter in moved]
                torch._foreach_lerp_(averages, gradients, 1 - group["momentum"])
                gradients = averages
            torch._foreach_add_(moved, torch._foreach_sign(gradients), alpha=-group["lr"])

    def _average(self, parameter: Tensor) -> Tensor:
        state: dict[str, Any] = self.state[parameter]
        if "average" not in state:
            state["average"] = torch.zeros_like(parameter)
        average: Tensor = state["average"]
        return average


def build(parameters: list[nn.Parameter], learning_rate: float, options: Options) -> torch.optim.Optimizer:
    """SignSGD over ``parameters``."""
    return SignSGD(parameters, learning_rate, options)
