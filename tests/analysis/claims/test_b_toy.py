import itertools

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.claims.b_toy import CLAIMS
from tasktrace.analysis.claims.base import MissingTableError, Tables, Verdict
from tasktrace.studies.toy import comparison

CHECKS = {claim.id: claim.check for claim in CLAIMS}
RATES = (10.0, 1.0, 0.1)
METHODS = ("ew", "pcgrad", "cagrad")


@pytest.fixture
def tables(tmp_path):
    """A function that writes the toy study's tables from iterations by (optimizer, method), one a learning rate.

    None stands for a cell of which one of two starts never arrived.
    """

    def written(study="toy", **cells):
        folder = tmp_path / study
        folder.mkdir()
        rows = [
            {"optimizer": optimizer, "method": method, "learning_rate": rate, "first_hit": hit}
            for optimizer, method in itertools.product(("gd", "adam"), METHODS)
            for rate, own in zip(RATES, cells.get(f"{optimizer}_{method}", [None] * len(RATES)), strict=True)
            for hit in (1, own)
        ]
        hits = pd.DataFrame(rows).astype({"first_hit": "Int64"})
        hits.to_csv(folder / "hits.csv", index=False)
        comparison(hits).to_csv(folder / "table.csv", index=False)
        return Tables(folder)

    return written


def test_adam_arrives_more_often_if_it_does_in_a_larger_share_of_descents(tables):
    finding = CHECKS["b-toy-adam"](tables(adam_ew=[5, 5, 5], gd_ew=[5, 5, None]))
    assert (finding.verdict, finding.n) == (Verdict.SUPPORTED, 18)
    assert "adam 12 of 18 descents; gd 11 of 18 descents; ew: adam 6, gd 5" in finding.numbers


def test_adam_that_arrives_as_often_as_gradient_descent_contradicts(tables):
    assert CHECKS["b-toy-adam"](tables(adam_ew=[5, 5, 5], gd_cagrad=[5, 5, 5])).verdict is Verdict.CONTRADICTED


def test_ew_is_as_fast_if_it_needs_no_more_iterations_at_most_learning_rates(tables):
    finding = CHECKS["b-toy-ew"](tables(adam_ew=[10, 20, 30], adam_pcgrad=[9, 20, None], adam_cagrad=[11, 21, 29]))
    assert finding.verdict is Verdict.SUPPORTED
    assert finding.numbers.startswith("not behind pcgrad at 2 of 3; not behind cagrad at 2 of 3 learning rates")
    assert finding.numbers.endswith("ew 10, pcgrad 9, cagrad 11")


def test_ew_must_be_as_fast_as_both_others(tables):
    slower = tables(adam_ew=[10, 20, 30], adam_pcgrad=[9, 19, None], adam_cagrad=[11, 21, 31])
    assert CHECKS["b-toy-ew"](slower).verdict is Verdict.CONTRADICTED


def test_a_learning_rate_at_which_neither_arrives_says_nothing_of_speed(tables):
    finding = CHECKS["b-toy-ew"](tables(adam_ew=[10, None, None], adam_cagrad=[11, 5, None]))
    assert finding.verdict is Verdict.CONTRADICTED
    assert "not behind pcgrad at 1 of 1; not behind cagrad at 1 of 2" in finding.numbers


def test_without_any_arrival_speed_is_undecided(tables):
    assert CHECKS["b-toy-ew"](tables()).verdict is Verdict.UNDECIDED


def test_gradient_descent_fails_almost_everywhere_if_nine_in_ten_cells_do_not_arrive(tables):
    finding = CHECKS["b-toy-gd"](tables(gd_cagrad=[1, 1, 1]))
    assert (finding.verdict, finding.n) == (Verdict.SUPPORTED, 6)
    assert finding.numbers == "6 of 6 cells fail (100 %): ew 3 of 3; pcgrad 3 of 3"


def test_one_cell_in_six_that_arrives_is_too_many(tables):
    assert CHECKS["b-toy-gd"](tables(gd_ew=[1, None, None])).verdict is Verdict.CONTRADICTED


def test_cagrad_makes_the_difference_if_it_arrives_mostly_and_the_others_less(tables):
    finding = CHECKS["b-toy-gd-cagrad"](tables(gd_ew=[1, None, None], gd_cagrad=[1, 1, None]))
    assert (finding.verdict, finding.n) == (Verdict.SUPPORTED, 3)


@pytest.mark.parametrize(
    "cells", [{"gd_cagrad": [1, None, None]}, {"gd_cagrad": [1, 1, None], "gd_pcgrad": [None, 1, 1]}]
)
def test_cagrad_that_rarely_arrives_or_not_more_than_another_contradicts(tables, cells):
    assert CHECKS["b-toy-gd-cagrad"](tables(**cells)).verdict is Verdict.CONTRADICTED


PRINTED = {
    "gd_cagrad": [644, 213, 8069],
    "adam_ew": [26, 22, 709],
    "adam_pcgrad": [25, 56, 34175],
    "adam_cagrad": [27, 32, 802],
}


def test_every_cell_within_its_tolerance_agrees_with_the_paper(tables):
    finding = CHECKS["b-toy-cells"](tables(**{**PRINTED, "adam_ew": [27, 22, 709], "adam_pcgrad": [25, 56, 20000]}))
    assert (finding.verdict, finding.n) == (Verdict.SUPPORTED, 18)
    assert finding.numbers == "18 of 18 cells agree"


@pytest.mark.parametrize("cell", [28, None])
def test_one_cell_outside_contradicts_and_is_named(tables, cell):
    finding = CHECKS["b-toy-cells"](tables(**{**PRINTED, "adam_ew": [cell, 22, 709]}))
    assert finding.verdict is Verdict.CONTRADICTED
    assert finding.numbers == f"17 of 18 cells agree; adam ew 10: {cell or '-'} where 26 is printed"


def test_cells_that_the_paper_does_not_print_say_nothing(tables):
    toy = tables(**PRINTED)
    cells = pd.read_csv(toy.folder / "table.csv").assign(published=np.nan, within=np.nan)
    cells.to_csv(toy.folder / "table.csv", index=False)
    assert CHECKS["b-toy-cells"](toy).verdict is Verdict.UNDECIDED


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_claims_speak_of_the_toy_study_alone(tables, claim):
    assert claim.check(tables(study="digits", **PRINTED)) is None


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_without_its_tables_the_toy_study_lacks_them(tmp_path, claim):
    with pytest.raises(MissingTableError):
        claim.check(Tables(tmp_path / "toy"))
