import numpy as np
import pytest

from tasktrace.analysis.claims.a_transfer import CLAIMS
from tasktrace.analysis.claims.base import MissingTableError, Tables, Verdict
from tasktrace.analysis.published import published_deltas

CHECKS = {claim.id: claim.check for claim in CLAIMS}


def separation(task, group, first=5000.0, lasting=5000.0, final_loss=1e-4, final_gap=0.05):
    ratios = {"first_ratio": first, "lasting_ratio": lasting}
    losses = {"final_loss": final_loss, "first_loss": first * final_loss, "lasting_loss": lasting * final_loss}
    names = {"optimizer": "adam", "task": task, "method": "umtg", "group": f"mtl.{group}"}
    return {**names, **losses, **ratios, "apart": 0.5, "final_gap": final_gap}


def curves(task, group, final_loss=1e-4):
    """Together from a loss of 2, alone from 5 to a lower end."""
    sides = ((None, f"stl.{task}", 5, final_loss / 3), ("umtg", f"mtl.{group}", 2, final_loss))
    return [
        {"optimizer": "adam", "task": task, "method": method, "group": name, "loss": loss, "mean": 0.8, "std": 0.01}
        for method, name, start, end in sides
        for loss in np.geomspace(start, end, 5)
    ]


def verdict(claim, tables):
    return CHECKS[claim](tables).verdict


def test_one_task_is_helped_by_one_partner_and_hurt_by_another(tables, arm):
    rows = [arm("a", "friend", 0.05), arm("a", "foe", -0.05), arm("b", "friend", 0.0)]
    finding = CHECKS["a3-partner-both-signs"](tables(transfer=rows))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 2)
    assert "a (friend) +0.05 (0.85 ± 0.001 against 0.8 ± 0.001); a (foe) -0.05" in finding.numbers


def test_partners_that_all_help_contradict_and_insignificant_ones_leave_it_open(tables, arm):
    claim = "a3-partner-both-signs"
    assert verdict(claim, tables(transfer=[arm("a", "p", 0.05), arm("a", "q", 0.02)])) is Verdict.CONTRADICTED
    finding = CHECKS[claim](tables(transfer=[arm("a", "p", 0.05), arm("a", "q", -0.001)]))
    assert (finding.verdict, finding.missing[:39]) == (Verdict.UNDECIDED, "significant transfer of both signs to o")


def test_two_seeds_or_one_do_not_decide(tables, arm):
    for seeds in (2, 1):
        rows = [arm("a", "p", 0.05, seeds=seeds), arm("a", "q", -0.05, seeds=seeds)]
        finding = CHECKS["a3-partner-both-signs"](tables(transfer=rows))
        assert (finding.verdict, finding.n) == (Verdict.UNDECIDED, seeds)
        assert "3 seeds" in finding.missing


def test_one_partner_other_methods_and_auxiliary_sets_say_nothing_of_partners(tables, arm):
    one = arm("a", "p", 0.05)
    for other in ([], [arm("a", "q", -0.05, method="mgda")], [arm("a", "aux_a_00", -0.05)]):
        assert CHECKS["a3-partner-both-signs"](tables(transfer=[one, *other])) is None


def test_partners_of_a_task_that_was_not_trained_alone_say_nothing(tables, arm):
    unknown = {"stl_mean": None, "stl_seeds": 0, "transfer": None}
    rows = [arm("a", "p", 0.05) | unknown, arm("a", "q", -0.05) | unknown]
    assert CHECKS["a3-partner-both-signs"](tables(transfer=rows)) is None


def test_one_training_helps_and_hurts_if_it_has_transfer_of_both_signs(tables, arm):
    claim = "a3-group-both-signs"
    assert verdict(claim, tables(transfer=[arm("a", "all", 0.05), arm("b", "all", -0.05)])) is Verdict.SUPPORTED
    assert verdict(claim, tables(transfer=[arm("a", "all", -0.05), arm("b", "all", -0.05)])) is Verdict.CONTRADICTED
    assert verdict(claim, tables(transfer=[arm("a", "all", -0.05), arm("b", "all", 0)])) is Verdict.UNDECIDED
    assert CHECKS[claim](tables(transfer=[arm("a", "p", 0.05), arm("b", "q", -0.05)])) is None


def test_one_significant_transfer_of_forty_is_what_chance_gives(tables, arm):
    rows = [arm("help", "all", 0.05), *(arm(f"hurt{n}", "all", -0.05) for n in range(8))]
    rows += [arm(f"none{n}", "all", 0.0) for n in range(31)]
    finding = CHECKS["a3-group-both-signs"](tables(transfer=rows))
    assert finding.verdict is Verdict.UNDECIDED
    assert "significantly positive 1, negative 8 of 40; ΔG (accuracy): help (all) +0.05" in finding.numbers
    assert "none" not in finding.numbers
    assert verdict("a3-group-both-signs", tables(transfer=rows[:9])) is Verdict.SUPPORTED


