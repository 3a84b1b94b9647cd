"""Mixed precision: the forward pass of training in bfloat16, everything else in float32."""

from typing import Any

import torch
from torch import nn

from tasktrace.models import MultiTaskModel


def train_in_bf16(model: MultiTaskModel, device: torch.device) -> None:
    """Let encoder and heads compute in bfloat16 whenever they are in training mode.

    Weights, features, outputs, losses, gradients and what a method makes of them stay float32: only what autocast
    lowers inside a module (matrix products, convolutions) is computed in bfloat16, and so is its backward pass. In eval
    mode nothing changes, so evaluation and measures are those of the float32 weights. On a CPU it works too, and is
    slow.

    Args:
        model: The model, changed in place.
        device: Where it is.
    """
    for module in (model.encoder, *model.heads.values()):
        _lower(module, device.type)


def _lower(module: nn.Module, device_type: str) -> None:
    plain = module.forward

    def forward(*inputs: Any) -> Any:
        if not module.training:
            return plain(*inputs)
        with torch.autocast(device_type, torch.bfloat16):
            outputs = plain(*inputs)
        return outputs.float()

    module.forward = forward
