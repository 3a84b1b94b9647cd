"""DeepLabV3 (Chen et al. 2017): a dilated residual network of output stride 8, and an atrous head for each task.

Study A's Cityscapes network with ResNet-101; study B's, on Cityscapes and NYUv2, with ResNet-50 (LibMTL's).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torchvision.models.segmentation import deeplabv3

from tasktrace.models.maps import check_size, upsample
from tasktrace.models.resnets import load_weights, residual_network
from tasktrace.tasks import Task

VERSION = 1

_STRIDE = 8
_RATES = (12, 24, 36)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The residual network and its initial weights.

    Attributes:
        backbone: ``resnet50`` or ``resnet101``.
        weights: ``imagenet``, the path of a file, or empty for random ones; see
            :func:`tasktrace.models.resnets.load_weights`.
    """

    backbone: Literal["resnet50", "resnet101"] = "resnet50"
    weights: str = ""


class SizeCheck(nn.Module):
    """Refuses inputs that the heads would not give back at their size; see :func:`check_size`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The inputs, (N, 3, H, W)."""
        check_size(inputs, _STRIDE, "deeplab")
        return inputs


class ImagePooling(nn.Sequential):
    """torchvision's ``ASPPPooling``, with its one value per map repeated rather than interpolated.

    In training mode it takes two samples or more: BatchNorm has nothing to normalise one value by.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Shape (N, C, h, w) to (N, 256, h, w)."""
        pooled: Tensor = super().forward(features)  # type: ignore[no-untyped-call]
        return pooled.expand(-1, -1, *features.shape[-2:])


class Upsampling(nn.Module):
    """Bilinear, with the corners aligned, to the inputs' size."""

    def forward(self, maps: Tensor) -> Tensor:
        """Shape (N, O, H/8, W/8) to (N, O, H, W)."""
        return upsample(maps, _STRIDE)


def build_encoder(options: Options) -> tuple[nn.Module, int]:
    """Inputs (N, 3, H, W) to features (N, 2048, H/8, W/8), for H and W that are multiples of 8."""
    encoder = residual_network(options.backbone, replace_stride_with_dilation=[False, True, True])
    if options.weights:
        load_weights(encoder, options.backbone, options.weights)
    return nn.Sequential(OrderedDict(check=SizeCheck(), **dict(encoder.named_children()))), 2048


def build_head(_options: Options, width: int, task: Task) -> nn.Module:
    """Features (N, 2048, h, w) to outputs (N, O, 8h, 8w).

    Atrous convolutions of rates 12, 24 and 36 beside a 1x1 one and the image's mean, 256 maps each, projected to 256
    with dropout of a half; then a 3x3 and a 1x1 convolution, and upsampling.
    """
    head: nn.Sequential = deeplabv3.DeepLabHead(width, task.outputs, _RATES)
    branches: nn.ModuleList = head.get_submodule("0.convs")  # type: ignore[assignment]
    branches[-1] = ImagePooling(*branches[-1].children())
    return head.append(Upsampling())
