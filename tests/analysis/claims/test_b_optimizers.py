import pandas as pd
import pytest

from tasktrace.analysis.claims.b_optimizers import CLAIMS
from tasktrace.analysis.claims.base import Tables, Verdict
from tasktrace.analysis.experiments import experiments_table, results_table
from tasktrace.analysis.fronts import pareto_counts
from tasktrace.analysis.published_b import published_results

CHECKS = {claim.id: claim.check for claim in CLAIMS}
METHODS = ("umtg", "uw", "rlw", "pcgrad", "imtl")
RATES = (0.01, 0.001)
SPREAD = 0.1


def point(delta, tilt=0.0):
    """Metrics, as shares of those alone, of a Delta_m in percent: accuracy better by the tilt, error worse."""
    return (1 - (delta - tilt) / 100, 1 + (delta + tilt) / 100)


def grid(**deltas):
    """Experiments by (method, optimizer, learning rate): deltas by optimizer, one a method; the other rate is worse."""
    return {
        (method, optimizer, rate): point(delta + worse)
        for optimizer, own in deltas.items()
        for method, delta in zip(METHODS, own, strict=False)
        for rate, worse in zip(RATES, (0, 20), strict=True)
    }


@pytest.fixture
def tables(tmp_path):
    """A function that writes a setting's tables from experiments; None stands for one that diverged."""

    def written(experiments, seeds=3, spread=SPREAD, setting="invented"):
        folder = tmp_path / setting
        folder.mkdir()
        rows = [
            {"method": method, "optimizer": optimizer, "learning_rate": rate, "batch_size": 8, "seed": seed}
            | numbers(values, (seed - (seeds - 1) / 2) * spread / 100)
            for (method, optimizer, rate), values in experiments.items()
            for seed in range(seeds)
        ]
        runs = pd.DataFrame(rows)
        found = experiments_table(runs)
        found.to_csv(folder / "experiments.csv", index=False)
        results_table(setting, found).to_csv(folder / "results.csv", index=False)
        pareto_counts(setting, found, runs).to_csv(folder / "pareto_counts.csv", index=False)
        return Tables(folder)

    return written


def numbers(values, offset):
    if values is None:
        nothing = dict.fromkeys(["validation_delta_m", "digit.accuracy", "ink.absolute_error", "delta_m"], float("nan"))
        return {"diverged": True, "epoch": None, **nothing}
    accuracy, error = values[0] - offset, values[1] + offset
    delta = 100 * ((1 - accuracy) + (error - 1)) / 2
    metrics = {"digit.accuracy": accuracy, "ink.absolute_error": error}
    return {"diverged": False, "epoch": 1, "validation_delta_m": delta, **metrics, "delta_m": delta}


def verdict(claim, setting):
    return CHECKS[claim](setting).verdict


def test_adam_that_is_clearly_lower_for_most_methods_supports(tables):
    finding = CHECKS["b-adam-delta"](tables(grid(adam=(1, 1, 1, 1, 1), sgdm=(5, 5, 5, 5, 0))))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 5)
    assert (
        "for 4 of 5 methods, significantly lower for 4, higher for 1; umtg 1.00 ± 0.10 % against 5.00"
        in finding.numbers
    )


def test_adam_that_is_clearly_lower_for_a_minority_contradicts(tables):
    assert verdict("b-adam-delta", tables(grid(adam=(1, 1, 1, 1, 1), sgdm=(5, 5, 0, 0, 0)))) is Verdict.CONTRADICTED


def test_adam_must_be_lower_for_most_methods_and_clearly_so_more_often_than_not(tables):
    few_but_clear = grid(adam=(1, 1, 1.02, 1.02, 1.02), sgdm=(5, 5, 1, 1, 1))
    many_but_unclear = grid(adam=(1, 1, 1, 1, 5), sgdm=(1.02, 1.02, 1.02, 1.02, 1))
    finding = CHECKS["b-adam-delta"](tables(few_but_clear))
    assert finding.verdict is Verdict.UNDECIDED
    assert "signs disagree" in finding.missing
    assert verdict("b-adam-delta", tables(many_but_unclear, setting="unclear")) is Verdict.CONTRADICTED


