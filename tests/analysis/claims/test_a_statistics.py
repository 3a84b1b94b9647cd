import math

import numpy as np
import pytest
from scipy import stats

from tasktrace.analysis.claims import statistics
from tasktrace.analysis.claims.base import Verdict


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_rate_of_false_alarms_is_that_of_equal_arms(seeds):
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 200_000, seeds))
    gap = abs(one.mean(axis=1) - other.mean(axis=1))
    found = (gap > 2 * (one.std(axis=1, ddof=1) + other.std(axis=1, ddof=1))).mean()
    assert statistics.false_alarm(seeds) == pytest.approx(found, abs=4 * math.sqrt(max(found, 1e-5) / 200_000))


def test_one_significant_difference_of_few_is_more_than_chance_and_of_many_is_not():
    assert statistics.more_than_chance(1, 9, 3)
    assert not statistics.more_than_chance(1, 11, 3)
    assert statistics.more_than_chance(2, 40, 3)
    assert not statistics.more_than_chance(1, 2, 2)
    assert not statistics.more_than_chance(0, 0, 3)


def test_what_prevails_is_what_is_more_and_no_chance():
    assert statistics.prevailing(2, 1, 9, 3) is True
    assert statistics.prevailing(1, 2, 9, 3) is False
    assert statistics.prevailing(2, 2, 9, 3) is None
    assert statistics.prevailing(1, 0, 40, 3) is None


def test_signs_are_tested_by_the_binomial():
    assert statistics.sign_test(5, 5) == pytest.approx(1 / 32)
    assert statistics.sign_test(7, 7, "two-sided") == pytest.approx(2 / 128)
    assert statistics.sign_test(0, 0) == 1


def test_a_mean_below_zero_is_tested_by_students_t():
    values = np.array([-1.0, -2.0, -4.0])
    expected = stats.ttest_1samp(values, 0, alternative="less").pvalue
    assert statistics.below_zero_p(values.mean(), values.std(ddof=1), 3) == pytest.approx(expected)
    assert statistics.below_zero_p(-1, float("nan"), 1) == 1
    assert (statistics.below_zero_p(-1, 0, 3), statistics.below_zero_p(1, 0, 3)) == (0, 1)


def test_a_perfect_prediction_of_three_and_four_has_one_chance_in_thirty_five():
    assert statistics.association(3, 0, 0, 4) == pytest.approx(1 / 35)
    assert statistics.association(3, 0, 0, 3) == pytest.approx(0.1)
    assert statistics.association(0, 0, 0, 0) == 1


def test_holms_method_corrects_the_smallest_most_and_keeps_the_order():
    assert statistics.holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1, 1]
    assert statistics.holm([]) == []


def test_pearsons_p_value_is_scipys():
    x, y = np.random.default_rng(1).normal(size=(2, 9))
    r, p = stats.pearsonr(x, y)
    assert statistics.correlation_p(r, 9) == pytest.approx(p)
    assert statistics.correlation_p(-1, 3) == 0


def test_one_group_pooled_has_its_own_interval():
    x, y = np.random.default_rng(2).normal(size=(2, 12))
    own = stats.pearsonr(x, y)
    interval = own.confidence_interval(0.95)
    pooled = statistics.pooled_correlation([own.statistic], [12])
    assert (pooled.coefficient, pooled.low, pooled.high) == pytest.approx((own.statistic, interval.low, interval.high))


def test_groups_are_pooled_by_their_sizes_and_opposite_ones_cancel():
    assert statistics.pooled_correlation([0.8, -0.8], [10, 10]).coefficient == pytest.approx(0)
    assert statistics.pooled_correlation([0.8, -0.8], [24, 10]).coefficient == pytest.approx(
        math.tanh(0.5 * math.atanh(0.8))
    )
    assert statistics.pooled_correlation([1.0], [4]).coefficient == pytest.approx(1)
    assert statistics.pooled_correlation([0.5], [3]) is None


def test_what_is_open_stays_open_and_few_seeds_decide_nothing():
    assert statistics.judged(True, "", 3, "x").verdict is Verdict.SUPPORTED
    assert statistics.judged(False, "", 3, "x").verdict is Verdict.CONTRADICTED
    open_ = statistics.judged(None, "", 3, "more tasks")
    assert (open_.verdict, open_.missing) == (Verdict.UNDECIDED, "more tasks")
    assert "3 seeds" in statistics.judged(True, "", 2, "x").missing
    assert "3 seeds" in statistics.judged(None, "", 2, "x").missing


def test_many_cases_are_counted_rather_than_listed():
    assert statistics.some(["a", "b"]) == "a; b"
    assert statistics.some(list("abcdefgh")) == "a; b; c; d; e; f; and 2 more"
    assert statistics.some([]) == "none"
