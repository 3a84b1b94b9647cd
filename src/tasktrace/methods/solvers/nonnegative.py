"""Least squares with non-negative unknowns, from the normal equations."""

import numpy as np

from tasktrace.methods.solvers.cosines import EPS, TOLERANCE, Array, SolverError

_WELL_CONDITIONED = 1e-10
"""Least squared pivot with which a first guess of the support is worth solving for."""


def nonnegative_least_squares(hessian: Array, linear: Array, problem: str, cancelled: float = 0.0) -> Array:
    """The x >= 0 that minimises 1/2 x'Hx - h'x, exactly.

    The active-set method of Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23, started from the
    unconstrained minimum with its negative entries dropped, which is often the answer. Ends after finitely many steps:
    the objective falls with each, and no support comes twice.

    Args:
        hessian: H = A'A with a diagonal of about 1, shape (T, T); may be singular.
        linear: h = A'b, shape (T,); a linear term outside the range of A' is not a least squares problem.
        problem: Names the problem in the error's message.
        cancelled: Size of the terms that cancelled in the entries of h, and so left it with this times rounding.

    Returns:
        Shape (T,); unique where H is regular on its support.

    Raises:
        SolverError: The conditions w = h - Hx <= 0 and x'w = 0 do not hold to ``TOLERANCE``.
    """
    x = _first_support(hessian, linear)
    magnitudes = np.abs(hessian)
    refused = np.zeros(len(x), dtype=bool)
    for _ in range(50 + 20 * len(x)):
        slope = linear - hessian @ x
        noise = 4.0 * len(x) * EPS * (np.abs(linear) + magnitudes @ x + cancelled)
        entering = (slope > noise) & (x == 0.0) & ~refused
        if not entering.any():
            break
        entry = int(np.where(entering, slope, -np.inf).argmax())
        moved = _admit(hessian, linear, x, entry)
        if moved is None:
            refused[entry] = True
        else:
            x = moved
            refused[:] = False
    _check(hessian, linear, x, problem, cancelled)
    return x


def _first_support(hessian: Array, linear: Array) -> Array:
    """The minimum on a support that is likely, or zero where the likely one is nearly singular."""
    x = np.zeros_like(linear)
    support = np.arange(len(linear))
    block = hessian
    while len(support):
        try:
            pivots = np.linalg.cholesky(block).diagonal()
            if float(pivots.min()) ** 2 < _WELL_CONDITIONED:
                break
            inside = np.linalg.solve(block, linear[support])
        except np.linalg.LinAlgError:
            break
        if inside.min() > 0.0:
            x[support] = inside
            break
        support = support[inside > 0.0]
        block = hessian[support[:, None], support]
    return x


def _admit(hessian: Array, linear: Array, x: Array, entry: int) -> Array | None:
    """The minimum on a support reached by letting ``entry`` in; None if it depends on the support's other columns."""
    x = x.copy()
    inside = x > 0.0
    inside[entry] = True
    first = True
    while True:
        support = np.flatnonzero(inside)
        try:
            target = np.linalg.solve(hessian[support[:, None], support], linear[support])
        except np.linalg.LinAlgError:
            return None
        if first and not target[support == entry] > 0.0:
            return None
        first = False
        leaving = target <= 0.0
        if not leaving.any():
            x[:] = 0.0
            x[support] = target
            return x
        # only as far as the first entry that reaches zero, which leaves the support
        current = x[support]
        ratios = np.where(leaving, current / np.where(leaving, current - target, 1.0), np.inf)
        out = int(ratios.argmin())
        x[support] = np.maximum(current + ratios[out] * (target - current), 0.0)
        x[support[out]] = 0.0
        inside[support] = x[support] > 0.0
        if not inside.any():
            return None


def _check(hessian: Array, linear: Array, x: Array, problem: str, cancelled: float) -> None:
    slope = linear - hessian @ x
    violation = np.where(x > 0.0, np.abs(slope), slope)
    terms = np.abs(linear) + np.abs(hessian) @ x + cancelled
    # where columns cancel, the squared length of A x, and with it the factor of x, is known to this
    rounding = 4.0 * len(x) * EPS * x.max(initial=0.0) * terms.max(initial=0.0)
    if not (violation <= TOLERANCE * terms + rounding).all():
        raise SolverError(problem, float((violation / np.where(terms > 0.0, terms, 1.0)).max()))
