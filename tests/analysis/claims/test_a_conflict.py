import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.claims.a_conflict import CLAIMS, FACTORS
from tasktrace.analysis.claims.base import Verdict
from tasktrace.analysis.correlation import correlations

CHECKS = {claim.id: claim.check for claim in CLAIMS}
OPTIONS = {"factors": dict.fromkeys((*FACTORS, "similarity"), ""), "resamples": 50}
ZIGZAG = np.array([1, -1, -1, 1, 0, 0, 1, -1, -1, 1])
"""Not correlated with the similarity of as many sets."""


def target(task="fish", slope=-1.0, g=0.0, wiggle=0.1, sets=10, seeds=3, g_std=0.001):
    """A target's rows of auxiliary.csv: factors falling with the similarity as ``slope`` says, G as ``g``."""
    similarity, zigzag = np.linspace(0.1, 0.9, sets), wiggle * np.resize(ZIGZAG, sets)
    names = {"optimizer": "adam", "method": "umtg", "task": task, "metric": "accuracy", "seeds": seeds}
    values = {"similarity": similarity, **dict.fromkeys(FACTORS, slope * similarity + zigzag)}
    table = pd.DataFrame({**values, "G": 0.8 + g * similarity + 0.01 * zigzag, "G_std": g_std})
    return table.assign(**names, group=[f"mtl.aux_{task}_{n:02d}" for n in range(sets)])


@pytest.fixture
def setting(tables):
    """A function that writes auxiliary.csv, and correlations.csv from it, of some targets."""

    def written(*targets):
        points = pd.concat(targets)
        return tables(auxiliary=points, correlations=correlations(points, OPTIONS))

    return written


def verdict(claim, tables):
    return CHECKS[claim](tables).verdict


def test_conflict_goes_with_worse_factors_if_less_similar_sets_have_more_of_each(setting):
    finding = CHECKS["a5-conflict-factors"](setting(target("fish"), target("trees")))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 6)
    assert "sharpness: pooled -0.9" in finding.numbers
    finding = CHECKS["a5-conflict-factors"](setting(target("fish").assign(fisher=ZIGZAG)))
    assert "0.00 [-0.63, +0.63] (p 1, Holm), fish" in finding.numbers
    assert finding.numbers.count("fish -0.94") == 2


def test_factors_that_rise_with_similarity_contradict_and_few_sets_leave_it_open(setting):
    claim = "a5-conflict-factors"
    assert verdict(claim, setting(target(slope=1.0))) is Verdict.CONTRADICTED
    assert verdict(claim, setting(target(slope=0.0))) is Verdict.UNDECIDED
    assert verdict(claim, setting(target(sets=4))) is Verdict.UNDECIDED
    assert verdict(claim, setting(target(sets=3))) is Verdict.UNDECIDED


def test_one_factor_of_three_that_does_not_go_with_conflict_leaves_it_open(setting):
    mixed = target().assign(fisher=ZIGZAG)
    assert verdict("a5-conflict-factors", setting(mixed)) is Verdict.UNDECIDED
    rising = target().assign(fisher=np.arange(10))
    assert verdict("a5-conflict-factors", setting(rising)) is Verdict.CONTRADICTED


def test_no_correlation_with_g_in_many_sets_supports(setting):
    finding = CHECKS["a5-conflict-generalisation"](setting(*(target(task) for task in "abc")))
    assert (finding.verdict, finding.comparisons) == (Verdict.SUPPORTED, 3)
    assert "pooled +0.00 [-0.40, +0.40]" in finding.numbers


def test_few_sets_cannot_show_that_a_correlation_is_little(setting):
    finding = CHECKS["a5-conflict-generalisation"](setting(target()))
    assert finding.verdict is Verdict.UNDECIDED
    assert "sets" in finding.missing


