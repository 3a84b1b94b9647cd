"""How alike gradients are (Yu et al. 2020): cosine, magnitude similarity, share of conflicting coordinates."""

from torch import Tensor

from tasktrace.methods import gramian


def cosines(gramian: Tensor) -> Tensor:
    """Cosines of vectors from their inner products, (n, n); NaN where a vector is zero."""
    norms = gramian.diagonal().sqrt()
    return gramian / norms.outer(norms)


def magnitude_similarities(gramian: Tensor) -> Tensor:
    """2 |a| |b| / (|a|^2 + |b|^2) of vectors from their inner products, (n, n); NaN for two zeros."""
    squares = gramian.diagonal()
    return 2 * squares.sqrt().outer(squares.sqrt()) / (squares[:, None] + squares)


def conflicting_shares(rows: Tensor) -> dict[str, Tensor]:
    """Shares of coordinates in which two rows have opposite signs.

    Args:
        rows: Shape (n, P).

    Returns:
        ``conflicting``: of all coordinates, an exact zero counted as no conflict; ``conflicting_nonzero``: of those
        in which neither is zero, NaN if there are none. Shapes (n, n), float64, on the CPU.
    """
    signs = rows.sign()
    agreeing_less_opposite = gramian(signs)
    nonzero = gramian(signs.abs())
    opposite = (nonzero - agreeing_less_opposite) / 2
    return {"conflicting": opposite / rows.shape[1], "conflicting_nonzero": opposite / nonzero}
