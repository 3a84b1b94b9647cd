import pytest

from tasktrace.analysis.claims.a_methods import CLAIMS
from tasktrace.analysis.claims.base import Verdict

CHECKS = {claim.id: claim.check for claim in CLAIMS}
CHANGES = ("lowest_loss", "sharpness", "fisher", "coherence")


def points(task, gain, *changes, method="mgda", group="all", pairs=3, std=1.0):
    """Rows of methods.csv in percent: of G and of the factors in the order of ``CHANGES``."""
    names = {"optimizer": "adam", "task": task, "method": method, "group": f"mtl.{group}"}
    return [
        {**names, "factor": factor, "pairs": pairs, "G_mean": gain, "G_std": 0.1, "factor_mean": change}
        | {"factor_std": std, "inside": gain * change < 0}
        for factor, change in zip(CHANGES, changes, strict=False)
    ]


@pytest.fixture
def setting(tables, arm):
    """A function that writes methods.csv, and transfer.csv in which methods have the gain that it says, of 80 %."""

    def written(*rows):
        methods = [row for own in rows for row in own]
        arms = {
            (row["task"], row["group"], method): gain
            for row in methods
            for method, gain in (("umtg", 0.0), (row["method"], 0.008 * row["G_mean"]))
        }
        transfer = [arm(task, group[4:], gain, method=method) for (task, group, method), gain in arms.items()]
        return tables(methods=methods, transfer=transfer)

    return written


def verdict(claim, tables):
    return CHECKS[claim](tables).verdict


INSIDE, OUTSIDE = (-1.0,) * 4, (1.0,) * 4


def test_one_point_outside_for_every_method_and_factor_supports(setting):
    tables = setting(points("a", 3, *INSIDE), points("b", 3, *OUTSIDE))
    finding = CHECKS["a4-quadrants"](tables)
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 4)
    assert "all inside for 0 of 4 methods and factors: none" in finding.numbers


def test_all_points_inside_contradict_if_that_is_no_chance(setting):
    many = [points(f"t{n}", 3, *INSIDE[:1]) for n in range(5)]
    finding = CHECKS["a4-quadrants"](setting(*many))
    assert finding.verdict is Verdict.CONTRADICTED
    assert "5 of 5 (mgda, lowest_loss)" in finding.numbers
    assert verdict("a4-quadrants", setting(*many[:4])) is Verdict.UNDECIDED
    outside = [points(f"t{n}", 3, *OUTSIDE[:1], method=method) for n in range(5) for method in ("pcgrad", "gradnorm")]
    assert verdict("a4-quadrants", setting(*many, *outside)) is Verdict.UNDECIDED  # one of three methods, Holm


def test_one_point_and_two_seeds_decide_nothing(setting):
    assert verdict("a4-quadrants", setting(points("a", 3, *OUTSIDE))) is Verdict.UNDECIDED
    tables = setting(points("a", 3, *INSIDE, pairs=2), points("b", 3, *OUTSIDE))
    finding = CHECKS["a4-quadrants"](tables)
    assert (finding.verdict, finding.n) == (Verdict.UNDECIDED, 2)


def test_every_method_needs_two_points_of_which_the_place_is_known(setting):
    two = points("a", 3, *INSIDE), points("b", 3, *OUTSIDE)
    one = points("a", 3, *OUTSIDE, method="gradnorm")
    assert verdict("a4-quadrants", setting(*two, one)) is Verdict.UNDECIDED
    finding = CHECKS["a4-quadrants"](setting(*two, points("c", 3, *OUTSIDE, pairs=0)))
    assert (finding.verdict, finding.n) == (Verdict.SUPPORTED, 3)


