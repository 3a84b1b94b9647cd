"""LeNet as the multi-task literature has it, for 1x28x28 inputs (docs/settings.md)."""

from dataclasses import dataclass

from torch import nn

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """LeNet has no options: no dropout, since the study compares at equal full training loss."""


def build_encoder(_options: Options) -> tuple[nn.Module, int]:
    """Two 5x5 convolutions (10 and 20 channels) with 2x2 max-pooling, then 50 units: features (N, 50)."""
    encoder = nn.Sequential(
        nn.Conv2d(1, 10, kernel_size=5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(10, 20, kernel_size=5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(320, 50),
        nn.ReLU(),
    )
    return encoder, 50
