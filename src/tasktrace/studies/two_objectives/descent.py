"""Many descents of the toy problem at once: every start, learning rate, method and optimizer is a lane."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tasktrace.studies.two_objectives.directions import DIRECTIONS
from tasktrace.studies.two_objectives.landscape import losses_and_jacobians

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8
"""torch.optim.Adam's defaults."""

_FRESH1, _FRESH2 = torch.tensor(1 - _BETA1, dtype=torch.float32), torch.tensor(1 - _BETA2, dtype=torch.float32)


@dataclass(frozen=True)
class Lane:
    """One descent.

    Attributes:
        optimizer: ``gd`` for plain gradient descent, or ``adam`` with torch's default constants.
        method: A key of :data:`DIRECTIONS`.
        learning_rate: The step size.
        start: The initial point.
        traced: Whether its path is kept.
    """

    optimizer: Literal["gd", "adam"]
    method: str
    learning_rate: float
    start: tuple[float, float]
    traced: bool = False


@dataclass
class Outcome:
    """What became of a lane.

    Attributes:
        first_hit: The first iteration, counted from 0 and looked at before the update, with a mean loss below the
            threshold; None if there is none.
        lost_at: The iteration at which a loss or gradient was not finite, which ends the lane; None if there is none.
        path: The kept points, (iteration, x1, x2) each.
    """

    first_hit: int | None = None
    lost_at: int | None = None
    path: list[tuple[int, float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Thinning:
    """Which iterations of a path are kept: the first ``dense``, then every ``every``-th, and the last."""

    dense: int
    every: int

    def keeps(self, iteration: int) -> bool:
        """Whether this iteration is kept, if it is not the last."""
        return iteration < self.dense or iteration % self.every == 0


def descend(lanes: list[Lane], iterations: int, threshold: float, thinning: Thinning) -> list[Outcome]:
    """Run every lane until its first hit, or for so many iterations.

    Every lane's float32 numbers are those of torch.optim.SGD or torch.optim.Adam stepping it alone, bit for bit.

    Args:
        lanes: The lanes.
        iterations: Points looked at per lane, the initial one included.
        threshold: A lane hits once (L1 + L2) / 2 in float32 is below this.
        thinning: Which points of the traced lanes are kept.

    Returns:
        The outcomes, in the order of ``lanes``.
    """
    outcomes = [Outcome() for _ in lanes]
    group = _Group.starting(lanes)
    for iteration in range(iterations):
        losses, jacobians = losses_and_jacobians(group.points)
        hit = (losses[:, 0] + losses[:, 1]) / 2 < threshold
        lost = ~(losses.isfinite().all(dim=1) & jacobians.isfinite().all(dim=(1, 2)))
        ended = hit | lost
        is_last = iteration + 1 == iterations
        for position in _positions(group, ended, all_traced=is_last or thinning.keeps(iteration)):
            lane, point = int(group.lanes[position]), group.points[position].tolist()
            if lanes[lane].traced:
                outcomes[lane].path.append((iteration, *point))
            if hit[position]:
                outcomes[lane].first_hit = iteration
            elif lost[position]:
                outcomes[lane].lost_at = iteration
        if ended.any():
            group, jacobians = group.only(~ended), jacobians[~ended]
        if is_last or not len(group.lanes):
            break
        group.step(jacobians, iteration + 1)
    return outcomes


@dataclass
class _Group:
    """The lanes still running, sorted by method; N of them.

    Attributes:
        lanes: Their positions in the caller's list, (N,).
        methods: Their positions in DIRECTIONS, (N,), ascending.
        traced: Whether their paths are kept, (N,).
        adam: Whether they have Adam, (N, 1).
        rates: Learning rates, (N, 1), float64.
        points: Where they are, (N, 2), float32, like all that follows.
        first: Adam's average of the direction, (N, 2).
        second: Adam's average of its square, (N, 2).
    """

    lanes: Tensor
    methods: Tensor
    traced: Tensor
    adam: Tensor
    rates: Tensor
    points: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def starting(cls, lanes: list[Lane]) -> "_Group":
        names = list(DIRECTIONS)
        order = sorted(range(len(lanes)), key=lambda position: names.index(lanes[position].method))
        own = [lanes[position] for position in order]
        points = torch.tensor([lane.start for lane in own], dtype=torch.float32).reshape(-1, 2)
        return cls(
            lanes=torch.tensor(order, dtype=torch.int64),
            methods=torch.tensor([names.index(lane.method) for lane in own], dtype=torch.int64),
            traced=torch.tensor([lane.traced for lane in own], dtype=torch.bool),
            adam=torch.tensor([[lane.optimizer == "adam"] for lane in own]).reshape(-1, 1),
            rates=torch.tensor([[lane.learning_rate] for lane in own], dtype=torch.float64).reshape(-1, 1),
            points=points,
            first=torch.zeros_like(points),
            second=torch.zeros_like(points),
        )

    def only(self, kept: Tensor) -> "_Group":
        return _Group(**{name: value[kept] for name, value in vars(self).items()})

    def step(self, jacobians: Tensor, count: int) -> None:
        """Move every lane; ``count`` counts steps from 1."""
        sizes = torch.bincount(self.methods, minlength=len(DIRECTIONS)).tolist()
        parts = zip(DIRECTIONS.values(), jacobians.split(sizes), strict=True)
        directions = torch.cat([direction(own) for direction, own in parts])
        self.points = torch.where(self.adam, self._adam(directions, count), self._descent(directions))

    def _descent(self, directions: Tensor) -> Tensor:
        return _fused(-self.rates.float(), directions, self.points)

    def _adam(self, directions: Tensor, count: int) -> Tensor:
        """torch.optim.Adam's operations one by one; lanes without Adam carry moments that nothing reads."""
        self.first = _fused(_FRESH1, directions - self.first, self.first)
        self.second = _fused(_FRESH2 * directions, directions, self.second * _BETA2)
        correction1, correction2 = 1 - _BETA1**count, 1 - _BETA2**count
        size = self.second.sqrt() / correction2**0.5 + _EPS
        moved: Tensor = self.points + (-(self.rates / correction1)).float() * self.first / size
        return moved


def _fused(factor: Tensor, other: Tensor, addend: Tensor) -> Tensor:
    """A product and a sum in float32 with one rounding, as torch's optimizers have it on a CPU.

    The product is exact in float64, so that only the sum's rounding there comes before that to float32.
    """
    return torch.addcmul(addend.double(), factor.double(), other.double()).float()


def _positions(group: _Group, ended: Tensor, all_traced: bool) -> Iterator[int]:
    """The lanes of which something is to be written down."""
    told = ended | group.traced if all_traced else ended
    if told.any():
        yield from told.nonzero().flatten().tolist()
