"""Adam (Kingma and Ba 2015), torch's, in its fused form."""

from dataclasses import dataclass

import torch
from torch import nn

from tasktrace.config.bounds import check_range

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Adam's constants; the defaults are the common ones, proposed for study A."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        """Hold the constants to their ranges."""
        check_range(self, "beta1", "beta2", low=0, below=1)
        check_range(self, "eps", "weight_decay", low=0)


def build(parameters: list[nn.Parameter], learning_rate: float, options: Options) -> torch.optim.Optimizer:
    """Adam over ``parameters``; weight decay is an L2 term of the gradient."""
    return torch.optim.Adam(
        parameters,
        lr=learning_rate,
        betas=(options.beta1, options.beta2),
        eps=options.eps,
        weight_decay=options.weight_decay,
        fused=True,
    )