def test_three_sets_say_nothing_of_a_correlation(setting):
    finding = CHECKS["a5-conflict-generalisation"](setting(target(g=0.1, wiggle=0, sets=3)))
    assert (finding.verdict, finding.numbers) == (Verdict.UNDECIDED, "no coefficient is known of four sets")


def test_a_correlation_that_is_large_by_chance_or_clear_but_small_does_not_contradict(setting):
    claim = "a5-conflict-generalisation"
    by_chance = setting(target(g=0.01, wiggle=0.3, sets=5))
    assert "fish +0.7" in CHECKS[claim](by_chance).numbers
    assert verdict(claim, by_chance) is Verdict.UNDECIDED
    small = setting(target(g=0.01, wiggle=1, sets=100))
    assert "of the targets by themselves p 0.01" in CHECKS[claim](small).numbers
    assert verdict(claim, small) is Verdict.SUPPORTED


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_that_reaches_beyond_a_half_is_not_little(setting, sign):
    finding = CHECKS["a5-conflict-generalisation"](setting(*(target(task, g=sign * 0.008, wiggle=1) for task in "abc")))
    assert finding.verdict is Verdict.UNDECIDED


def test_a_strong_correlation_with_g_contradicts_even_if_targets_cancel(setting):
    claim = "a5-conflict-generalisation"
    assert verdict(claim, setting(target(g=0.1))) is Verdict.CONTRADICTED
    assert verdict(claim, setting(target("a", g=0.1), target("b", g=-0.1), target("c"))) is Verdict.CONTRADICTED


def test_the_set_of_most_conflict_can_be_best(setting):
    finding = CHECKS["a5-most-conflict-best"](setting(target(g=-0.1, wiggle=0.001)))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 1)
    assert "fish: similarity 0.10 G 0.79 ± 0.001 against 0.90 G 0.71 ± 0.001, rank 1 of 10" in finding.numbers
    assert "higher factors than the others: sharpness, fisher, coherence" in finding.numbers


def test_the_set_of_most_conflict_that_is_clearly_worse_contradicts(setting):
    claim = "a5-most-conflict-best"
    assert verdict(claim, setting(target(g=0.1))) is Verdict.CONTRADICTED
    assert verdict(claim, setting(target(g=0.1, g_std=0.5))) is Verdict.UNDECIDED
    flat = target(g=-0.1, slope=1.0, wiggle=0)
    assert verdict(claim, setting(flat)) is Verdict.UNDECIDED  # best, but its factors are not higher


def test_of_an_error_the_lowest_is_best(setting):
    claim = "a5-most-conflict-best"
    assert verdict(claim, setting(target(g=0.1, wiggle=0.001).assign(metric="absolute_error"))) is Verdict.SUPPORTED
    assert verdict(claim, setting(target(g=-0.1).assign(metric="absolute_error"))) is Verdict.CONTRADICTED


def test_the_extremes_are_of_four_sets_or_more(setting):
    claim = "a5-most-conflict-best"
    assert verdict(claim, setting(target(g=-0.1, wiggle=0.001, sets=4))) is Verdict.SUPPORTED
    finding = CHECKS[claim](setting(target(g=-0.1, wiggle=0.001, sets=3)))
    assert (finding.verdict, finding.numbers) == (Verdict.UNDECIDED, "no target with 4 sets")


def test_fish_speaks_for_itself_and_elsewhere_one_target_is_enough(setting):
    claim = "a5-most-conflict-best"
    others = target("trees", g=-0.1, wiggle=0.001), target("people", g=0.1)
    assert verdict(claim, setting(*others)) is Verdict.SUPPORTED
    assert verdict(claim, setting(*others, target("fish", g=0.1))) is Verdict.CONTRADICTED


@pytest.mark.parametrize("claim", CHECKS)
def test_two_seeds_decide_nothing_of_conflict(setting, claim):
    finding = CHECKS[claim](setting(target("a", g=-0.1, seeds=2), target("b", g=-0.1)))
    assert (finding.verdict, finding.n) == (Verdict.UNDECIDED, 2)
