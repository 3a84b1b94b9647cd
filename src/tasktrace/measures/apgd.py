"""Auto-PGD: gradient ascent within a ball that sets its own step size (Croce and Hein 2020)."""

import math
from typing import Literal, Protocol

import torch
from torch import Tensor

Norm = Literal["linf", "l2"]

_FIRST_STEP = 2.0
_INERTIA = 0.25
_LEAST_RISES = 0.75


class Function(Protocol):
    """What is maximised: L functions of P numbers, one per lane; shapes (..., P) of points and (...) of values."""

    def values(self, points: Tensor) -> Tensor:
        """The functions' values, (...), detached."""

    def slopes(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """The values, (...), and new tensors with the gradients with respect to the points, (..., P)."""


def maximise(function: Function, point: Tensor, value: Tensor, slope: Tensor, norm: Norm, iterations: int) -> Tensor:
    """The largest values found in the unit balls around zero, every lane on its own.

    Source: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks" (2020), algorithm 1, on unit balls: step 2, momentum 0.75, and at every checkpoint half the step and a
    return to the best point if fewer than 75 % of the moves since the last one went up, or if neither the step nor the
    best value has changed since. What returns is the whole state, momentum included.

    An iteration takes one value and one slope at the same point, the last one only a value. Nothing waits for the
    device: what differs between lanes is decided there.

    Args:
        function: What to maximise.
        point: Where to start, within the balls, shape (..., P).
        value: The values there, shape (...).
        slope: The gradients there, shape (..., P); a positive factor per lane makes no difference.
        norm: The balls' norm.
        iterations: Moves.

    Returns:
        Shape (...), at least ``value``. A NaN that a move meets is passed over; one in ``value`` stays.
    """
    ends = set(checkpoints(iterations))
    direction = _uphill(slope.clone(), norm)
    previous = best_point = point
    best_direction, best = direction, value
    step = torch.full_like(value, _FIRST_STEP, dtype=point.dtype)
    rises, moves = torch.zeros_like(value), 0
    halved, best_before = torch.zeros_like(value, dtype=torch.bool), value
    for number in range(1, iterations + 1):
        ahead = _project(torch.addcmul(point, direction, step.unsqueeze(-1)), norm)
        if number > 1:
            # point + 0.75 (ahead - point) + 0.25 (point - previous)
            ahead.mul_(1 - _INERTIA).add_(point, alpha=2 * _INERTIA).sub_(previous, alpha=_INERTIA)
            ahead = _project(ahead, norm)
        previous, point, before = point, ahead, value
        if number == iterations:
            value = function.values(point)
            return torch.where(value > best, value, best)
        value, slope = function.slopes(point)
        direction = _uphill(slope, norm)
        rises, moves = rises + (value > before), moves + 1
        better = value > best
        best_point, best_direction = _choose(better, point, best_point), _choose(better, direction, best_direction)
        best = torch.where(better, value, best)
        if number in ends:
            halved = (rises < _LEAST_RISES * moves) | (~halved & (best == best_before))
            step = torch.where(halved, step / 2, step)
            point, previous = _choose(halved, best_point, point), _choose(halved, best_point, previous)
            direction, value = _choose(halved, best_direction, direction), torch.where(halved, best, value)
            rises, moves, best_before = torch.zeros_like(rises), 0, best
    return best


def checkpoints(iterations: int) -> list[int]:
    """Moves after which the step size is reconsidered: for 20 these are 5, 9, 12, 15, 16, 18, 19, 20.

    Source: Croce and Hein (2020), section 3.2: the ceilings of p_j iterations, with p_0 = 0, p_1 = 0.22 and p_{j+1} =
    p_j + max(p_j - p_{j-1} - 0.03, 0.06). Added up in float64 like the published code, where p_4 = 0.7 comes out a
    little larger: 15 of 20 moves, not 14.
    """
    shares = [0.0, 0.22]
    while shares[-1] <= 1.0:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({math.ceil(share * iterations) for share in shares[1:-1]})


def random_point(size: int, norm: Norm, generator: torch.Generator) -> Tensor:
    """A point drawn uniformly from the unit ball, float64, shape (size,), on the CPU."""
    if norm == "linf":
        return torch.rand(size, generator=generator, dtype=torch.float64).mul_(2).sub_(1)
    direction = torch.randn(size, generator=generator, dtype=torch.float64)
    radius = torch.rand(1, generator=generator, dtype=torch.float64) ** (1 / size)
    return direction.mul_(radius / direction.norm())


def _uphill(slope: Tensor, norm: Norm) -> Tensor:
    """The unit vector of the norm that rises most steeply; zero where the slope is. Overwrites ``slope``."""
    if norm == "linf":
        return slope.sign_()
    # The largest entry first: squares of small gradients would vanish in float32.
    tiny = torch.finfo(slope.dtype).tiny
    slope.div_(slope.abs().amax(-1, keepdim=True).clamp_(min=tiny))
    return slope.div_(torch.linalg.vector_norm(slope, dim=-1, keepdim=True).clamp_(min=tiny))


def _project(points: Tensor, norm: Norm) -> Tensor:
    """The nearest points of the unit ball. Overwrites ``points``."""
    if norm == "linf":
        return points.clamp_(-1, 1)
    return points.div_(torch.linalg.vector_norm(points, dim=-1, keepdim=True).clamp_(min=1))


def _choose(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    """By lane, vectors of ``yes`` where the condition holds, else of ``no``; shapes (...) and (..., P).

    For one lane on a CPU, where asking costs nothing, the tensor itself: nothing is copied.
    """
    if condition.numel() == 1 and condition.device.type == "cpu":
        return yes if condition else no
    return torch.where(condition.unsqueeze(-1), yes, no)
