import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.claims.a_factors import CLAIMS, FACTORS
from tasktrace.analysis.claims.base import MissingTableError, Verdict
from tasktrace.analysis.published import published_deltas

CHECKS = {claim.id: claim.check for claim in CLAIMS}


@pytest.fixture
def setting(tables, arm, factor):
    """A function that writes a setting from rows (task, group, ΔG, differences of the three factors).

    By another rule than the one asked for the differences are the opposite.
    """

    def written(*rows, rule="table1", seeds=3, std=0.01, **stds):
        transfer = [arm(task, group, gain, seeds=seeds) for task, group, gain, *_ in rows]
        deltas = [
            factor(task, group, name, sign * delta, rule=written_for, seeds=seeds, std=stds.get(name, std))
            for task, group, _, *differences in rows
            for name, delta in zip(FACTORS, differences, strict=True)
            for sign, written_for in ((1, rule), (-1, "early"))
        ]
        return tables(transfer=transfer, deltas=deltas)

    return written


@pytest.fixture
def published(setting):
    """The paper's own CIFAR-100 numbers, of which only those of sharpness and G are called significant."""
    paper = published_deltas().query("setting == 'cifar100'")
    columns = ["delta_G", "delta_sharpness", "delta_fisher", "delta_coherence"]
    rows = [(row["task"], "all", *(row[name] for name in columns)) for row in paper.to_dict("records")]
    return setting(*rows, std=1000.0, sharpness=0.001)


def verdict(claim, tables):
    return CHECKS[claim](tables).verdict


HELPED, HURT = ("a", "friend", 0.05), ("a", "foe", -0.05)


def test_the_papers_own_numbers_support_its_claims(published):
    finding = CHECKS["a4-sharper-for-all"](published)
    assert finding.verdict is Verdict.SUPPORTED
    assert "sharper in 7 of 7 (significantly in 7; sign test p 0.0078; median +0.05)" in finding.numbers
    finding = CHECKS["a4-fisher-covariance-inconsistent"](published)
    assert finding.verdict is Verdict.SUPPORTED
    assert "coherence higher together in 6 of 7" in finding.numbers
    assert "fisher higher together in 5 of 7" in finding.numbers
    finding = CHECKS["a4-no-sign-predicts"](published)
    assert (finding.verdict, finding.comparisons) == (Verdict.SUPPORTED, 3)
    assert "sharpness: right for 4 of 7, the commoner sign for 4 (p 1)" in finding.numbers
    assert verdict("a4-factors-do-not-explain", published) is Verdict.SUPPORTED


def test_partners_are_equal_or_better_if_no_factor_is_significantly_higher_at_equal_loss(setting):
    finding = CHECKS["a4-equal-or-better"](setting((*HELPED, -0.1, 0.01, 0.0), (*HURT, -0.01, 0.0, 0.01), rule="end"))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 6)
    assert "significantly higher together in 0 of 6 comparisons with significant transfer, mean no higher in 4" in (
        finding.numbers
    )


def test_one_significantly_higher_factor_contradicts(setting):
    tables = setting((*HELPED, -0.1, -0.1, 0.0), (*HURT, -0.1, -0.1, 0.2), rule="end")
    assert verdict("a4-equal-or-better", tables) is Verdict.CONTRADICTED


def test_means_that_are_mostly_higher_are_not_called_equal(setting):
    tables = setting((*HELPED, 0.01, 0.01, 0.01), (*HURT, 0.01, -0.01, -0.01), rule="end")
    assert verdict("a4-equal-or-better", tables) is Verdict.UNDECIDED


def test_factors_that_are_lower_with_help_and_higher_with_harm_are_not_equal_or_better(setting):
    tables = setting((*HELPED, -0.03, -0.03, -0.03), (*HURT, 0.03, 0.03, 0.03), rule="end")
    assert verdict("a4-equal-or-better", tables) is Verdict.UNDECIDED


def test_partners_that_both_help_or_belong_to_different_tasks_leave_equal_loss_open(setting):
    better = (-0.1, -0.1, -0.1)
    both_help = setting((*HELPED, *better), ("a", "foe", 0.05, *better), rule="end")
    assert verdict("a4-equal-or-better", both_help) is Verdict.UNDECIDED
    insignificant = setting((*HELPED, *better), ("a", "foe", 0.0, *better), rule="end")
    assert "both significant positive and significant negative" in CHECKS["a4-equal-or-better"](insignificant).missing
    apart = setting((*HELPED, *better), ("b", "foe", -0.05, *better), rule="end")
    assert CHECKS["a4-equal-or-better"](apart) is None


