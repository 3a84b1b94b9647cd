"""Exact and standard statistics that the checks of study A share, and the way from them to a finding.

Study A calls a difference significant if the intervals of mean ± 2 standard deviations over seeds do not overlap. The
tables say where that is so; what is here says how often it would be so if nothing differed.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from scipy import integrate, stats  # type: ignore[import-untyped]

from tasktrace.analysis.claims.base import MIN_SEEDS, Finding, decide, undecided

ALPHA = 0.05
"""Level of every test."""

BAND = 2.0
"""Half-width of study A's intervals, in sample standard deviations over seeds."""

LONGEST = 6
"""So many cases are written out in a finding; of more it says how many they are."""


class Pooled(NamedTuple):
    """A correlation over several groups.

    Attributes:
        coefficient: The mean over the groups, weighted, of Fisher's z, as a coefficient.
        low: The lower end of its 95 % interval.
        high: The upper end.
        p: Two-sided p-value of no correlation.
    """

    coefficient: float
    low: float
    high: float
    p: float


@cache
def false_alarm(seeds: int) -> float:
    """How often the intervals mean ± 2 std of two equal arms, normal over seeds, do not overlap.

    The probability that the means differ by more than 2 (s + s'), over the means and both sample standard deviations s
    and s'; 0.01 for 3 seeds.

    Args:
        seeds: Of each arm, at least 2.
    """
    spread = stats.chi(seeds - 1, scale=1 / math.sqrt(seeds - 1))
    highest = spread.isf(1e-12)
    error = math.sqrt(2 / seeds)

    def weighed(one: float, other: float) -> float:
        return float(2 * stats.norm.sf(BAND * (one + other) / error) * spread.pdf(one) * spread.pdf(other))

    found, _ = integrate.dblquad(weighed, 0, highest, 0, highest, epsabs=1e-7, epsrel=1e-5)
    return float(found)


def more_than_chance(count: int, comparisons: int, seeds: int) -> bool:
    """Whether more differences are significant, in one direction, than chance makes so: an exact binomial test.

    Args:
        count: How many are.
        comparisons: Of how many.
        seeds: The fewest seeds of an arm.
    """
    if not count:
        return False
    rate = false_alarm(max(seeds, 2)) / 2
    return bool(stats.binomtest(count, comparisons, rate, alternative="greater").pvalue < ALPHA)


def prevailing(count: int, against: int, comparisons: int, seeds: int) -> bool | None:
    """Whether significant differences of one direction prevail over those of the other.

    Args:
        count: How many comparisons are significant as a claim says.
        against: How many are significant the other way.
        comparisons: Of how many.
        seeds: The fewest seeds of an arm.

    Returns:
        None where those that are more are no more than chance makes, or neither are more.
    """
    if count == against or not more_than_chance(max(count, against), comparisons, seeds):
        return None
    return count > against


def sign_test(count: int, comparisons: int, alternative: str = "greater") -> float:
    """The exact p-value of ``count`` of one sign among ``comparisons``; 1 for none."""
    return float(stats.binomtest(count, comparisons, 0.5, alternative=alternative).pvalue) if comparisons else 1.0


def below_zero_p(mean: float, std: float, seeds: int) -> float:
    """The one-sided p-value of a t-test that a mean over seeds is below zero; 1 for fewer than two.

    Args:
        mean: Over the seeds.
        std: Their sample standard deviation.
        seeds: How many.
    """
    if seeds < 2:
        return 1.0
    if not std:
        return float(mean >= 0)
    return float(stats.t.cdf(mean / (std / math.sqrt(seeds)), seeds - 1))


def association(both: int, first: int, second: int, neither: int) -> float:
    """The two-sided p-value of Fisher's exact test of two properties having nothing to do with each other.

    Args:
        both: Cases with both properties.
        first: Cases with the first only.
        second: Cases with the second only.
        neither: Cases with none.
    """
    return float(stats.fisher_exact([[both, first], [second, neither]]).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values, in their order, corrected by Holm's method for there being several."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def correlation_p(coefficient: float, points: int) -> float:
    """Two-sided p-value of Pearson's coefficient of that many normal points, from 3 on."""
    if abs(coefficient) >= 1:
        return 0.0
    statistic = abs(coefficient) * math.sqrt((points - 2) / (1 - coefficient**2))
    return float(2 * stats.t.sf(statistic, points - 2))


def pooled_correlation(coefficients: Sequence[float], points: Sequence[int]) -> Pooled | None:
    """Pearson's coefficients of several groups as one, by Fisher's z with weights n - 3.

    Args:
        coefficients: One a group.
        points: How many points each is over.

    Returns:
        None where no group has the four points that its z has a variance with.
    """
    known = [(min(max(r, -1 + 1e-9), 1 - 1e-9), n - 3) for r, n in zip(coefficients, points, strict=True) if n > 3]
    weight = sum(own for _, own in known)
    if not weight:
        return None
    z = sum(own * math.atanh(r) for r, own in known) / weight
    half = float(stats.norm.isf(ALPHA / 2)) / math.sqrt(weight)
    p = 2 * float(stats.norm.sf(abs(z) * math.sqrt(weight)))
    return Pooled(math.tanh(z), math.tanh(z - half), math.tanh(z + half), p)


def judged(holds: bool | None, numbers: str, n: int, missing: str, comparisons: int = 1) -> Finding:
    """The finding of numbers that may leave a claim open.

    Args:
        holds: Whether they are as the claim says; None where they are neither as it says nor against it.
        numbers: See :class:`Finding`.
        n: The fewest seeds; too few decide nothing, whatever the numbers are.
        missing: What would decide where ``holds`` is None.
        comparisons: See :class:`Finding`.
    """
    if holds is None and n >= MIN_SEEDS:
        return undecided(numbers, n, missing, comparisons)
    return decide(bool(holds), numbers, n, comparisons)


def some(items: Sequence[str]) -> str:
    """Cases in one line, the first of them if they are many; ``none`` without any."""
    shown = "; ".join(items[:LONGEST])
    return f"{shown}; and {len(items) - LONGEST} more" if len(items) > LONGEST else shown or "none"
