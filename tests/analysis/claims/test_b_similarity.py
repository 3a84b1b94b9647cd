import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.claims.b_similarity import CLAIMS
from tasktrace.analysis.claims.base import Tables, Verdict
from tasktrace.analysis.similarity import COLUMNS

CHECKS = {claim.id: claim.check for claim in CLAIMS}
TASKS, SAMPLES = "inter_task", "inter_sample"
EPOCHS = 6

LIKE_CITYSCAPES = {
    ("magnitude_similarity", "mean"): (0.6, 0.8),
    ("cosine", "low"): (-0.3, -0.6),
    ("cosine", "high"): (0.4, 0.7),
    ("conflicting", "mean"): (0.45, 0.5),
    ("conflicting", "std"): (0.06, 0.1),
}
"""By quantity and statistic: between tasks, between samples."""


@pytest.fixture
def tables(tmp_path):
    """A function that writes a table of three seeds, and further values by (seed, epoch, kind, quantity, statistic)."""

    def written(numbers=LIKE_CITYSCAPES, changed=None, setting="invented", seeds=3, epochs=EPOCHS):
        folder = tmp_path / setting
        folder.mkdir()
        values = {
            (seed, epoch, kind, *name): value
            for seed in range(seeds)
            for epoch in range(1, epochs + 1)
            for name, pair in numbers.items()
            for kind, value in zip((TASKS, SAMPLES), pair, strict=True)
        } | (changed or {})
        rows = [(*key, value) for key, value in values.items()]
        pd.DataFrame(rows, columns=COLUMNS).to_parquet(folder / "similarity.parquet")
        return Tables(folder)

    return written


def swapped(name):
    """The numbers with those of one statistic exchanged between the kinds of pairs."""
    return {**LIKE_CITYSCAPES, name: LIKE_CITYSCAPES[name][::-1]}


def in_epochs(epochs, name, kind, value, seeds=(0, 1, 2)):
    return {(seed, epoch, kind, *name): value for seed in seeds for epoch in epochs}


MAGNITUDE = ("magnitude_similarity", "mean")


@pytest.mark.parametrize(
    ("claim", "comparisons"),
    [
        ("b-similarity-magnitude", 18),
        ("b-similarity-gap", 3),
        ("b-similarity-cosine", 18),
        ("b-similarity-conflicting", 18),
    ],
)
def test_numbers_as_on_cityscapes_support(tables, claim, comparisons):
    finding = CHECKS[claim](tables())
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, comparisons)


def test_magnitudes_must_differ_in_every_epoch_of_every_seed(tables):
    finding = CHECKS["b-similarity-magnitude"](tables(changed={(2, 5, TASKS, *MAGNITUDE): 0.81}))
    assert finding.verdict is Verdict.UNDECIDED
    assert "lower in 17 of 18 epochs and seeds (not in: epoch 5 of seed 2)" in finding.numbers


def test_magnitudes_that_are_lower_in_no_seed_in_most_epochs_contradict(tables):
    changed = in_epochs([1, 2, 3], MAGNITUDE, TASKS, 0.9)
    assert CHECKS["b-similarity-magnitude"](tables(changed=changed)).verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize(("last", "verdict"), [(0.45, Verdict.SUPPORTED), (0.35, Verdict.CONTRADICTED)])
def test_a_gap_that_grows_to_more_than_twice_is_not_constant(tables, last, verdict):
    grown = in_epochs([5, 6], MAGNITUDE, TASKS, last)
    assert CHECKS["b-similarity-gap"](tables(changed=grown)).verdict is verdict


def test_a_gap_that_shrinks_to_less_than_half_is_not_constant(tables):
    shrunk = in_epochs([5, 6], MAGNITUDE, TASKS, 0.71)
    assert CHECKS["b-similarity-gap"](tables(changed=shrunk)).verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize("pair", [(0.8, 0.6), (0.8, 0.8)])
def test_a_gap_that_was_never_there_is_not_constant(tables, pair):
    without = tables({**LIKE_CITYSCAPES, MAGNITUDE: pair})
    assert CHECKS["b-similarity-gap"](without).verdict is Verdict.CONTRADICTED


def test_a_gap_is_undecided_where_seeds_disagree(tables):
    finding = CHECKS["b-similarity-gap"](tables(changed=in_epochs([5, 6], MAGNITUDE, TASKS, 0.3, seeds=[1])))
    assert finding.verdict is Verdict.UNDECIDED
    assert "within a factor of 2 in 2 of 3 seeds" in finding.numbers
    assert "disagree" in finding.missing


def test_two_epochs_have_no_beginning_and_end(tables):
    finding = CHECKS["b-similarity-gap"](tables(epochs=2))
    assert finding.verdict is Verdict.UNDECIDED
    assert "longer training" in finding.missing


@pytest.mark.parametrize("name", [("cosine", "low"), ("cosine", "high")])
def test_a_spread_between_tasks_that_leaves_that_between_samples_contradicts(tables, name):
    assert CHECKS["b-similarity-cosine"](tables(swapped(name))).verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize(("epochs", "verdict"), [([1, 2], Verdict.SUPPORTED), ([1, 2, 3], Verdict.CONTRADICTED)])
def test_the_spread_must_lie_inside_in_more_than_half_of_the_epochs(tables, epochs, verdict):
    outside = in_epochs(epochs, ("cosine", "high"), TASKS, 0.9)
    assert CHECKS["b-similarity-cosine"](tables(changed=outside)).verdict is verdict


def test_of_celeba_the_paper_says_the_converse(tables):
    converse = swapped(("cosine", "low")) | {("cosine", "high"): LIKE_CITYSCAPES["cosine", "high"][::-1]}
    celeba = tables(converse, setting="celeba")
    assert CHECKS["b-similarity-cosine"](celeba) is None
    assert CHECKS["b-similarity-cosine-celeba"](celeba).verdict is Verdict.SUPPORTED


def test_celeba_like_cityscapes_contradicts(tables):
    assert CHECKS["b-similarity-cosine-celeba"](tables(setting="celeba")).verdict is Verdict.CONTRADICTED


def test_of_other_settings_the_converse_is_not_said(tables):
    assert CHECKS["b-similarity-cosine-celeba"](tables()) is None


def test_shares_of_conflicts_are_alike_within_the_smaller_spread_over_pairs(tables):
    apart = {**LIKE_CITYSCAPES, ("conflicting", "mean"): (0.43, 0.5)}
    assert CHECKS["b-similarity-conflicting"](tables(apart)).verdict is Verdict.CONTRADICTED


def test_an_epoch_whose_gradients_are_all_zero_does_not_count(tables):
    nothing = {(0, 1, TASKS, *name): np.nan for name in LIKE_CITYSCAPES}
    holed = tables(changed=nothing)
    for claim in ("b-similarity-magnitude", "b-similarity-cosine", "b-similarity-conflicting"):
        finding = CHECKS[claim](holed)
        assert (finding.verdict, finding.comparisons) == (Verdict.SUPPORTED, 17)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_gradients_that_are_always_zero_leave_everything_undecided(tables, claim):
    zeros = tables(dict.fromkeys(LIKE_CITYSCAPES, (np.nan, np.nan)), setting="celeba")
    finding = claim.check(zeros)
    assert finding is None or finding.verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("setting", ["celeba", "invented"])
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_two_seeds_decide_nothing(tables, claim, setting):
    finding = claim.check(tables(seeds=2, setting=setting))
    assert finding is None or (finding.verdict is Verdict.UNDECIDED and "3 seeds; these are 2" in finding.missing)
