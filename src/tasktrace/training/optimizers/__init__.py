"""The optimizers: one module each.

An optimizer's module declares ``VERSION`` and ``Options`` (see :mod:`tasktrace.config.declarations`) and defines
``build(parameters, learning_rate: float, options: Options) -> torch.optim.Optimizer``.
"""

import importlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tasktrace.config.components import component_options
from tasktrace.config.options import build_options


def build_optimizer(
    spec: dict[str, Any], parameters: Iterable[nn.Parameter], learning_rate: float
) -> torch.optim.Optimizer:
    """The optimizer of a spec, at a constant learning rate."""
    module = importlib.import_module(f"{__name__}.{spec['name']}")
    options = build_options(module.Options, component_options(spec))
    optimizer: torch.optim.Optimizer = module.build(list(parameters), learning_rate, options)
    return optimizer