def test_one_transfer_of_another_sign_is_enough_for_others_not_to_contradict(tables, arm):
    rows = [arm("help", "all", 0.05), *(arm(f"hurt{n}", "all", -0.05) for n in range(10))]
    assert verdict("a3-group-both-signs", tables(transfer=rows)) is Verdict.UNDECIDED
    other = [arm("c", "p", 0.05), arm("c", "q", 0.05)]
    rows = [arm("a", "p", 0.05), arm("a", "q", -0.05), *other]
    assert verdict("a3-partner-both-signs", tables(transfer=rows)) is Verdict.SUPPORTED
    rows = [arm("a", "p", 0.0), arm("a", "q", 0.0), *other]
    assert verdict("a3-partner-both-signs", tables(transfer=rows)) is Verdict.UNDECIDED
    rows = [*(arm(f"hurt{n}", "all", -0.05) for n in range(10)), arm("help", "all", 0.05)]
    rows += [arm(task, "other", -0.05) for task in "ab"]
    assert verdict("a3-group-both-signs", tables(transfer=rows)) is Verdict.UNDECIDED


def test_the_arm_with_the_fewest_seeds_says_how_many_they_are(tables, arm):
    rows = [arm("a", "p", 0.05), arm("a", "q", -0.05, seeds=2)]
    assert CHECKS["a3-partner-both-signs"](tables(transfer=rows)).n == 2
    rows = [*two_optimizers(arm, 0.1, seeds=4), *two_optimizers(arm, 0.1, seeds=2, task="b")]
    assert CHECKS["a3-adam-best"](tables(transfer=rows)).n == 2


def test_lower_is_better_for_an_error(tables, arm):
    rows = [arm("depth", "p", -0.05, metric="absolute_error"), arm("depth", "q", 0.05, metric="absolute_error")]
    finding = CHECKS["a3-partner-both-signs"](tables(transfer=rows))
    assert "significantly positive 1, negative 1 of 2; ΔG (absolute_error): depth (p) -0.05" in finding.numbers


@pytest.mark.parametrize(("sign", "expected"), [(1, Verdict.SUPPORTED), (-1, Verdict.CONTRADICTED)])
def test_the_published_signs_are_found_or_not(tables, arm, sign, expected):
    paper = published_deltas().query("setting == 'cifar100'")
    rows = [arm(task, "all", sign * delta / 100) for task, delta in zip(paper["task"], paper["delta_G"], strict=True)]
    finding = CHECKS["a3-published-signs"](tables("cifar100", transfer=rows))
    assert (finding.verdict, finding.comparisons) == (expected, 7)


def test_half_of_the_published_signs_are_too_few_and_other_settings_were_not_published(tables, arm):
    paper = published_deltas().query("setting == 'cifar100'")
    gains = [delta / 100 if place < 3 else 0 for place, delta in enumerate(paper["delta_G"])]
    rows = [arm(task, "all", gain) for task, gain in zip(paper["task"], gains, strict=True)][:6]
    assert verdict("a3-published-signs", tables("cifar100", transfer=rows)) is Verdict.UNDECIDED
    assert CHECKS["a3-published-signs"](tables("digits", transfer=rows)) is None
    assert CHECKS["a3-published-signs"](tables("cityscapes", transfer=[arm("depth", "all", 1)])) is None


def gap(tables, arm, **options):
    return tables(
        transfer=[arm("a", "p", 0.05), arm("a", "q", 0.0)],
        separation=[separation("a", "p", **options), separation("a", "q", first=1.0, lasting=np.nan)],
        curves=curves("a", "p", options.get("final_loss", 1e-4)),
    )


def test_a_gap_is_early_more_than_three_orders_of_magnitude_above_the_final_loss(tables, arm):
    finding = CHECKS["a3-early-gap"](gap(tables, arm, first=1001.0))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 1)
    assert "1 of 1; 1 of 2 arms have significant transfer; a (p): apart from 1e+03, without a break" in finding.numbers
    assert "the losses fall to 0.0001, by a factor of 2e+04" in finding.numbers
    assert verdict("a3-early-gap", gap(tables, arm, first=999.0, lasting=999.0)) is Verdict.CONTRADICTED
    assert verdict("a3-early-gap", gap(tables, arm, first=np.nan, lasting=np.nan)) is Verdict.CONTRADICTED


def test_bands_that_part_early_in_passing_show_no_early_gap_and_no_late_one(tables, arm):
    """Of some 200 losses at which they are held against each other, they are easily apart at one by chance."""
    for claim, final_loss in (("a3-early-gap", 1e-4), ("a3-gap-first-half", 0.02)):
        finding = CHECKS[claim](gap(tables, arm, first=1001.0, lasting=2.0, final_loss=final_loss))
        assert finding.verdict is Verdict.UNDECIDED
        assert "gaps that last, or none" in finding.missing


