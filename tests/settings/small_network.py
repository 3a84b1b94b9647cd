"""A network of some hundred weights for colour pictures, with what large ones have: BatchNorm, dropout, upsampling."""

from dataclasses import dataclass

from torch import nn

from tasktrace.models.maps import upsample
from tasktrace.tasks import Task
from tasktrace.training.objectives import MAP_METRICS

VERSION = 1

_CHANNELS = 8
_STRIDE = 4


@dataclass(frozen=True, kw_only=True)
class Options:
    """It has none."""


class Upsampling(nn.Module):
    """To the inputs' size."""

    def forward(self, maps):
        return upsample(maps, _STRIDE)


def build_encoder(_options):
    """Inputs (N, 3, H, W) to features (N, 8, H/4, W/4)."""
    layers = [nn.Conv2d(3, _CHANNELS, _STRIDE, _STRIDE, bias=False), nn.BatchNorm2d(_CHANNELS), nn.ReLU()]
    layers += [nn.Conv2d(_CHANNELS, _CHANNELS, 3, padding=1), nn.BatchNorm2d(_CHANNELS), nn.ReLU()]
    return nn.Sequential(*layers), _CHANNELS


def build_head(_options, width, task: Task):
    """A map of outputs for tasks that have one, else as many outputs as the task asks for."""
    layers = [nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1)]
    if task.metric in MAP_METRICS:
        return nn.Sequential(*layers, nn.Conv2d(width, task.outputs, 1), Upsampling())
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, task.outputs))