def test_differences_within_the_spread_over_seeds_decide_nothing(tables):
    finding = CHECKS["b-adam-delta"](tables(grid(adam=(1, 1, 1, 1, 1), sgdm=(1.1, 1.1, 1.1, 1.1, 1.1))))
    assert finding.verdict is Verdict.UNDECIDED
    assert "no difference is larger" in finding.missing


def test_many_methods_need_clearer_differences(tables):
    one = grid(adam=(1,), sgdm=(1.35,))
    many = grid(adam=(1, 1, 1, 1, 1), sgdm=(1.35, 1.0, 1.0, 1.0, 1.0))
    assert verdict("b-adam-delta", tables(one)) is Verdict.SUPPORTED
    assert verdict("b-adam-delta", tables(many, setting="larger")) is Verdict.UNDECIDED


def test_a_method_that_diverged_everywhere_is_left_out_and_named(tables):
    experiments = grid(adam=(1, 1), sgdm=(5, 5)) | {("uw", "sgdm", rate): None for rate in RATES}
    finding = CHECKS["b-adam-delta"](tables(experiments))
    assert (finding.verdict, finding.comparisons) == (Verdict.SUPPORTED, 1)
    assert "uw left out: diverged at every learning rate" in finding.numbers


def test_if_all_diverged_nothing_is_decided(tables):
    experiments = grid(adam=(1,), sgdm=(5,)) | {("umtg", "sgdm", rate): None for rate in RATES}
    diverged = tables(experiments)
    undecided = ("b-adam-delta", "b-adam-optimal", "b-sgd-optimal", "b-ew-adam-sgd", "b-ew-adam-front")
    assert {verdict(claim, diverged) for claim in undecided} == {Verdict.UNDECIDED}


def test_signsgd_is_held_against_sgd_in_the_same_way(tables):
    better, worse = grid(signsgd=(1, 1, 6), sgdm=(5, 5, 5)), grid(signsgd=(1, 6, 6), sgdm=(5, 5, 5))
    assert verdict("b-signsgd-delta", tables(better)) is Verdict.SUPPORTED
    assert verdict("b-signsgd-delta", tables(worse, setting="worse")) is Verdict.CONTRADICTED


def test_more_optimal_experiments_with_adam_support_both_claims_on_fronts(tables):
    front = tables(grid(adam=(1, 1, 1), sgdm=(5, 5, 5)))
    assert verdict("b-adam-optimal", front) is Verdict.SUPPORTED
    assert verdict("b-sgd-optimal", front) is Verdict.SUPPORTED
    numbers = CHECKS["b-adam-optimal"](front).numbers
    assert numbers.startswith(
        "adam, mean over seeds: 3 of 6; sgdm, mean over seeds: 0 of 6; adam, single seeds: 3 of 18"
    )


def test_more_optimal_experiments_with_sgd_contradict_both(tables):
    front = tables(grid(adam=(5, 5, 5), sgdm=(1, 1, 1)))
    assert verdict("b-adam-optimal", front) is Verdict.CONTRADICTED
    assert verdict("b-sgd-optimal", front) is Verdict.CONTRADICTED


def test_as_many_optimal_experiments_with_both_contradict(tables):
    both = {("umtg", optimizer, 0.01): point(1, tilt) for optimizer, tilt in (("adam", 1), ("sgdm", -1))}
    assert verdict("b-adam-optimal", tables(both)) is Verdict.CONTRADICTED


def test_sgd_that_is_rarely_optimal_is_not_enough_if_adam_is_as_rarely(tables):
    both = grid(adam=(5, 5, 5, 5, 5), sgdm=(1, 5.01, 5.01, 5.01, 5.01))
    few = both | {("umtg", "adam", 0.01): point(5, tilt=8)}
    finding = CHECKS["b-sgd-optimal"](tables(few))
    assert finding.numbers.startswith("adam, mean over seeds: 1 of 10; sgdm, mean over seeds: 1 of 10")
    assert finding.verdict is Verdict.CONTRADICTED


