"""The best worst case of the tasks within a ball around the mean gradient."""

from dataclasses import dataclass

import numpy as np

from tasktrace.methods.solvers.cosines import EPS, TOLERANCE, Array, Positions, SolverError, cosines, vanishes
from tasktrace.methods.solvers.min_norm import surrounds_origin
from tasktrace.methods.solvers.nonnegative import nonnegative_least_squares

_PROBLEM = "CAGrad's dual"
_PIVOTS = 15
_BRACKETINGS = 200


@dataclass(frozen=True)
class _Ball:
    """The problem in units of its rows.

    The direction is g0 + rho v with |v| <= 1 and rho = c |g0|. Task k's condition g_k.d >= t reads
    u_k.v >= tau q_k - b_k, where u_k = g_k / |g_k|, tau = t / (rho min|g|) and

    Attributes:
        cosine: Inner products of the u_k, shape (T, T).
        reach: q_k = min|g| / |g_k|, shape (T,).
        mean: b_k = u_k.g0 / rho, shape (T,).
        cancelled: Size of the terms that b_k sums, mean |g| / rho, which may be far above its entries.
    """

    cosine: Array
    reach: Array
    mean: Array
    cancelled: float


def cagrad_weights(gramian: Array, c: float) -> Array:
    """The weights of d = argmax min_k g_k.d over |d - g0| <= c |g0|, where g0 is the mean gradient.

    Its dual is w = argmin g_w.g0 + c |g0| |g_w| over the simplex with g_w = sum_k w_k g_k, and
    d = g0 + c |g0| g_w / |g_w| (Liu et al. 2021, section 3). The conditions of optimality are those of a
    non-negative least squares problem whose right side depends on the worst case t, and on a given set of tasks at
    their worst case |v| = 1 is a quadratic equation for t: a few changes of the set end at the exact solution.

    Args:
        gramian: Inner products of the gradients, shape (T, T), finite; any units.
        c: Radius of the ball in units of |g0|, >= 0.

    Returns:
        Weights of all gradients in d, those of g0 included, shape (T,); of degree 0 in the gradients.
        Where several d have the best worst case, which is then 0 (zero rows, or a convex combination of the gradients
        that is 0 to rounding), the one nearest to g0. Where g0 is 0 to rounding, the ball is a point: 1 / T each.

    Raises:
        SolverError: Not solved to tolerance.
    """
    size = len(gramian)
    weights = np.full(size, 1.0 / size)
    norms = np.sqrt(gramian.diagonal())
    inner = gramian.mean(axis=1)
    square = float(inner.mean())
    if c == 0.0 or vanishes(square, norms / size):
        return weights
    radius = c * float(np.sqrt(square))
    live = norms > 0.0
    stuck = not live.all()
    if stuck:
        norms, inner, gramian = norms[live], inner[live], gramian[live][:, live]
    cancelled = float(norms.sum()) / size / radius
    ball = _Ball(cosines(gramian, norms), norms.min() / norms, inner / radius / norms, cancelled)
    weights[live] += radius * _amounts(ball, stuck) / norms
    return weights


def _amounts(ball: _Ball, stuck: bool) -> Array:
    """The x >= 0 of v = sum_k x_k u_k; ``stuck`` says that the worst case cannot rise above 0."""
    found = _by_pivoting(ball)
    if found is not None and (not stuck or found[1] <= 0.0):
        return found[0]
    return _by_bracketing(ball, stuck)


def _by_pivoting(ball: _Ball) -> tuple[Array, float] | None:
    """Change all violated memberships at once until none is left: x and tau, or None if that leads nowhere."""
    inside = np.ones(len(ball.mean), dtype=bool)
    for _ in range(_PIVOTS):
        support = np.flatnonzero(inside)
        candidate = _on_support(ball, support)
        if candidate is None:
            return None
        amounts, tau = candidate
        x = np.zeros(len(ball.mean))
        x[support] = amounts
        slack = ball.cosine @ x - tau * ball.reach + ball.mean
        wanted = np.where(inside, x > 0.0, slack < 0.0)
        if (wanted == inside).all() or _gap(ball, x, tau) <= 0.01 * TOLERANCE:
            # a combination that is zero to rounding has no direction
            solved = _gap(ball, x, tau) <= TOLERANCE and not vanishes(1.0, x)
            return (x, tau) if solved else None
        inside = wanted
    return None


