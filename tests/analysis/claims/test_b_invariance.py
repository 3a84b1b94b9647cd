from pathlib import Path

import pandas as pd
import pytest

from tasktrace.analysis.claims.b_invariance import CLAIMS
from tasktrace.analysis.claims.base import Tables, Verdict

REPRODUCTION = Path(__file__).parents[3] / "reproduction"
CHECKS = {claim.id: claim.check for claim in CLAIMS}


@pytest.fixture
def tables(tmp_path):
    """A function that writes the study's cases as theory has them, but for those whose flag is turned over."""

    def written(turned=lambda case: False, study="invariance"):
        folder = tmp_path / study
        folder.mkdir()
        cases = pd.read_csv(REPRODUCTION / "invariance/differences.csv")
        flags = [
            case["expected_invariant"] != bool(turned(case)) for case in cases.drop(columns="holds").to_dict("records")
        ]
        cases.assign(invariant=flags).to_csv(folder / "differences.csv", index=False)
        return Tables(folder)

    return written


@pytest.mark.parametrize(
    ("claim", "cases"),
    [
        ("b-invariance-uw-o", 14),
        ("b-invariance-adam-heads", 4),
        ("b-invariance-adam-backbone", 5),
        ("b-invariance-adam-per-task", 9),
        ("b-invariance-sgd", 14),
    ],
)
def test_cases_as_theory_has_them_support(tables, claim, cases):
    finding = CHECKS[claim](tables())
    assert (finding.verdict, finding.n, finding.comparisons) == (Verdict.SUPPORTED, cases, cases)


def one(training, backbone, part, quantity):
    own = {"training": training, "backbone": backbone, "part": part, "quantity": quantity}
    return lambda case: own.items() <= case.items()


@pytest.mark.parametrize(
    ("claim", "turned"),
    [
        ("b-invariance-uw-o", one("uw_o-sgd", "trainable", "backbone", "gradient")),
        ("b-invariance-adam-heads", one("ew-adam", "frozen", "head2", "update")),
        ("b-invariance-adam-backbone", one("ew-adam", "trainable", "head1", "update")),
        ("b-invariance-adam-per-task", one("ew-adam_per_task", "trainable", "backbone", "update")),
        ("b-invariance-sgd", one("ew-sgd", "frozen", "head1", "task_loss")),
    ],
)
def test_one_case_against_theory_contradicts_its_claim_and_no_other(tables, claim, turned):
    study = tables(turned)
    verdicts = {name: check(study).verdict for name, check in CHECKS.items()}
    assert verdicts.pop(claim) is Verdict.CONTRADICTED
    assert set(verdicts.values()) == {Verdict.SUPPORTED}


def test_the_numbers_name_the_cases_and_the_largest_differences(tables):
    assert CHECKS["b-invariance-adam-heads"](tables()).numbers == (
        "4 of 4 cases invariant; largest relative difference over the epochs: 4.1e-11 to 3.4e-07 by case"
    )


def test_a_training_that_was_not_run_leaves_its_claim_undecided(tables):
    study = tables()
    cases = pd.read_csv(study.folder / "differences.csv")
    cases[cases["training"] != "ew-sgd"].to_csv(study.folder / "differences.csv", index=False)
    assert CHECKS["b-invariance-sgd"](study).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_claims_speak_of_the_invariance_study_alone(tables, claim):
    assert claim.check(tables(study="digits")) is None