def test_arms_of_tasks_with_one_partner_do_not_count_at_equal_loss(setting):
    better = (-0.1, -0.1, -0.1)
    tables = setting((*HELPED, *better), (*HURT, *better), ("b", "friend", 0.05, 1, 1, 1), rule="end")
    assert verdict("a4-equal-or-better", tables) is Verdict.SUPPORTED


def test_one_task_with_transfer_of_both_signs_is_enough_at_equal_loss(setting):
    better = (-0.1, -0.1, -0.1)
    also_helped = ("b", "friend", 0.05, *better), ("b", "other", 0.05, *better)
    tables = setting((*HELPED, *better), (*HURT, *better), *also_helped, rule="end")
    assert verdict("a4-equal-or-better", tables) is Verdict.SUPPORTED


def test_without_checkpoints_at_equal_loss_it_is_undecided(setting):
    finding = CHECKS["a4-equal-or-better"](setting((*HELPED, 1, 1, 1), (*HURT, 1, 1, 1), rule="early"))
    assert (finding.verdict, finding.n) == (Verdict.UNDECIDED, 3)
    assert "checkpoints at losses that both reach" in finding.missing


def many(count, gain, *differences, name="t"):
    return [(f"{name}{n}", "all", gain, *differences) for n in range(count)]


def test_all_are_sharper_if_a_helped_task_is_among_them_and_it_is_no_chance(setting):
    claim = "a4-sharper-for-all"
    sharper = (0.001, 0, 0)  # not significant by itself
    rows = [*many(4, -0.05, *sharper), ("helped", "all", 0.05, *sharper)]
    assert verdict(claim, setting(*rows)) is Verdict.SUPPORTED
    assert "five tasks" in CHECKS[claim](setting(*rows[1:])).missing
    assert "positive transfer" in CHECKS[claim](setting(*many(5, -0.05, *sharper))).missing
    clear = [("x", "all", -0.05, 0.1, 0, 0), ("y", "all", 0.05, 0.1, 0, 0)]
    assert verdict(claim, setting(*clear)) is Verdict.SUPPORTED
    assert verdict(claim, setting(clear[0], ("y", "all", 0.05, *sharper))) is Verdict.UNDECIDED


def test_a_clearly_flatter_task_contradicts_that_all_are_sharper(setting):
    claim = "a4-sharper-for-all"
    rows = [*many(6, -0.05, 0.1, 0, 0), ("helped", "all", 0.05, -0.1, 0, 0)]
    assert verdict(claim, setting(*rows)) is Verdict.CONTRADICTED
    rows[-1] = ("helped", "all", 0.05, -0.001, 0, 0)
    finding = CHECKS[claim](setting(*rows))
    assert finding.verdict is Verdict.UNDECIDED
    assert "a clear sign where tasks are flatter (helped (all))" in finding.missing
    assert verdict(claim, setting(*many(5, 0.05, -0.001, 0, 0))) is Verdict.CONTRADICTED  # by the sign test


def mixed(higher, lower, size=0.001):
    return [*many(higher, 0, 0, size, size, name="h"), *many(lower, 0, 0, -size, -size, name="l")]


def test_fisher_and_covariance_are_inconsistent_if_signs_are_mixed_and_insignificant(setting):
    claim = "a4-fisher-covariance-inconsistent"
    assert verdict(claim, setting(*mixed(4, 3))) is Verdict.SUPPORTED
    assert verdict(claim, setting(*mixed(4, 3, size=0.1))) is Verdict.CONTRADICTED
    half_significant = [(task, group, gain, 0, 100 * one, other) for task, group, gain, _, one, other in mixed(4, 3)]
    assert verdict(claim, setting(*half_significant)) is Verdict.SUPPORTED
    one_sign = [(task, group, gain, 0, 0.001, other) for task, group, gain, _, _, other in mixed(4, 3)]
    assert verdict(claim, setting(*one_sign)) is Verdict.CONTRADICTED
    assert verdict(claim, setting(*mixed(7, 0))) is Verdict.CONTRADICTED
    assert verdict(claim, setting(*mixed(14, 1))) is Verdict.CONTRADICTED
    finding = CHECKS[claim](setting(*mixed(3, 3)))
    assert finding.verdict is Verdict.UNDECIDED
    assert "seven tasks" in finding.missing


