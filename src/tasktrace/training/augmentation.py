"""Random changes of a training batch that its targets follow.

``scale_crop_flip`` is study B's, which has it from CAGrad's code (Liu et al. 2021): a factor s of 1, 1.2 or 1.5; a
random window of H/s x W/s, enlarged to H x W again; mirrored from left to right with probability 1/2. Pictures and
normals are interpolated between the four nearest pixels, corner on corner; classes and depths are copied from the
nearest. Depths are divided by s; so are Cityscapes' inverse depths, which a zoom should multiply: it is what they do.

All positions are whole numbers until the last division, so a factor of 1 changes nothing, and every device reads the
same pixels.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tasktrace.errors import ConfigError
from tasktrace.seeding import derive_seed
from tasktrace.tasks import Task
from tasktrace.training.data import DeviceData
from tasktrace.training.updates import Batch

FACTORS = (1.0, 1.2, 1.5)

MIRRORED = 0.5
"""The share of samples that are mirrored."""


@dataclass(frozen=True)
class Axis:
    """How one axis of the enlarged windows is read from the originals.

    Attributes:
        start: First place of each sample's window, int64, (B,).
        length: Its length, int64, (B,).
        places: Which place of the enlarged window comes at each place of the result, int64, (B, S): 0 to S - 1, or
            backwards.
    """

    start: Tensor
    length: Tensor
    places: Tensor

    def nearest(self) -> Tensor:
        """Places of the original to copy, (B, S)."""
        return self.start[:, None] + self.places * self.length[:, None] // self.places.shape[1]

    def neighbours(self) -> tuple[Tensor, Tensor, Tensor]:
        """Places of the original on either side, (B, S) each, and the share of the second, float32."""
        gaps = max(self.places.shape[1] - 1, 1)
        steps = self.places * (self.length[:, None] - 1)
        low = steps // gaps
        high = torch.minimum(low + 1, self.length[:, None] - 1)
        share = (steps - low * gaps) / gaps
        return self.start[:, None] + low, self.start[:, None] + high, share


@dataclass(frozen=True)
class Windows:
    """What is cut out of each sample of a batch.

    Attributes:
        factors: How much each is enlarged, float64, (B,).
        mirrored: Whether it is mirrored, bool, (B,).
        rows: Its rows.
        columns: Its columns.
    """

    factors: Tensor
    mirrored: Tensor
    rows: Axis
    columns: Axis


def make_windows(size: tuple[int, int], factors: Tensor, tops: Tensor, lefts: Tensor, mirrored: Tensor) -> Windows:
    """Windows of a batch.

    Args:
        size: Height and width of the inputs.
        factors: Float64, (B,).
        tops: First row of each window, int64, (B,).
        lefts: First column, int64, (B,).
        mirrored: Bool, (B,).
    """
    height, width = size
    down, across = (torch.arange(own, device=factors.device).expand(len(factors), -1) for own in size)
    across = torch.where(mirrored[:, None], width - 1 - across, across)
    rows = Axis(tops, _window_length(height, factors), down)
    columns = Axis(lefts, _window_length(width, factors), across)
    return Windows(factors, mirrored, rows, columns)


def draw_windows(count: int, size: tuple[int, int], generator: torch.Generator, device: torch.device) -> Windows:
    """Random windows of ``count`` samples, drawn on the CPU and moved to ``device`` without waiting for it."""
    factors = torch.tensor(FACTORS, dtype=torch.float64)[torch.randint(len(FACTORS), (count,), generator=generator)]
    shares = torch.rand((3, count), generator=generator, dtype=torch.float64)
    corners = [(share * (own - _window_length(own, factors) + 1)) for own, share in zip(size, shares[:2], strict=True)]
    drawn = torch.stack([factors, *corners, shares[2]]).to(device, non_blocking=True)
    return make_windows(size, drawn[0], drawn[1].long(), drawn[2].long(), drawn[3] < MIRRORED)


def augmented(batch: Batch, tasks: Sequence[Task], windows: Windows) -> Batch:
    """The batch with every sample's window in its place.

    Args:
        batch: Inputs (B, C, H, W) that the tasks share, and a map of each task: (B, H, W), normals (B, 3, H, W).
        tasks: What tells how a map follows: its task's loss.
        windows: One of each sample.
    """
    targets = [_FOLLOW[task.loss](target, windows) for task, target in zip(tasks, batch.targets, strict=True)]
    return dataclasses.replace(batch, inputs=_interpolated(batch.inputs, windows), targets=targets)


class ScaleCropFlip:
    """Augments the batches of a run; what is drawn depends on (seed, epoch, step) alone, so a resume draws it again.

    Args:
        tasks: The run's tasks.
        seed: The run's seed.
    """

    def __init__(self, tasks: Sequence[Task], seed: int) -> None:
        self._tasks, self._seed = tasks, seed

    def augment(self, batch: Batch, epoch: int, step: int) -> Batch:
        """The batch of a step, every sample changed by itself."""
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "augment", epoch, step))
        count, _, height, width = batch.inputs.shape
        return augmented(batch, self._tasks, draw_windows(count, (height, width), generator, batch.inputs.device))


def build_augmentation(name: str, tasks: Sequence[Task], data: DeviceData, seed: int) -> ScaleCropFlip:
    """The augmentation of a run.

    Args:
        name: What the spec calls it.
        tasks: The run's tasks.
        data: The setting's data.
        seed: The run's seed.

    Raises:
        ConfigError: There is none of that name, or the setting has no maps that could follow.
    """
    if name != "scale_crop_flip":
        raise ConfigError(f"unknown augmentation {name!r}; allowed: scale_crop_flip")
    size = data.inputs.shape[-2:]
    for task in tasks:
        shape = data.targets[task.name, "train"].shape
        if not data.shared or task.loss not in _FOLLOW or len(shape) < 3 or shape[-2:] != size:
            raise ConfigError(
                f"augmentation {name!r} needs tasks that share their inputs and have a map of the inputs' size, with "
                f"one of the losses {', '.join(_FOLLOW)}; task {task.name!r} has {task.loss} and targets of shape "
                f"{tuple(shape[1:])}, inputs are {tuple(size)}; take `augmentation` out of the "
                "setting's training or experiments"
            )
    return ScaleCropFlip(tasks, seed)


def _window_length(size: int, factors: Tensor) -> Tensor:
    return (size / factors).long()


def _copied(maps: Tensor, windows: Windows) -> Tensor:
    """Maps (B, H, W) from their nearest pixels."""
    rows = torch.take_along_dim(maps, windows.rows.nearest()[:, :, None], dim=1)
    return torch.take_along_dim(rows, windows.columns.nearest()[:, None, :], dim=2)


def _interpolated(maps: Tensor, windows: Windows) -> Tensor:
    """Maps (B, C, H, W) from the four nearest pixels, row by row and then column by column."""
    for axis, dim in ((windows.rows, 2), (windows.columns, 3)):
        shape = (len(maps), 1, -1, 1) if dim == 2 else (len(maps), 1, 1, -1)
        low, high, share = (own.view(shape) for own in axis.neighbours())
        first, second = (torch.take_along_dim(maps, own, dim) for own in (low, high))
        maps = torch.lerp(first, second, share.to(maps.dtype))
    return maps


def _depths(maps: Tensor, windows: Windows) -> Tensor:
    return _copied(maps, windows) / windows.factors[:, None, None].to(maps.dtype)


def _normals(maps: Tensor, windows: Windows) -> Tensor:
    """Normals (B, 3, H, W), NaN where invalid: a pixel is the mean of its valid neighbours, which may be short of 1."""
    mean = _interpolated(maps.nan_to_num(nan=0.0), windows)
    sign = torch.where(windows.mirrored, -1.0, 1.0)[:, None, None]
    turned = torch.stack([mean[:, 0] * sign, mean[:, 1], mean[:, 2]], dim=1)
    return torch.where((mean != 0).any(dim=1, keepdim=True), turned, torch.nan)


_FOLLOW: dict[str, Callable[[Tensor, Windows], Tensor]] = {
    "cross_entropy": _copied,
    "l1": _depths,
    "cosine": _normals,
}
"""By a task's loss what its maps go through."""
