"""The ledger as a whole: every claim has its line, and what is written is what was found."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasktrace.analysis.claims.base import MIN_SEEDS, Finding, MissingTableError, Tables, Verdict, decide
from tasktrace.analysis.claims.ledger import CLAIMS, COLUMNS, by_claim, ledger, summary, write_ledger
from tasktrace.cli import main
from tasktrace.figures.ledger_page import draw_ledger

REPRODUCTION = Path(__file__).resolve().parents[3] / "reproduction"

FOLDERS = [path for path in sorted(REPRODUCTION.iterdir()) if path.is_dir()]


@pytest.fixture(scope="module")
def entries():
    return ledger(FOLDERS)


def test_claims_are_told_apart_and_say_all_that_is_needed():
    ids = [claim.id for claim in CLAIMS]
    assert len(set(ids)) == len(ids) > 40
    for claim in CLAIMS:
        assert re.fullmatch(r"[ab]\d*(-[a-z0-9]+)+", claim.id)
        assert claim.study == claim.id[0].upper()
        texts = (claim.place, claim.statement, claim.settings, claim.statistic, claim.threshold, claim.needs)
        assert all(text.strip() for text in texts), claim.id


def test_every_claim_has_a_line_and_one_of_which_nothing_speaks_says_what_it_needs(entries):
    assert {entry.claim.id for entry in entries} == {claim.id for claim in CLAIMS}
    nothing = ledger([])
    assert len(nothing) == len(CLAIMS)
    for entry in nothing:
        assert entry.setting == ""
        assert entry.finding.verdict is Verdict.UNDECIDED
        assert entry.claim.needs in entry.finding.missing


def test_too_few_seeds_decide_nothing(entries):
    assert decide(True, "1 %", MIN_SEEDS - 1).verdict is Verdict.UNDECIDED
    assert decide(True, "1 %", MIN_SEEDS).verdict is Verdict.SUPPORTED
    assert decide(False, "1 %", MIN_SEEDS).verdict is Verdict.CONTRADICTED
    assert decide(False, "1 of 2", 2, seeds=False).verdict is Verdict.CONTRADICTED
    decided = [entry for entry in entries if entry.finding.verdict is not Verdict.UNDECIDED]
    assert decided
    drawn = [entry for entry in decided if entry.setting not in ("toy", "invariance")]
    assert all(entry.finding.n >= MIN_SEEDS for entry in drawn)


def test_a_verdict_says_what_it_has_to():
    with pytest.raises(ValueError, match="says what is missing"):
        Finding(Verdict.UNDECIDED, "", 3)
    with pytest.raises(ValueError, match="says what is missing"):
        Finding(Verdict.SUPPORTED, "1", 3, missing="a seed")


def test_a_table_without_rows_is_missing(tmp_path):
    (tmp_path / "shares.csv").write_text("optimizer,method\n")
    for name in ("shares.csv", "transfer.csv"):
        with pytest.raises(MissingTableError, match=name):
            Tables(tmp_path).csv(name)
    with pytest.raises(MissingTableError, match=r"similarity\.parquet"):
        Tables(tmp_path).parquet("similarity.parquet")


def test_what_is_written_is_what_was_found(entries, tmp_path):
    write_ledger(entries, tmp_path / "claims.md")
    draw_ledger(entries, tmp_path / "claims.html")
    table = pd.read_csv(tmp_path / "claims.csv", keep_default_na=False)
    assert table.columns.tolist() == COLUMNS
    assert table["verdict"].tolist() == [entry.finding.verdict.value for entry in entries]
    text, page = (tmp_path / "claims.md").read_text(), (tmp_path / "claims.html").read_text()
    for claim in CLAIMS:
        assert f"### {claim.id}\n" in text
        assert f'<h3 id="{claim.id}">' in page
        assert f'<a href="#{claim.id}">' in page
        assert f"(#{claim.id})" in text
    for verdict in ("supported", "contradicted", "undecided"):
        count = (table["verdict"] == verdict).sum()
        assert len(re.findall(rf"\*\*{verdict}\*\*", text)) == count
        assert page.count(f'<span class="{verdict}">') == 2 * count  # in the overview, and with the numbers
        assert f"{count} {verdict}" in summary(entries)
    assert "<script" not in page
    assert sum(len(group) for study in "AB" for group in by_claim(entries, study)) == len(entries)


def test_the_committed_ledger_is_that_of_the_committed_tables(tmp_path):
    """One command, without a GPU and without raw data."""
    out = tmp_path / "claims.md"
    assert main(["claims", "--tables", str(REPRODUCTION), "--out", str(out)]) == 0
    for name in ("claims.md", "claims.csv"):
        assert (tmp_path / name).read_text() == (REPRODUCTION / name).read_text()


def test_tables_that_are_not_there_are_named(tmp_path, capsys):
    assert main(["claims", "--tables", str(tmp_path), "--out", str(tmp_path / "claims.md")]) == 1
    assert "no tables of any setting" in capsys.readouterr().err
    arguments = ["--tables", str(REPRODUCTION), "--settings", "celeba"]
    assert main(["claims", *arguments, "--out", str(tmp_path / "claims.md")]) == 1
    assert "no tables of celeba; there are those of cifar100" in capsys.readouterr().err


def test_the_ledger_needs_no_torch():
    code = "import sys; import tasktrace.analysis.claims.ledger; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("verb", "name", "content"),
    [
        ("claims", "transfer.csv", "optimizer,task,method,group\nadam,fashion1,umtg,mtl.with_fashion2\n"),
        ("published", "results.csv", "method,optimizer\nuw,adam\n"),
        *((verb, "results.csv", content) for verb in ("claims", "published") for content in ("", "a,b\n1,2,3\n4\n")),
    ],
)
def test_a_damaged_table_is_an_error_that_names_it(verb, name, content, tmp_path, capsys):
    shutil.copytree(REPRODUCTION / "fashion", tmp_path / "tables/fashion")
    (tmp_path / "tables/fashion" / name).write_text(content)
    ending = {"claims": "md", "published": "html"}[verb]
    assert main([verb, "--tables", str(tmp_path / "tables"), "--out", str(tmp_path / f"out.{ending}")]) == 1
    assert f"{tmp_path / 'tables/fashion'}" in (said := capsys.readouterr().err)
    assert "damaged, or not of this version" in said


@pytest.mark.parametrize("verb", ["claims", "published"])
def test_another_ending_is_refused(verb, tmp_path, capsys):
    assert main([verb, "--tables", str(REPRODUCTION), "--out", str(tmp_path / "out.txt")]) == 1
    assert "expected a name that ends in" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
