"""A small convolutional network: LeNet's shape, by default at the size of a scanned digit (1x8x8)."""

from dataclasses import dataclass

from torch import nn

from tasktrace.config.bounds import check_range

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """Width of the network, and the pictures that it sees.

    Attributes:
        channels: Channels of the first convolution; the second has twice as many.
        features: Width of the features.
        colours: Channels of the inputs: 1 grey, 3 colours.
        size: Height and width of the inputs in pixels.
    """

    channels: int = 8
    features: int = 32
    colours: int = 1
    size: int = 8

    def __post_init__(self) -> None:
        """Refuse a network without units."""
        check_range(self, "channels", "features", "colours", low=1)
        check_range(self, "size", low=4)


def build_encoder(options: Options) -> tuple[nn.Module, int]:
    """Two 3x3 convolutions with 2x2 max-pooling, then a linear layer: features (N, options.features)."""
    narrow, wide = options.channels, 2 * options.channels
    encoder = nn.Sequential(
        nn.Conv2d(options.colours, narrow, kernel_size=3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(narrow, wide, kernel_size=3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(wide * (options.size // 4) ** 2, options.features),
        nn.ReLU(),
    )
    return encoder, options.features
