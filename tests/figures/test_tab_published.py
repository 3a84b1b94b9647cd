"""The page of published numbers beside ours."""

from pathlib import Path

import pandas as pd

from tasktrace.cli import main

REPRODUCTION = Path(__file__).resolve().parents[2] / "reproduction"


def test_the_page_has_every_comparison_and_its_verdict(tmp_path):
    out = tmp_path / "published.html"
    assert main(["published", "--tables", str(REPRODUCTION), "--out", str(out)]) == 0
    table, page = pd.read_csv(tmp_path / "published.csv"), out.read_text()
    assert page.count("<tr><td>") == len(table) > 80
    assert page.count("<td><b>no</b></td>") == (table["within"] == False).sum() > 0  # noqa: E712 (there is a third value)
    assert "Study B, tables 1, A3" in page
    assert "nan" not in page


def test_the_committed_table_is_that_of_the_committed_tables(tmp_path):
    main(["published", "--tables", str(REPRODUCTION), "--out", str(tmp_path / "published.html")])
    assert (tmp_path / "published.csv").read_text() == (REPRODUCTION / "published.csv").read_text()


def test_nothing_to_compare_is_a_page_too(tmp_path):
    tables = tmp_path / "tables/mine"
    tables.mkdir(parents=True)
    (tables / "transfer.csv").write_text("optimizer\n")
    assert main(["published", "--tables", str(tmp_path / "tables"), "--out", str(tmp_path / "published.html")]) == 0
    assert "0 numbers" in (tmp_path / "published.html").read_text()
