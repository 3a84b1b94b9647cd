"""What the solvers share: gradients as norms and cosines, and when a sum of gradients is zero to rounding."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

EPS = float(np.finfo(np.float64).eps)
TOLERANCE = 1e-10
"""Largest violation of an optimality condition, relative to the size of the terms that it sums."""


class SolverError(ArithmeticError):
    """A solver did not reach its optimality conditions, so that no weights follow.

    Attributes:
        gap: Largest violation, relative to the terms of the violated condition.
    """

    def __init__(self, problem: str, gap: float) -> None:
        super().__init__(f"{problem}: optimality conditions violated by {gap:.1e} (relative); allowed {TOLERANCE:.0e}")
        self.gap = gap


def cosines(gramian: Array, norms: Array) -> Array:
    """Cosines between gradients.

    Working on these instead of the inner products keeps the digits of short gradients beside long ones.

    Args:
        gramian: Inner products, shape (T, T).
        norms: Square roots of its diagonal, all positive, shape (T,).

    Returns:
        Shape (T, T), with ones on the diagonal.
    """
    # two divisions: the product of two norms may underflow where the ratios do not
    ratios = gramian / norms[:, None] / norms
    np.minimum(ratios, 1.0, out=ratios)
    np.maximum(ratios, -1.0, out=ratios)
    ratios.flat[:: len(norms) + 1] = 1.0
    return ratios


def vanishes(square: float, amounts: Array) -> bool:
    """Whether a sum of unit vectors with non-negative ``amounts`` is zero as far as rounding tells.

    Inner products carry a relative error of about one ``EPS`` per row, so a squared norm below that is noise.

    Args:
        square: Squared norm of the sum, from cosines.
        amounts: Shape (T,), not all zero.
    """
    return square <= 8.0 * len(amounts) * EPS * float(amounts.sum()) ** 2