def test_an_experiment_in_six_is_not_rare(tables):
    mixed = grid(adam=(1, 1, 1), sgdm=(5, 5, 5)) | {("uw", "sgdm", 0.01): point(3, tilt=5)}
    front = tables(mixed)
    assert verdict("b-adam-optimal", front) is Verdict.SUPPORTED
    assert verdict("b-sgd-optimal", front) is Verdict.CONTRADICTED


def test_ways_of_counting_that_disagree_leave_fronts_open(tables):
    # Over seeds Adam's two tie and both are optimal; of single runs only the best ones are, one of each optimizer.
    experiments = {
        ("umtg", "adam", 0.01): point(1, tilt=1),
        ("uw", "adam", 0.01): point(1, tilt=-1),
        ("umtg", "sgdm", 0.01): point(1, tilt=3),
    }
    setting = tables(experiments)
    counts = pd.read_csv(setting.folder / "pareto_counts.csv")
    counts.loc[(counts["counting"] == "single seeds") & (counts["optimizer"] == "sgdm"), "optimal"] = 9
    counts.to_csv(setting.folder / "pareto_counts.csv", index=False)
    finding = CHECKS["b-adam-optimal"](setting)
    assert finding.verdict is Verdict.UNDECIDED
    assert "counting by mean over seeds and by single seeds" in finding.missing


def test_the_plain_sum_is_held_against_every_rate_of_sgd(tables):
    undominated = grid(adam=(2, 0), sgdm=(5, 5)) | {("uw", "sgdm", 0.001): point(2, tilt=2)}
    dominated = undominated | {("uw", "sgdm", 0.001): point(1)}
    finding = CHECKS["b-ew-adam-sgd"](tables(undominated))
    assert (finding.verdict, finding.comparisons) == (Verdict.SUPPORTED, 4)
    finding = CHECKS["b-ew-adam-sgd"](tables(dominated, setting="dominated"))
    assert finding.verdict is Verdict.CONTRADICTED
    assert "at 0.01 dominated by 1, clearly by 1" in finding.numbers


def test_being_dominated_within_the_spread_over_seeds_is_undecided(tables):
    finding = CHECKS["b-ew-adam-sgd"](tables(grid(adam=(2, 0), sgdm=(1.95, 5))))
    assert finding.verdict is Verdict.UNDECIDED
    assert "at 0.01 dominated by 1, clearly by 0" in finding.numbers


def test_the_plain_sum_is_on_the_front_if_any_learning_rate_is(tables):
    experiments = grid(adam=(2, 1), sgdm=(5, 5))
    off = tables(experiments)
    on = tables(experiments | {("umtg", "adam", 0.001): point(10, tilt=15)}, setting="on")
    assert verdict("b-ew-adam-front", off) is Verdict.CONTRADICTED
    assert verdict("b-ew-adam-front", on) is Verdict.SUPPORTED
    assert verdict("b-methods-gain", on) is Verdict.CONTRADICTED


def test_specialised_methods_bring_no_consistent_gain_if_none_is_better_on_every_metric(tables):
    mixed = grid(adam=(2, 2, 2), sgdm=(5, 5, 5)) | {("uw", "adam", 0.01): point(0, tilt=3)}
    assert verdict("b-methods-gain", tables(mixed)) is Verdict.SUPPORTED
    gain = mixed | {("uw", "adam", 0.01): point(0, tilt=1)}
    assert verdict("b-methods-gain", tables(gain, setting="gain")) is Verdict.CONTRADICTED


def test_only_the_chosen_learning_rates_of_specialised_methods_count(tables):
    experiments = grid(adam=(2, 1)) | {("uw", "adam", 0.01): point(1, tilt=3), ("uw", "adam", 0.001): point(1.5)}
    assert verdict("b-methods-gain", tables(experiments)) is Verdict.SUPPORTED


def test_adatask_is_not_among_the_methods_without_a_gain(tables):
    experiments = grid(adam=(2, 3)) | {("adatask", "adam", 0.01): point(0)}
    assert verdict("b-methods-gain", tables(experiments)) is Verdict.SUPPORTED


@pytest.mark.parametrize("claim", ["b-ew-adam-front", "b-methods-gain"])
def test_of_cityscapes_with_segnet_the_paper_does_not_say_it(tables, claim):
    experiments = grid(adam=(2, 1), sgdm=(5, 5))
    assert CHECKS[claim](tables(experiments, setting="cityscapes_segnet")) is None


