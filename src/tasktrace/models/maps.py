"""What networks from images to maps need, in forms that are deterministic on a GPU too.

There torch refuses to unpool with ``deterministic`` set, and replaces bilinear upsampling by one that gathers index by
index. Both are written here as selections and matrix products, whose backward passes add up in a fixed order.
"""

import torch
from torch import Tensor

from tasktrace.errors import ConfigError


def check_size(inputs: Tensor, factor: int, network: str) -> None:
    """Refuse inputs that the network would not give back at their size.

    Args:
        inputs: Shape (N, C, H, W).
        factor: What H and W have to be multiples of.
        network: What to call it in the message.

    Raises:
        ConfigError: H or W is not a multiple.
    """
    height, width = inputs.shape[-2:]
    if height % factor or width % factor:
        raise ConfigError(
            f"{network} takes inputs whose height and width are multiples of {factor}, found {height}x{width}; "
            "prepare the setting in another size or choose another model"
        )


def unpool(maps: Tensor, indices: Tensor) -> Tensor:
    """Put every value back where 2x2 max-pooling found it, and zero elsewhere.

    Args:
        maps: Shape (N, C, h, w).
        indices: Those of ``max_pool2d(..., 2, return_indices=True)``, positions in a plane of 2h x 2w, (N, C, h, w).

    Returns:
        Shape (N, C, 2h, 2w), channels last in memory.
    """
    samples, channels, height, width = maps.shape
    rows = torch.arange(2 * height, device=maps.device).view(height, 2, 1, 1, 1)
    columns = torch.arange(2 * width, device=maps.device).view(width, 2, 1)
    own, found = (each.permute(0, 2, 3, 1)[:, :, None, :, None] for each in (maps, indices))
    spread = torch.where(found == rows * (2 * width) + columns, own, 0.0)
    return spread.reshape(samples, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


def upsample(maps: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling with the corners aligned, as ``interpolate(mode="bilinear", align_corners=True)``.

    Args:
        maps: Shape (N, C, h, w).
        factor: How many times as many rows and columns.

    Returns:
        Shape (N, C, factor * h, factor * w), of float32 at least: bfloat16 would round the weights as well.
    """
    height, width = maps.shape[-2:]
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    with torch.autocast(maps.device.type, enabled=False):
        return _interpolation(height, factor, maps) @ (maps @ _interpolation(width, factor, maps).mT)


def _interpolation(size: int, factor: int, like: Tensor) -> Tensor:
    """The weights of ``size`` points in each of ``factor * size`` between them, shape (factor * size, size)."""
    points = torch.arange(size, device=like.device, dtype=torch.float64)
    places = torch.linspace(0, size - 1, factor * size, device=like.device, dtype=torch.float64)
    return (1 - (places[:, None] - points).abs()).clamp(min=0).to(like.dtype)