def _on_support(ball: _Ball, support: Positions) -> tuple[Array, float] | None:
    """Amounts and tau with every condition of ``support`` tight and |v| as near to 1 as these conditions allow."""
    if not len(support):
        return None
    sides = np.stack((ball.reach[support], ball.mean[support]), axis=1)
    try:
        solved = np.linalg.solve(ball.cosine[support[:, None], support], sides)
    except np.linalg.LinAlgError:
        return None
    (quadratic, linear), (_, constant) = sides.T @ solved
    if not quadratic > 0.0:
        return None
    # quadratic tau^2 - 2 linear tau + constant = |v|^2; |v| grows with tau, hence the larger root
    discriminant = linear * linear - quadratic * (constant - 1.0)
    tau = (linear + np.sqrt(max(discriminant, 0.0))) / quadratic
    return tau * solved[:, 0] - solved[:, 1], float(tau)


def _gap(ball: _Ball, x: Array, tau: float) -> float:
    """Largest violation of |v| = 1, x >= 0, slack >= 0 and x slack = 0, relative to the terms that each sums."""
    magnitude = np.abs(x)
    products = ball.cosine @ x
    terms = np.abs(ball.cosine) @ magnitude + abs(tau) * ball.reach + np.abs(ball.mean) + ball.cancelled
    slack = (products - tau * ball.reach + ball.mean) / terms
    violation = np.where(x > 0.0, np.abs(slack), -slack)
    spread = float(magnitude.sum())
    length = abs(float(x @ products) - 1.0) / (1.0 + spread * spread)
    return max(float(violation.max()), length, -float(x.min()) / (spread or 1.0))


def _by_bracketing(ball: _Ball, stuck: bool) -> Array:
    """Solve the least squares problem of one tau after the other until |v| = 1; safe on degenerate gradients.

    With s in place of tau + sum_k q_k x_k the problem of a fixed s always has a solution, and |v| grows with s.
    """
    # the nearest direction to g0 that no task objects to; if it is within the ball, the worst case is at least 0
    x = nonnegative_least_squares(ball.cosine, -ball.mean, _PROBLEM, ball.cancelled)
    low = float((ball.mean / ball.reach).min())
    high = max(low, float(ball.reach @ x))
    if _length(ball, x) < 1.0:
        if stuck or surrounds_origin(ball.cosine):
            return x
        low = high
        step = 1.0
        while _length(ball, x) < 1.0:
            high = low + step
            step *= 2.0
            x = _at(ball, high)
    for _ in range(_BRACKETINGS):
        s = _crossing(ball, x)
        if not low < s < high:
            s = 0.5 * (low + high)
        x = _at(ball, s)
        length = _length(ball, x)
        if abs(length - 1.0) <= 1e-13 or not low < s < high:
            break
        low, high = (s, high) if length < 1.0 else (low, s)
    gap = _gap(ball, x, s - float(ball.reach @ x))
    if not gap <= TOLERANCE:
        raise SolverError(_PROBLEM, gap)
    return x


def _at(ball: _Ball, s: float) -> Array:
    hessian = ball.cosine + ball.reach[:, None] * ball.reach
    return nonnegative_least_squares(hessian, s * ball.reach - ball.mean, _PROBLEM, ball.cancelled)


def _length(ball: _Ball, x: Array) -> float:
    return float(np.sqrt(max(float(x @ ball.cosine @ x), 0.0)))


def _crossing(ball: _Ball, x: Array) -> float:
    """The s at which |v| = 1 on the support of ``x``; NaN if there is none."""
    support = np.flatnonzero(x > 0.0)
    if not len(support):
        return float("nan")
    cosine, reach = ball.cosine[support[:, None], support], ball.reach[support]
    try:
        sides = np.stack((reach, ball.mean[support]), axis=1)
        solved = np.linalg.solve(cosine + reach[:, None] * reach, sides)
    except np.linalg.LinAlgError:
        return float("nan")
    (quadratic, linear), (_, constant) = solved.T @ cosine @ solved
    discriminant = linear * linear - quadratic * (constant - 1.0)
    if not (quadratic > 8.0 * EPS and discriminant >= 0.0):
        return float("nan")
    return float((linear + np.sqrt(discriminant)) / quadratic)
