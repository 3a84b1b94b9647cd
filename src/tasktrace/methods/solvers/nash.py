"""The Nash bargaining solution over update directions."""

import numpy as np

from tasktrace.methods.solvers.cosines import EPS, TOLERANCE, Array, SolverError, cosines, vanishes

_ITERATIONS = 200
_EXACT = 1e-13
_FULL_STEP = 0.25
"""Newton decrement below which full steps converge quadratically."""


def nash_weights(gramian: Array) -> Array:
    """The weights alpha > 0 with alpha_i (G alpha)_i = 1 for every task.

    They minimise the convex function 1/2 alpha'G alpha - sum_i log alpha_i, which is self-concordant: Newton's method
    with steps of 1 / (1 + decrement) converges from any start (Nesterov and Nemirovskii 1994). In amounts
    x_i = alpha_i |g_i| of unit gradients the equation holds the cosines in place of G, whatever the rows' scales, and
    the combined gradient sum_i x_i u_i has the norm sqrt(T).

    Args:
        gramian: Inner products of the gradients, shape (T, T), finite; any units.

    Returns:
        Shape (T,), in units of one over a gradient: degree -1 in the gradients, so that the combined gradient has
        degree 0. A zero gradient has no direction to bargain for: its weight is 0, the others bargain among themselves.
        Where some convex combination of the (other) gradients is 0 to rounding, no direction helps all of them, the
        equation has no solution and the players keep the point of disagreement: all weights are 0.

    Raises:
        SolverError: Not solved to tolerance.
    """
    norms = np.sqrt(gramian.diagonal())
    weights = np.zeros(len(gramian))
    live = np.flatnonzero(norms > 0.0)
    if len(live):
        norms = norms[live]
        weights[live] = _bargain(cosines(gramian[live[:, None], live], norms)) / norms
    return weights


def _bargain(cosine: Array) -> Array:
    """The x > 0 with x_i (C x)_i = 1, or zeros if there is none."""
    size = len(cosine)
    magnitudes = np.abs(cosine)
    x = np.full(size, np.sqrt(size / max(float(cosine.sum()), 1.0)))
    for _ in range(_ITERATIONS):
        products = x * (cosine @ x)
        if vanishes(float(products.sum()), x):
            return np.zeros(size)
        residual = 1.0 - products
        gap = np.abs(residual)
        if (gap <= _EXACT + 4.0 * EPS * x * (magnitudes @ x)).all():
            break
        # relative step y of x -> x (1 + y); the matrix is at least the identity, however large x is
        matrix = x[:, None] * cosine * x
        matrix.flat[:: size + 1] += 1.0
        step = np.linalg.solve(matrix, residual)
        decrement = float(np.sqrt(max(float(residual @ step), 0.0)))
        x = x * (1.0 + (step if decrement < _FULL_STEP else step / (1.0 + decrement)))
    else:
        _check(x, cosine, magnitudes)
    return x


def _check(x: Array, cosine: Array, magnitudes: Array) -> None:
    gap = np.abs(1.0 - x * (cosine @ x)) / (1.0 + x * (magnitudes @ x))
    if not (gap <= TOLERANCE).all():
        raise SolverError("Nash bargaining", float(gap.max()))
