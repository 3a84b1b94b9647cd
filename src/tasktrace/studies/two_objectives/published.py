"""What the papers state about the toy problem, without torch, for tables and figures.

Hitting times: Elich et al., "Examining Common Paradigms in Multi-Task Learning" (arXiv 2311.04698v5), Table A3, of
which Table 1 shows the learning rates 10, 1, 0.1, 0.01 and 0.001. A number is the largest first hit over the three
starts, in iterations counted from 0; None stands for their '-': not every start got there within 100,000.
"""

from dataclasses import dataclass

LEARNING_RATES = (10.0, 5.0, 1.0, 0.5, 0.1, 0.05, 0.01, 0.005, 0.001)

_NEVER = (None,) * len(LEARNING_RATES)

_HITS: dict[tuple[str, str], tuple[int | None, ...]] = {
    ("gd", "ew"): (None, 103, None, None, None, None, None, None, None),
    ("gd", "pcgrad"): _NEVER,
    ("gd", "cagrad"): (644, None, 213, 621, 8069, 5732, 20418, 34405, None),
    ("adam", "ew"): (26, 37, 22, 58, 709, 2135, 9015, 16005, None),
    ("adam", "pcgrad"): (25, 4960, 56, 15741, 34175, 41438, None, None, None),
    ("adam", "cagrad"): (27, 30, 32, 106, 802, 7109, 11239, 14323, 57700),
}

_CHAOTIC = {
    ("adam", "ew"): (0.01, 0.005),
    ("adam", "pcgrad"): (5.0, 0.5, 0.1, 0.05),
    ("adam", "cagrad"): (0.05, 0.01, 0.005, 0.001),
}
"""Cells in which rounding decides when a ravine is left, so that another build of torch gives another number."""

_CHAOTIC_SHARE = 0.45
"""Proposed: the largest deviation seen between builds is 0.43 of the published number."""

PARETO_X1 = (-7.0, 7.0)
PARETO_X2 = -8.3552
"""The Pareto set is the segment between (-7, x2) and (7, x2) (Liu et al. 2021, the constant of their script)."""


@dataclass(frozen=True)
class Cell:
    """One published number.

    Attributes:
        hit: Iterations; None for '-'.
        tolerance: How far from it another build of torch may be, in iterations.
    """

    hit: int | None
    tolerance: float

    def agrees(self, hit: int | None) -> bool:
        """Whether a number of ours (None for '-') is within the tolerance."""
        if hit is None or self.hit is None:
            return hit is None and self.hit is None
        return abs(hit - self.hit) <= self.tolerance


def published(optimizer: str, method: str, learning_rate: float) -> Cell | None:
    """The published cell; None where the paper has none."""
    hits = _HITS.get((optimizer, method))
    if hits is None or learning_rate not in LEARNING_RATES:
        return None
    hit = hits[LEARNING_RATES.index(learning_rate)]
    chaotic = learning_rate in _CHAOTIC.get((optimizer, method), ())
    return Cell(hit, _CHAOTIC_SHARE * hit if chaotic and hit is not None else 1.0)
