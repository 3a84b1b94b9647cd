"""SegNet (Badrinarayanan et al. 2017) as the multi-task literature shares it: the whole encoder-decoder (study B).

Liu, Johns & Davison, "End-to-end multi-task learning with attention" (2019), "split": 13 convolutions down and 13 up
with BatchNorm, the decoder's maps unpooled to where the encoder's maxima were, and Xavier initialisation.
"""

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from tasktrace.models.maps import check_size, unpool
from tasktrace.tasks import Task

VERSION = 1

_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Of each stage, from the inputs down."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """SegNet has no options."""


class SegNet(nn.Module):
    """Inputs (N, 3, H, W) to features (N, 64, H, W), for H and W that are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        down = zip((3, *_CHANNELS), _CHANNELS, _CONVOLUTIONS, strict=False)
        up = zip(reversed(_CHANNELS), (*reversed(_CHANNELS[:-1]), 64), reversed(_CONVOLUTIONS), strict=True)
        self.down = nn.ModuleList(_stage(*sizes) for sizes in down)
        self.up = nn.ModuleList(_stage(*sizes) for sizes in up)

    def forward(self, inputs: Tensor) -> Tensor:
        """Five stages down, five up.

        Raises:
            ConfigError: H or W is not a multiple of 32.
        """
        check_size(inputs, 32, "segnet")
        maps, found = inputs, []
        for stage in self.down:
            maps, indices = functional.max_pool2d(stage(maps), 2, return_indices=True)
            found.append(indices)
        for stage, indices in zip(self.up, reversed(found), strict=True):
            maps = stage(unpool(maps, indices))
        return maps


def build_encoder(_options: Options) -> tuple[nn.Module, int]:
    """The encoder-decoder, 64 maps at the inputs' size."""
    return _xavier(SegNet()), 64


def build_head(_options: Options, width: int, task: Task) -> nn.Module:
    """Features (N, 64, H, W) to outputs (N, O, H, W), by a 3x3 and a 1x1 convolution with nothing between them."""
    return _xavier(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, task.outputs, 1)))


def _stage(entering: int, leaving: int, convolutions: int) -> nn.Sequential:
    """Convolutions with BatchNorm and ReLU, of which the first changes the number of maps."""
    sizes = pairwise((entering, *(leaving,) * convolutions))
    layers = [(nn.Conv2d(*own, kernel_size=3, padding=1), nn.BatchNorm2d(own[1]), nn.ReLU()) for own in sizes]
    return nn.Sequential(*(layer for own in layers for layer in own))


def _xavier(module: nn.Module) -> nn.Module:
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.xavier_normal_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return module
