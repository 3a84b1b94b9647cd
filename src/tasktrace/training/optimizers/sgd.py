"""Stochastic gradient descent, with heavy-ball momentum as an option; torch's, in its fused form."""

from dataclasses import dataclass

import torch
from torch import nn

from tasktrace.config.bounds import check_range

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """SGD's constants.

    Attributes:
        momentum: Factor of the velocity; 0 for plain SGD.
        weight_decay: Factor of the L2 term of the gradient.
    """

    momentum: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Hold the constants to their ranges."""
        check_range(self, "momentum", "weight_decay", low=0)


def build(parameters: list[nn.Parameter], learning_rate: float, options: Options) -> torch.optim.Optimizer:
    """SGD over ``parameters``."""
    return torch.optim.SGD(
        parameters, lr=learning_rate, momentum=options.momentum, weight_decay=options.weight_decay, fused=True
    )