def test_a_sign_that_goes_with_transfer_predicts_it(setting):
    claim = "a4-no-sign-predicts"
    explaining = [*many(5, 0.05, -1, 0.1, 0.1, name="up"), *many(5, -0.05, 1, 0.1, 0.1, name="down")]
    finding = CHECKS[claim](setting(*explaining))
    assert finding.verdict is Verdict.CONTRADICTED
    assert "sharpness: right for 10 of 10, the commoner sign for 5 (p 0.024)" in finding.numbers
    reverse = [*many(5, 0.05, 1, 0.1, 0.1, name="up"), *many(5, -0.05, -1, 0.1, 0.1, name="down")]
    assert verdict(claim, setting(*reverse)) is Verdict.CONTRADICTED
    same = [*many(3, 0.05, 1, 1, 1, name="up"), *many(4, -0.05, 1, 1, 1, name="down")]
    assert verdict(claim, setting(*same)) is Verdict.SUPPORTED


def test_few_arms_or_a_prediction_that_is_often_right_leave_it_open(setting):
    claim = "a4-no-sign-predicts"
    few = [*many(2, 0.05, 1, 1, 1, name="up"), *many(2, -0.05, 1, 1, 1, name="down")]
    assert verdict(claim, setting(*few)) is Verdict.UNDECIDED
    often = [
        *many(3, 0.05, -1, 1, 1, name="up"),
        *many(2, -0.05, -1, 1, 1, name="x"),
        *many(2, -0.05, 1, 1, 1, name="y"),
    ]
    assert "sharpness: right for 5 of 7, the commoner sign for 4" in CHECKS[claim](setting(*often)).numbers
    assert verdict(claim, setting(*often)) is Verdict.UNDECIDED
    finding = CHECKS[claim](setting(*many(9, 0.0, 1, 1, 1)))
    assert (finding.verdict, finding.numbers) == (Verdict.UNDECIDED, "no arm with significant transfer")


def test_a_factor_explains_if_it_goes_down_with_help_and_up_with_hurt(setting):
    claim = "a4-factors-do-not-explain"
    finding = CHECKS[claim](setting((*HELPED, 0.1, -0.1, 0), (*HURT, 0.1, 0.1, 0)))
    assert finding.verdict is Verdict.CONTRADICTED
    assert "fisher 1 of 1 positive" in finding.numbers
    assert verdict(claim, setting((*HELPED, -0.1, -0.1, 0))) is Verdict.UNDECIDED


def test_factors_that_go_up_with_help_as_with_harm_do_not_explain(setting):
    claim = "a4-factors-do-not-explain"
    higher = [*many(3, 0.05, 0.1, 0.1, 0.1, name="up"), *many(4, -0.05, 0.1, 0.1, 0.1, name="down")]
    finding = CHECKS[claim](setting(*higher))
    assert finding.verdict is Verdict.SUPPORTED
    assert "sharpness 0 of 3 positive, fisher 0 of 3 positive" in finding.numbers
    half = [*many(2, 0.05, -0.1, 0.1, 0.1, name="more"), *many(2, 0.05, 0.1, 0.1, 0.1, name="again"), *higher]
    assert verdict(claim, setting(*half)) is Verdict.SUPPORTED


def test_signs_that_predict_noise_or_few_arms_are_no_lack_of_explanation(setting):
    """No change is significant."""
    claim = "a4-factors-do-not-explain"
    predicting = [*many(5, 0.05, -1, -1, -1, name="up"), *many(5, -0.05, 1, 1, 1, name="down")]
    assert verdict(claim, setting(*predicting, std=1.0)) is Verdict.UNDECIDED
    drawn = np.random.default_rng(2).choice([-1, 1], size=(50, 3))
    noise = [(f"t{n}", "all", 0.05 if n % 2 else -0.05, *row) for n, row in enumerate(drawn)]
    assert verdict("a4-no-sign-predicts", setting(*noise, std=1000.0)) is Verdict.SUPPORTED
    assert verdict(claim, setting(*noise, std=1000.0)) is Verdict.UNDECIDED
    few = CHECKS[claim](setting((*HELPED, 1, 1, 1), (*HURT, 1, 1, 1), std=1000.0))
    assert few.verdict is Verdict.UNDECIDED
    assert "enough arms for a4-no-sign-predicts" in few.missing


