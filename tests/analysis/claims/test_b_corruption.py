import pandas as pd
import pytest

from tasktrace.analysis.claims.b_corruption import CLAIMS
from tasktrace.analysis.claims.base import Tables, Verdict
from tasktrace.analysis.corruption import scores_table, transfer_table

CHECKS = {claim.id: claim.check for claim in CLAIMS}
CLEAN, LEFT = 0.8, 0.7
SPREAD = 0.005


@pytest.fixture
def tables(tmp_path):
    """A function that writes a setting's tables from delta by method and metric.

    A seed's delta is off by -SPREAD, 0 or SPREAD, and what a task alone keeps of its metric by ``alone_spread``.
    """

    def written(deltas, seeds=3, alone_spread=SPREAD, setting="invented"):
        folder = tmp_path / setting
        folder.mkdir()
        offsets = [-1, 0, 1][:seeds]
        metrics = dict.fromkeys(metric for own in deltas.values() for metric in own)
        kept = [("alone", metric, LEFT, alone_spread) for metric in metrics]
        for method, own in deltas.items():
            kept += [(method, metric, LEFT - delta, SPREAD) for metric, delta in own.items()]
        rows = [
            {"method": method, "run": 10 * number + run, "metric": metric, "corruption": corruption, "clean": CLEAN}
            | {"value": CLEAN * (left + offset * spread), "ratio": left + offset * spread}
            for number, (method, metric, left, spread) in enumerate(kept)
            for run, offset in enumerate(offsets)
            for corruption in ("fog", "snow")
        ]
        values = pd.DataFrame(rows)
        # Runs of one method and seed are one run, whatever the metric.
        values["run"] = values["method"].factorize()[0] * 10 + values["run"] % 10
        scores_table("invented", values).to_csv(folder / "corruption_scores.csv", index=False)
        transfer_table("invented", values).to_csv(folder / "corruption_transfer.csv", index=False)
        return Tables(folder)

    return written


def of(umtg, uw):
    """Deltas of two methods on the same two metrics."""
    names = ("digit.accuracy", "parity.accuracy")
    return {"umtg": dict(zip(names, umtg, strict=True)), "uw": dict(zip(names, uw, strict=True))}


def verdicts(setting):
    return {name.removeprefix("b-corruption-"): check(setting).verdict.value for name, check in CHECKS.items()}


def test_differences_of_both_signs_support_all_three(tables):
    setting = tables(of((0.06, -0.05), (0.05, -0.06)))
    assert verdicts(setting) == {"robust": "supported", "signs": "supported", "small": "supported"}
    finding = CHECKS["b-corruption-signs"](setting)
    assert (finding.n, finding.comparisons) == (3, 4)
    assert (
        "negative in 2 of 4 cases (method, metric), significantly in 2; significantly positive in 2" in finding.numbers
    )
    assert "least parity.accuracy uw -0.060 ± 0.005" in finding.numbers
    assert "largest digit.accuracy umtg 0.060 ± 0.005" in finding.numbers


def test_features_that_are_more_robust_nearly_everywhere_contradict(tables):
    more = tables(of((-0.3, -0.3), (-0.3, 0.0)))
    assert verdicts(more) == {"robust": "contradicted", "signs": "contradicted", "small": "contradicted"}


def test_features_that_are_less_robust_everywhere_contradict_both_signs_only(tables):
    less = tables(of((0.05, 0.05), (0.05, 0.05)))
    assert verdicts(less) == {"robust": "supported", "signs": "contradicted", "small": "supported"}


def test_differences_within_the_spread_decide_nothing_but_that_they_are_small(tables):
    equal = tables(of((0.001, -0.001), (0.0, 0.001)))
    assert verdicts(equal) == {"robust": "undecided", "signs": "undecided", "small": "supported"}
    assert "more seeds" in CHECKS["b-corruption-robust"](equal).missing


def test_several_cases_need_clearer_differences(tables):
    one = tables({"umtg": {"digit.accuracy": 0.015}})
    assert CHECKS["b-corruption-robust"](one).verdict is Verdict.SUPPORTED
    four = tables(of((0.015, 0.0), (0.0, 0.0)), setting="larger")
    assert CHECKS["b-corruption-robust"](four).verdict is Verdict.UNDECIDED


def test_the_spread_of_the_tasks_alone_counts(tables):
    unsure = tables(of((0.06, -0.05), (0.05, -0.06)), alone_spread=0.1)
    assert verdicts(unsure) == {"robust": "undecided", "signs": "undecided", "small": "undecided"}


def test_a_difference_across_the_bound_is_neither_small_nor_large(tables):
    finding = CHECKS["b-corruption-small"](tables(of((0.1, 0.1), (0.0, 0.0))))
    assert finding.verdict is Verdict.UNDECIDED
    assert "umtg 0.100 ± 0.005 (interval 0.0" in finding.numbers


def test_one_seed_decides_nothing(tables):
    once = tables(of((0.06, -0.05), (0.05, -0.06)), seeds=1)
    for check in CHECKS.values():
        finding = check(once)
        assert finding.verdict is Verdict.UNDECIDED
        assert "3 seeds; these are 1" in finding.missing
        assert "nan" not in finding.numbers


def test_seeds_without_any_spread_have_intervals_of_no_width(tables, monkeypatch):
    monkeypatch.setitem(globals(), "SPREAD", 0.0)
    assert verdicts(tables(of((0.06, -0.05), (0.05, -0.06)), alone_spread=0.0))["signs"] == "supported"
