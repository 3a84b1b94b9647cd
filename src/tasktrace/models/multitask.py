"""A shared encoder with one head per task, linear unless the model's module builds another."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tasktrace.config.components import component_options
from tasktrace.config.options import build_options
from tasktrace.seeding import derive_seed
from tasktrace.tasks import Task


class MultiTaskModel(nn.Module):
    """A shared encoder and one head per task.

    Args:
        encoder: Maps inputs (N, ...) to features: (N, D), or maps (N, D, h, w) for heads that take those.
        heads: One head per task, by the task's name; maps features to outputs (N, O), or (N, O, H, W) at the inputs'
            size.

    Attributes:
        uses_batch_statistics: Whether a sample's features depend on the rest of its batch in training mode (BatchNorm).
            Heads may use them besides: every head sees its task's whole batch at once.
    """

    def __init__(self, encoder: nn.Module, heads: dict[str, nn.Module]) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict(heads)
        self.uses_batch_statistics = uses_batch_statistics(encoder)

    def forward(self, inputs: Tensor, task: str) -> Tensor:
        """Outputs of one task, shape (N, O) or (N, O, H, W)."""
        outputs: Tensor = self.heads[task](self.encoder(inputs))
        return outputs


def build_model(spec: dict[str, Any], tasks: list[Task], seed: int) -> MultiTaskModel:
    """The model of a spec with a head for each task, initialised from the seed.

    Encoder and heads have generators of their own: a task starts from the same weights alone and in any group.

    Args:
        spec: The model's part of a run's spec: name and options.
        tasks: The tasks trained together.
        seed: The run's seed.

    Raises:
        DataError: Weights that the options name are not to be had.
    """
    module = importlib.import_module(f"tasktrace.models.{spec['name']}")
    options = build_options(module.Options, component_options(spec))
    build_head = getattr(module, "build_head", _linear_head)
    with _seeded(seed, "init", "encoder"):
        encoder, width = module.build_encoder(options)
    heads: dict[str, nn.Module] = {}
    for task in tasks:
        with _seeded(seed, "init", "head", task.name):
            heads[task.name] = build_head(options, width, task)
    return MultiTaskModel(encoder, heads)


def uses_batch_statistics(module: nn.Module) -> bool:
    """Whether what the module gives for a sample depends on the rest of its batch in training mode (BatchNorm)."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())


def _linear_head(_options: Any, width: int, task: Task) -> nn.Module:
    """Features (N, width) to outputs (N, O)."""
    return nn.Linear(width, task.outputs)


@contextmanager
def _seeded(seed: int, *purpose: str) -> Iterator[None]:
    """Seed torch's global generator, the only one that layers initialise from, and give it back as it was."""
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which seeds every GPU's generator as well.
        torch.default_generator.manual_seed(derive_seed(seed, *purpose))
        yield
