"""ResNet-18 (He et al. 2016) for CIFAR-100, 32x32, and CelebA, 64x64 (docs/settings.md)."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from tasktrace.models.resnets import load_weights, residual_network

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """First layers, pooling and initial weights.

    Attributes:
        stem: ``cifar``, a 3x3 convolution of stride 1, which keeps small inputs' size; or ``imagenet``, a 7x7 one of
            stride 2 and max-pooling.
        pool: ``global``, the mean of each of the last maps, 512 features; or ``4x4``, means over squares of that size,
            as in Sener & Koltun's code for CelebA (2018): 2,048 features of 64x64 inputs, whose last maps are 8x8, and
            for no other size.
        weights: See :func:`tasktrace.models.resnets.load_weights`; empty for random ones. With the imagenet stem only.
    """

    stem: Literal["cifar", "imagenet"] = "cifar"
    pool: Literal["global", "4x4"] = "global"
    weights: str = ""

    def __post_init__(self) -> None:
        """Refuse what does not go with the stem."""
        if self.stem == "imagenet" and self.pool != "global":
            raise ValueError("pool '4x4' is for the cifar stem; take pool 'global'")
        if self.stem == "cifar" and self.weights:
            raise ValueError(f"weights are for the imagenet stem, found {self.weights!r} with stem 'cifar'")


def build_encoder(options: Options) -> tuple[nn.Module, int]:
    """Inputs (N, 3, H, W) to features (N, 512), or (N, 2048) with 4x4 pooling of 64x64 inputs."""
    encoder = residual_network("resnet18")
    if options.weights:
        load_weights(encoder, "resnet18", options.weights)
    if options.stem == "cifar":
        encoder.conv1 = nn.Conv2d(3, 64, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(encoder.conv1.weight, mode="fan_out", nonlinearity="relu")
        del encoder.maxpool
    encoder.add_module("avgpool", nn.AdaptiveAvgPool2d(1) if options.pool == "global" else nn.AvgPool2d(4))
    encoder.add_module("flatten", nn.Flatten())
    return encoder, 512 if options.pool == "global" else 2048