def test_affected_tasks_alone_count_where_a_method_must_change_g(setting):
    unaffected = points("c", 0.01, *OUTSIDE)
    tables = setting(points("a", 3, *INSIDE), points("b", -3, *(1.0,) * 4), unaffected)
    assert verdict("a4-quadrants", tables) is Verdict.SUPPORTED
    finding = CHECKS["a4-quadrants-affected"](tables)
    assert finding.verdict is Verdict.UNDECIDED
    assert "2 of 2 (mgda, lowest_loss)" in finding.numbers
    tables = setting(points("a", 3, *INSIDE), points("b", 3, *OUTSIDE), unaffected)
    assert verdict("a4-quadrants-affected", tables) is Verdict.SUPPORTED
    many = [points(f"t{n}", 3, -1.0) for n in range(5)]
    assert verdict("a4-quadrants-affected", setting(*many, unaffected[:1])) is Verdict.CONTRADICTED


def test_without_affected_tasks_there_is_nothing_to_count(setting):
    finding = CHECKS["a4-quadrants-affected"](setting(points("a", 0.01, *INSIDE), points("b", 0.01, *OUTSIDE)))
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.numbers.startswith("no points")
    assert "whose G it changes significantly" in finding.missing


@pytest.mark.parametrize("claim", CHECKS)
def test_auxiliary_sets_are_no_points(setting, claim):
    rows = [points(task, 3, *OUTSIDE, method="pcgrad", group="aux_a_00") for task in "ab"]
    assert CHECKS[claim](setting(*rows)) is None


FLATTER = (2.0, -2.0, -2.0)


def pcgrad(task, gain, *changes, **options):
    return points(task, gain, *changes, method="pcgrad", **options)


def test_pcgrad_is_flatter_whether_it_helps_or_hurts(setting):
    finding = CHECKS["a4-pcgrad-flatter"](setting(pcgrad("a", 3, *FLATTER), pcgrad("b", -3, *FLATTER)))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 6)
    assert "of the sign said 6 of 6" in finding.numbers
    assert "lowest_loss a (all) +2 ± 1 % with G +3 ± 0.1 %" in finding.numbers


def test_a_clearly_sharper_task_contradicts_and_an_unclear_one_leaves_it_open(setting):
    claim = "a4-pcgrad-flatter"
    clear = pcgrad("b", -3, 2.0, 2.0, -2.0, std=0.05)
    assert verdict(claim, setting(pcgrad("a", 3, *FLATTER), clear)) is Verdict.CONTRADICTED
    unclear = pcgrad("b", -3, 2.0, 0.1, -2.0)
    assert verdict(claim, setting(pcgrad("a", 3, *FLATTER), unclear)) is Verdict.UNDECIDED
    many = [pcgrad(f"t{n}", 3, 2.0, 0.1, -2.0) for n in range(12)]
    assert verdict(claim, setting(*many)) is Verdict.CONTRADICTED  # by the sign test


def test_pcgrad_must_help_and_hurt_and_unaffected_tasks_do_not_count(setting):
    claim = "a4-pcgrad-flatter"
    assert verdict(claim, setting(pcgrad("a", 3, *FLATTER), pcgrad("b", 3, *FLATTER))) is Verdict.UNDECIDED
    unaffected = pcgrad("c", 0.01, -2.0, 2.0, 2.0, std=0.01)
    tables = setting(pcgrad("a", 3, *FLATTER), pcgrad("b", -3, *FLATTER), unaffected)
    assert verdict(claim, tables) is Verdict.SUPPORTED
    assert verdict(claim, setting(unaffected)) is Verdict.UNDECIDED


def test_pcgrad_with_two_seeds_is_undecided_and_without_pcgrad_or_fisher_nothing_is_said(setting):
    claim = "a4-pcgrad-flatter"
    few = setting(pcgrad("a", 3, *FLATTER, pairs=2), pcgrad("b", -3, *FLATTER))
    assert "3 seeds" in CHECKS[claim](few).missing
    assert CHECKS[claim](setting(points("a", 3, *FLATTER))) is None
    assert CHECKS[claim](setting(pcgrad("a", 3, *FLATTER[:2]))) is None