@pytest.mark.parametrize(
    ("adatask", "expected"),
    [
        (point(0), Verdict.SUPPORTED),
        (point(2, tilt=1), Verdict.CONTRADICTED),
        (point(1.95), Verdict.UNDECIDED),
        (point(1, tilt=1.02), Verdict.UNDECIDED),
    ],
)
def test_adatask_dominates_if_it_is_nowhere_worse_and_clearly_better_somewhere(tables, adatask, expected):
    experiments = grid(adam=(2,)) | {("adatask", "adam", 0.01): adatask}
    finding = CHECKS["b-adatask"](tables(experiments))
    assert (finding.verdict, finding.n, finding.comparisons) == (expected, 3, 2)


def test_adatask_that_diverged_decides_nothing(tables):
    experiments = grid(adam=(2,)) | {("adatask", "adam", 0.01): None}
    assert verdict("b-adatask", tables(experiments)) is Verdict.UNDECIDED


def test_a_ranking_changes_if_two_methods_clearly_change_places(tables):
    finding = CHECKS["b-ranking"](tables(grid(adam=(1, 2, 3, 4, 5), sgdm=(2, 1, 3, 4, 5))))
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, 3, 10)
    assert finding.numbers.startswith("best with adam umtg, with sgdm uw; Kendall's tau over 5 methods 0.80")
    assert finding.numbers.endswith("1 of 10 pairs change places, significantly umtg and uw")


def test_a_ranking_that_agrees_contradicts(tables):
    finding = CHECKS["b-ranking"](tables(grid(adam=(1, 2, 3, 4, 5), sgdm=(11, 12, 13, 14, 15))))
    assert finding.verdict is Verdict.CONTRADICTED
    assert "95 % interval over seeds 0.80 to 1.00" in finding.numbers


def test_methods_that_are_equal_within_the_spread_have_no_ranking_that_could_change(tables):
    equal = tables(grid(adam=(1, 1.01, 1.02, 1.03, 1.04), sgdm=(1.04, 1.03, 1.02, 1.01, 1)))
    finding = CHECKS["b-ranking"](equal)
    assert finding.verdict is Verdict.UNDECIDED
    assert "10 of 10 pairs change places, significantly none" in finding.numbers


def test_a_pair_must_be_clear_with_both_optimizers(tables):
    unclear = tables(grid(adam=(1, 5), sgdm=(1.01, 1)))
    assert verdict("b-ranking", unclear) is Verdict.UNDECIDED


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_two_seeds_decide_nothing(tables, claim):
    experiments = grid(adam=(1, 1, 2), sgdm=(5, 6, 5), signsgd=(2, 2, 2)) | {("adatask", "adam", 0.01): point(0)}
    finding = claim.check(tables(experiments, seeds=2))
    assert finding.verdict is Verdict.UNDECIDED
    assert "3 seeds; these are 2" in finding.missing


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_one_seed_has_numbers_and_no_verdict(tables, claim):
    experiments = grid(adam=(1, 1, 2), sgdm=(5, 6, 5), signsgd=(2, 2, 2)) | {("adatask", "adam", 0.01): point(0)}
    finding = claim.check(tables(experiments, seeds=1))
    assert finding.verdict is Verdict.UNDECIDED
    assert finding.numbers
    assert "nan" not in finding.numbers


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_a_grid_of_one_method_with_one_optimizer_is_not_spoken_of(tables, claim):
    assert claim.check(tables(grid(adam=(1,)))) is None


def test_the_papers_own_numbers_support_what_it_says_of_cityscapes_with_segnet(tmp_path):
    results = published_results()
    own = results[(results["setting"] == "cityscapes_segnet") & results["method"].notna()].assign(seeds=3)
    folder = tmp_path / "cityscapes_segnet"
    folder.mkdir()
    own.to_csv(folder / "results.csv", index=False)
    for claim in ("b-adam-delta", "b-signsgd-delta", "b-ranking"):
        assert verdict(claim, Tables(folder)) is Verdict.SUPPORTED
    assert "best with adam uw, with sgdm pcgrad" in CHECKS["b-ranking"](Tables(folder)).numbers
