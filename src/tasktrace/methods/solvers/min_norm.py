"""The point of smallest norm in the convex hull of the task gradients."""

import numpy as np

from tasktrace.methods.solvers.cosines import Array, cosines, vanishes
from tasktrace.methods.solvers.nonnegative import nonnegative_least_squares

_PROBLEM = "minimum-norm point"


def min_norm_weights(gramian: Array, sizes: Array | None = None) -> Array:
    """The weights beta >= 0 with sum_k beta_k s_k = 1 that minimise |sum_k beta_k g_k|.

    With alpha_k = beta_k s_k this is the minimum-norm convex combination of the gradients g_k / s_k (Wolfe, "Finding
    the nearest point in a polytope", 1976). It is found as the non-negative least squares problem

        minimise |sum_k beta_k g_k|^2 + r^2 (sum_k beta_k s_k - 1)^2 over beta >= 0,

    whose solution is, up to a factor, the same for every r > 0: for a given direction of beta both terms are least at
    the least ratio of |sum beta g| to sum beta s. A size of 0 is thereby allowed: a gradient g_k / s_k that is
    infinitely long.

    Args:
        gramian: Inner products of the gradients g_k, shape (T, T), finite; any units.
        sizes: The s_k >= 0, not all zero, shape (T,); None for ones.

    Returns:
        Shape (T,). Of degree 0 in the gradients for fixed sizes. Where several weights give the same (unique) point,
        one of them. With zero rows the point is 0, and they share the weight: 1 / count each, whatever the sizes.

    Raises:
        SolverError: Not solved to tolerance.
    """
    squares = gramian.diagonal()
    zero = squares <= 0.0
    if zero.any():
        return np.where(zero, 1.0 / np.count_nonzero(zero), 0.0)
    sizes = np.ones(len(gramian)) if sizes is None else sizes
    if len(gramian) == 2 and sizes.min() > 0.0:
        return _two(gramian, sizes)
    norms = np.sqrt(squares)
    reach = sizes / norms
    reach = reach / reach.max()
    amounts = _nearest(cosines(gramian, norms), reach)
    weights = amounts / norms
    return weights / (weights @ sizes)


def surrounds_origin(cosine: Array) -> bool:
    """Whether some convex combination of the gradients is zero as far as rounding tells.

    At such a point, called Pareto-stationary, no direction improves every task.

    Args:
        cosine: Cosines between the gradients, none of which is zero, shape (T, T).
    """
    amounts = _nearest(cosine, np.ones(len(cosine)))
    return vanishes(float(amounts @ cosine @ amounts), amounts)


def _nearest(cosine: Array, reach: Array) -> Array:
    """Amounts of the unit gradients, up to a factor; ``reach`` is s_k / |g_k|, with a largest entry of 1."""
    return nonnegative_least_squares(cosine + reach[:, None] * reach, reach, _PROBLEM)


def _two(gramian: Array, sizes: Array) -> Array:
    """Closed form of two tasks (Sener and Koltun 2018, algorithm 1), with no distance kept from 0 and 1.

    First alpha = clip((h2 - h1).h2 / |h1 - h2|^2, 0, 1) with h_k = g_k / s_k.
    """
    scaled = gramian / sizes[:, None] / sizes
    first, second = scaled[0, 0] - scaled[0, 1], scaled[1, 1] - scaled[0, 1]
    if first > 0.0 and second > 0.0:
        shares = np.array([second, first]) / (first + second)
    elif scaled[0, 0] == scaled[1, 1]:
        shares = np.array([0.5, 0.5])
    else:
        shares = np.array([1.0, 0.0]) if scaled[0, 0] < scaled[1, 1] else np.array([0.0, 1.0])
    weights: Array = shares / sizes
    return weights
