"""The minimum-norm point, against its optimality conditions on the matrix itself and against all faces of the hull."""

from itertools import combinations

import numpy as np
import pytest
import torch

from tasktrace.methods.solvers.min_norm import min_norm_weights

EPS = np.finfo(float).eps


def point(jacobian, sizes=None):
    rows = jacobian.numpy()
    weights = min_norm_weights(rows @ rows.T, sizes)
    return weights, weights @ rows


def smallest_on_any_face(rows):
    """The shortest convex combination, from the affine hulls of all subsets of rows."""
    best = rows[np.linalg.norm(rows, axis=1).argmin()]
    for count in range(2, len(rows) + 1):
        for face in combinations(range(len(rows)), count):
            first, others = rows[face[0]], rows[list(face[1:])]
            shares = np.linalg.lstsq((others - first).T, -first, rcond=None)[0]
            if shares.min() >= 0 and shares.sum() <= 1:
                candidate = first + shares @ (others - first)
                best = min(best, candidate, key=np.linalg.norm)
    return best


def test_the_weights_are_a_convex_combination(jacobian):
    weights, _ = point(jacobian)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, rel=1e-12)


def test_no_gradient_conflicts_with_the_point(jacobian):
    """g_k.d >= |d|^2 for all k: necessary and sufficient for the point of smallest norm."""
    weights, direction = point(jacobian)
    rows = jacobian.numpy()
    norms = np.linalg.norm(rows, axis=1)
    rounding = 16 * len(rows) * EPS * norms * (weights @ norms)
    assert (rows @ direction >= (direction @ direction) * (1 - 1e-10) - rounding).all()


def test_it_is_the_shortest_of_all_faces(jacobian):
    if len(jacobian) > 8:
        jacobian = jacobian[:8]
    weights, direction = point(jacobian)
    rows = jacobian.numpy()
    reference = smallest_on_any_face(rows / (np.abs(rows).max() or 1)) * np.abs(rows).max()
    spread = weights @ np.linalg.norm(rows, axis=1)
    # a reference that misses 0 by rounding is longer than ours, never shorter
    assert np.linalg.norm(direction) <= np.linalg.norm(reference) * (1 + 1e-10) + 1e-12 * spread
    if np.linalg.norm(reference) > 1e-6 * spread:
        assert np.allclose(direction, reference, rtol=0, atol=1e-10 * spread)


def test_sizes_divide_the_gradients(jacobian):
    sizes = np.random.default_rng(3).uniform(0.1, 5, len(jacobian))
    if not jacobian.any(dim=1).all():
        return  # a zero row has the weight, whatever the sizes
    weights, direction = point(jacobian, sizes)
    divided, expected = point(jacobian / torch.from_numpy(sizes)[:, None])
    assert weights @ sizes == pytest.approx(1, rel=1e-12)
    spread = divided @ np.linalg.norm(jacobian.numpy() / sizes[:, None], axis=1)
    assert np.allclose(direction, expected, rtol=0, atol=1e-10 * spread)


def test_a_size_of_zero_is_the_limit_of_small_ones():
    rows = np.array([[1.0, 0.2], [-0.5, 1.0], [3.0, 3.0]])
    exact = min_norm_weights(rows @ rows.T, np.array([0.0, 1.0, 2.0]))
    near = min_norm_weights(rows @ rows.T, np.array([1e-9, 1.0, 2.0]))
    assert np.allclose(exact, near, rtol=1e-7, atol=1e-8)
    assert exact[0] > 0.1


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 0.0], [0.0, 2.0]], [0.8, 0.2]),
        ([[1.0, 0.0], [3.0, 1.0]], [1.0, 0.0]),
        ([[3.0, 1.0], [1.0, 0.0]], [0.0, 1.0]),
        ([[1.0, 0.0], [-3.0, 0.0]], [0.75, 0.25]),
        ([[1.0, 2.0], [1.0, 2.0]], [0.5, 0.5]),
        ([[1.0, 0.0], [0.0, 1e5]], [1 / (1 + 1e-10), 1e-10 / (1 + 1e-10)]),
    ],
)
def test_two_tasks_by_hand(rows, expected):
    rows = np.array(rows)
    assert np.allclose(min_norm_weights(rows @ rows.T), expected, rtol=1e-14, atol=0)


def test_long_opposing_gradients_beside_short_ones():
    rows = np.array([[-0.003, 0.002], [-0.001, -0.001], [2.0, 3.0], [-20.0, -30.0], [-200.0, 200.0]])
    weights = min_norm_weights(rows @ rows.T)
    assert np.linalg.norm(weights @ rows) <= 1e-12 * (weights @ np.linalg.norm(rows, axis=1))


def test_zero_rows_share_the_weight():
    rows = np.array([[1.0, 0.0], [0.0, 0.0], [2.0, 1.0], [0.0, 0.0]])
    assert min_norm_weights(rows @ rows.T).tolist() == [0, 0.5, 0, 0.5]
