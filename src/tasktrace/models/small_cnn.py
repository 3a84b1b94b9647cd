"""A small convolutional network for 1x8x8 inputs: LeNet's shape at the size of a scanned digit."""

from dataclasses import dataclass

from torch import nn

from tasktrace.config.bounds import check_range

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Width of the network.

    Attributes:
        channels: Channels of the first convolution; the second has twice as many.
        features: Width of the features.
    """

    channels: int = 8
    features: int = 32

    def __post_init__(self) -> None:
        """Refuse a network without units."""
        check_range(self, "channels", "features", low=1)


def build_encoder(options: Options) -> tuple[nn.Module, int]:
    """Two 3x3 convolutions with 2x2 max-pooling, then a linear layer: features (N, options.features)."""
    narrow, wide = options.channels, 2 * options.channels
    encoder = nn.Sequential(
        nn.Conv2d(1, narrow, kernel_size=3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(narrow, wide, kernel_size=3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(wide * 4, options.features),
        nn.ReLU(),
    )
    return encoder, options.features