def test_losses_that_fall_too_little_cannot_show_an_early_gap(tables, arm):
    finding = CHECKS["a3-early-gap"](gap(tables, arm, first=5.0, final_loss=0.1))
    assert finding.verdict is Verdict.UNDECIDED
    assert "falls by a factor of 10000" in finding.missing


def test_a_gap_opens_in_the_first_half_of_the_way_of_the_loss(tables, arm):
    options = {"final_loss": 0.02}  # a factor of 100, so half the way is 10
    for ratio, expected in ((10.5, Verdict.SUPPORTED), (9.5, Verdict.CONTRADICTED)):
        assert verdict("a3-gap-first-half", gap(tables, arm, first=ratio, lasting=ratio, **options)) is expected


def test_a_gap_persists_if_it_lasts_for_half_the_way_and_has_the_sign_of_the_transfer(tables, arm):
    claim = "a3-gap-persists"
    assert verdict(claim, gap(tables, arm, first=100.0, lasting=11.0)) is Verdict.SUPPORTED
    assert verdict(claim, gap(tables, arm, first=100.0, lasting=9.0)) is Verdict.CONTRADICTED
    assert verdict(claim, gap(tables, arm, first=100.0, lasting=100.0, final_gap=-0.05)) is Verdict.CONTRADICTED
    finding = CHECKS[claim](gap(tables, arm, first=100.0, lasting=np.nan))
    assert finding.verdict is Verdict.CONTRADICTED
    assert "apart from 100 times the final loss on, but not there" in finding.numbers


def test_of_bands_that_never_part_or_only_at_the_end_no_gap_can_persist(tables, arm):
    for first, lasting in ((np.nan, np.nan), (1.0, 1.0)):
        finding = CHECKS["a3-gap-persists"](gap(tables, arm, first=first, lasting=lasting))
        assert finding.verdict is Verdict.UNDECIDED
        assert "an arm with significant transfer and a gap" in finding.missing


GAPS = ("a3-early-gap", "a3-gap-first-half", "a3-gap-persists")


@pytest.mark.parametrize("claim", GAPS)
def test_without_significant_transfer_or_three_seeds_gaps_are_undecided(tables, arm, claim):
    rest = {"separation": [separation("a", "p")], "curves": curves("a", "p")}
    finding = CHECKS[claim](tables(transfer=[arm("a", "p", 0.0)], **rest))
    assert (finding.verdict, finding.n) == (Verdict.UNDECIDED, 3)
    assert "an arm with significant transfer" in finding.missing
    few = CHECKS[claim](tables(transfer=[arm("a", "p", 0.05, seeds=2)], **rest))
    assert (few.verdict, few.n) == (Verdict.UNDECIDED, 2)


@pytest.mark.parametrize("claim", GAPS)
def test_gaps_need_groups_and_their_tables(tables, arm, claim):
    rest = {"separation": [separation("a", "aux_a_00")], "curves": curves("a", "aux_a_00")}
    assert CHECKS[claim](tables(transfer=[arm("a", "aux_a_00", 0.05)], **rest)) is None
    with pytest.raises(MissingTableError, match=r"separation\.csv"):
        CHECKS[claim](tables("other", transfer=[arm("a", "p", 0.05)]))


def two_optimizers(arm, advantage, seeds=3, task="a"):
    return [
        arm(task, "p", 0.05, seeds=seeds, optimizer=optimizer, alone=alone)
        for optimizer, alone in (("adam", 0.8 + advantage), ("sgdm", 0.8))
    ]


def test_adam_is_best_if_its_g_is_significantly_better(tables, arm):
    finding = CHECKS["a3-adam-best"](tables(transfer=two_optimizers(arm, 0.1)))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 2)
    assert "against sgdm: Adam significantly better in 2 of 2 comparisons, significantly worse in 0" in finding.numbers
    rows = [*two_optimizers(arm, 0.1), *two_optimizers(arm, -0.001, task="b"), *two_optimizers(arm, 0.001, task="c")]
    assert (
        "better in 2 of 6 comparisons, significantly worse in 0"
        in CHECKS["a3-adam-best"](tables(transfer=rows)).numbers
    )
    assert verdict("a3-adam-best", tables(transfer=two_optimizers(arm, -0.1))) is Verdict.CONTRADICTED
    assert verdict("a3-adam-best", tables(transfer=two_optimizers(arm, 0.0))) is Verdict.UNDECIDED
    assert verdict("a3-adam-best", tables(transfer=two_optimizers(arm, 0.1, seeds=2))) is Verdict.UNDECIDED


def test_adam_alone_or_others_alone_say_nothing_of_the_best_optimizer(tables, arm):
    assert CHECKS["a3-adam-best"](tables(transfer=two_optimizers(arm, 0.1)[:1])) is None
    assert CHECKS["a3-adam-best"](tables(transfer=two_optimizers(arm, 0.1)[1:])) is None


def test_a_setting_without_tables_is_missing_them(tmp_path):
    for claim in CLAIMS:
        if claim.id != "a3-published-signs":
            with pytest.raises(MissingTableError):
                claim.check(Tables(tmp_path))