FACTOR_CLAIMS = [claim.id for claim in CLAIMS if claim.id not in ("a4-rho-keeps-order", "a4-equal-or-better")]


@pytest.mark.parametrize("claim", FACTOR_CLAIMS)
def test_two_seeds_decide_nothing_of_factors(setting, claim):
    rows = [*many(6, 0.05, 0.1, 0.1, -0.1, name="up"), *many(6, -0.05, 0.1, 0.1, -0.1, name="down")]
    finding = CHECKS[claim](setting(*rows, seeds=2))
    assert (finding.verdict, finding.n) == (Verdict.UNDECIDED, 2)
    assert "3 seeds" in finding.missing


@pytest.mark.parametrize("claim", FACTOR_CLAIMS)
def test_auxiliary_sets_are_no_partners(setting, claim):
    rows = [("a", f"aux_a_0{n}", 0.05, 0.1, 0.1, 0.1) for n in range(9)]
    assert CHECKS["a4-equal-or-better"](setting(*rows)) is None
    with pytest.raises(MissingTableError, match="measured alone and together"):
        CHECKS[claim](setting(*rows))


def test_without_sharpness_or_fisher_their_claims_do_not_speak(tables, arm, factor):
    transfer = [arm("a", "p", 0.05)]
    only_fisher = tables(transfer=transfer, deltas=[factor("a", "p", "fisher", 0.1)])
    assert CHECKS["a4-sharper-for-all"](only_fisher) is None
    assert CHECKS["a4-fisher-covariance-inconsistent"](only_fisher) is None


def sharpness_at(differences, rhos=("0.001", "0.002"), seeds=3, group="p", task="a", early=5):
    """Rows of factors.parquet: initial model and early checkpoints of no account, then twenty; alone 1."""
    return [
        {"optimizer": "adam", "task": task, "method": method, "group": name, "seed": seed, "epoch": epoch, "loss": 1.0}
        | {
            "measure": f"sharpness.rho{rho}",
            "value": (77.0 * together if epoch <= early else 1 + together * delta) + 0.01 * seed,
        }
        for rho, delta in zip(rhos, differences, strict=True)
        for together, method, name in ((0, None, f"stl.{task}"), (1, "umtg", f"mtl.{group}"))
        for seed in range(seeds)
        for epoch in range(early + 21)
    ]


def test_rho_keeps_the_order_if_the_sign_is_the_same(tables):
    claim = "a4-rho-keeps-order"
    finding = CHECKS[claim](tables(factors=sharpness_at([0.5, 0.001])))
    assert (finding.verdict, finding.n) == (Verdict.SUPPORTED, 3)
    assert verdict(claim, tables(factors=sharpness_at([0.5, -0.5]))) is Verdict.CONTRADICTED
    assert verdict(claim, tables(factors=sharpness_at([0.5, -0.001]))) is Verdict.UNDECIDED
    assert verdict(claim, tables(factors=sharpness_at([0.001, 0.001]))) is Verdict.UNDECIDED
    assert "3 seeds" in CHECKS[claim](tables(factors=sharpness_at([0.5, 0.5], seeds=2))).missing
    both = [*sharpness_at([0.5, 0.5]), *sharpness_at([0.5, -0.001], task="b")]
    assert verdict(claim, tables(factors=both)) is Verdict.UNDECIDED
    short = [row for row in sharpness_at([0.5, -0.5], early=0) if row["epoch"] < 5]
    assert verdict(claim, tables(factors=short)) is Verdict.CONTRADICTED


def test_one_rho_no_sharpness_and_auxiliary_sets_say_nothing_of_rho(tables):
    claim = "a4-rho-keeps-order"
    assert CHECKS[claim](tables(factors=sharpness_at([0.5], rhos=["0.002"]))) is None
    assert CHECKS[claim](tables(factors=sharpness_at([0.5, 0.5], group="aux_a_00"))) is None
    other = pd.DataFrame(sharpness_at([0.5, 0.5])).assign(measure="fisher.trace")
    assert CHECKS[claim](tables(factors=other)) is None
