"""The two losses of CAGrad's toy problem (Liu et al. 2021, figure 1; constants as in the authors' published script).

Above the x1 axis both losses are logarithms with a deep, narrow ravine each, which plain descent leaves only by chance;
below it they are paraboloids with minima apart. With (L1 + L2) / 2 as the objective, the Pareto set is x1 in [-7, 7] at
x2 = -8.3552, and the minimum is -15.0916 at (0, -8.3551).

When a descent leaves a ravine depends on float32 rounding: the order of the operations is part of the definition.
"""

import torch
from torch import Tensor

_LEAST = 5e-6
"""What the logarithms' arguments are clamped to."""


def losses(x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and L2 at the points (x1, x2), each of the arguments' shape; no unit.

    With c1 = max(tanh(x2 / 2), 0) and c2 = max(tanh(-x2 / 2), 0), L_k = f_k c1 + q_k c2.
    """
    above = torch.clamp(torch.tanh(x2 * 0.5), 0)
    below = torch.clamp(torch.tanh(-x2 * 0.5), 0)
    ravine1 = torch.clamp((0.5 * (-x1 - 7) - torch.tanh(-x2)).abs(), _LEAST).log() + 6
    ravine2 = torch.clamp((0.5 * (-x1 + 3) + torch.tanh(-x2) + 2).abs(), _LEAST).log() + 6
    bowl1 = ((-x1 + 7).pow(2) + 0.1 * (-x2 - 8).pow(2)) / 10 - 20
    bowl2 = ((-x1 - 7).pow(2) + 0.1 * (-x2 - 8).pow(2)) / 10 - 20
    return ravine1 * above + bowl1 * below, ravine2 * above + bowl2 * below


def losses_and_jacobians(points: Tensor) -> tuple[Tensor, Tensor]:
    """Losses and gradients at many points at once.

    Args:
        points: Shape (N, 2), float32.

    Returns:
        Losses (N, 2), and Jacobians (N, 2, 2) whose row k is the gradient of L_k; by autograd, bit for bit what each
        point alone gives.
    """
    x1, x2 = (coordinate.clone().requires_grad_() for coordinate in points.T)
    values = losses(x1, x2)
    # A point's losses depend on no other point: the gradient of a sum over points is each point's own.
    rows = [torch.autograd.grad(value.sum(), (x1, x2), retain_graph=True) for value in values]
    return torch.stack(values, dim=1).detach(), torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
