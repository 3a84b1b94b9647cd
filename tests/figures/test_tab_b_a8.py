import re

import numpy as np
import pandas as pd
import pytest

from tasktrace.errors import DataError
from tasktrace.figures import tab_b_a8

CORRUPTION = {"methods": ["umtg", "uw", "pcgrad"], "optimizer": "adam", "leave_out": ["glass_blur", "snow"]}
OPTIONS = {"setting": "invented", "corruption": CORRUPTION}
TRANSFER = ["method", "metric", "corruption", "seeds", "delta", "delta_std"]
SCORES = ["method", "metric", "seeds", "clean", "clean_std", "corrupted", "corrupted_std", "corrupted_published"]


def transfer():
    return pd.DataFrame(
        [
            ("uw", "digit.accuracy", "contrast", 3, 9.0, 9.0),
            ("uw", "digit.accuracy", "mean", 3, -0.0123456789, 0.002),
            ("uw", "ink.relative_error", "mean", 3, 0.25, 0.1),
            ("uw", "mean", "mean", 3, 0.119, 0.05),
            ("umtg", "digit.accuracy", "mean", 1, 0.5, np.nan),
            ("umtg", "ink.relative_error", "mean", 1, -1.5, np.nan),
            ("umtg", "mean", "mean", 1, -0.5, np.nan),
        ],
        columns=TRANSFER,
    )


def scores():
    return pd.DataFrame(
        [
            ("uw", "digit.accuracy", 3, 0.912345678, 0.01, 0.5, 0.02, np.nan),
            ("uw", "ink.relative_error", 3, 0.25, 0.05, 0.75, 0.1, 87.06),
            ("umtg", "digit.accuracy", 1, 0.9, np.nan, 0.6, np.nan, np.nan),
            ("umtg", "ink.relative_error", 1, 0.2, np.nan, 0.8, np.nan, np.nan),
            ("alone", "digit.accuracy", 3, 0.95, 0.01, 0.55, 0.02, np.nan),
            ("alone", "ink.relative_error", 3, 0.1, 0.01, 0.3, 0.02, np.nan),
        ],
        columns=SCORES,
    )


@pytest.fixture
def write(tmp_path):
    """A function that writes both tables, and gives their folder."""

    def written(deltas=None, metrics=None):
        folder = tmp_path / "tables"
        folder.mkdir()
        (transfer() if deltas is None else deltas).to_csv(folder / "corruption_transfer.csv", index=False)
        (scores() if metrics is None else metrics).to_csv(folder / "corruption_scores.csv", index=False)
        return folder

    return written


@pytest.fixture
def html(tmp_path):
    """A function that draws tables, and gives the page."""

    def page(tables, **corruption):
        options = {**OPTIONS, "corruption": {**CORRUPTION, **corruption}}
        tab_b_a8.draw(tables, options, tmp_path / "tab.html")
        return (tmp_path / "tab.html").read_text(encoding="utf-8")

    return page


def rows(page):
    """Every row of the page as its cells' HTML."""
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]


def test_the_page_has_both_tables_in_the_order_of_the_methods(write, html):
    published = ' <span class="theirs">(published 87.06)</span>'
    assert rows(html(write())) == [
        ["method", "digit accuracy", "ink relative error", "mean"],
        ["umtg", "+0.5", "−1.5", "−0.5"],
        ["uw", "−0.0123 ± 0.002", "+0.25 ± 0.1", "+0.119 ± 0.05"],
        ["method", "digit accuracy (%)", "ink relative error (%)"],
        ["alone", "95 ± 1 → 55 ± 2", "10 ± 1 → 30 ± 2"],
        ["umtg", "90 → 60", "20 → 80"],
        ["uw", "91.2 ± 1 → 50 ± 2", f"25 ± 5 → 75 ± 10{published}"],
    ]


def test_what_was_left_out_is_named(write, html):
    tables = write()
    assert "Left out by configuration: glass blur, snow." in html(tables)
    assert "Left out" not in html(tables, leave_out=[])


def test_without_published_numbers_the_page_says_so(write, html, tmp_path):
    assert "no numbers for this setting" in html(write(metrics=scores().assign(corrupted_published=np.nan)))


def test_with_published_numbers_the_page_says_what_they_are(write, html):
    page = html(write())
    assert "the paper's metric on corrupted data" in page
    assert "no numbers for this setting" not in page


def test_the_csvs_are_the_tables_rounded(write, html, tmp_path):
    html(write())
    deltas, metrics = pd.read_csv(tmp_path / "tab.csv"), pd.read_csv(tmp_path / "tab_scores.csv")
    assert list(deltas) == TRANSFER
    assert list(metrics) == SCORES
    assert set(deltas["corruption"]) == {"mean"}
    assert deltas["delta"].tolist() == [-0.0123457, 0.25, 0.119, 0.5, -1.5, -0.5]
    assert metrics["clean"].tolist() == [0.912346, 0.25, 0.9, 0.2, 0.95, 0.1]


def test_names_are_text_not_html(write, html):
    renamed = {"method": {"umtg": "<i>"}}
    page = html(write(transfer().replace(renamed), scores().replace(renamed)), methods=["<i>", "uw"])
    assert [row[0] for row in rows(page)] == ["method", "&lt;i&gt;", "uw", "method", "alone", "&lt;i&gt;", "uw"]


def test_nothing_to_show_is_said(write, html, tmp_path):
    with pytest.raises(DataError, match="table B-A8 has no rows: no method was refitted in setting 'invented'"):
        html(write(transfer().head(0)))
    assert not (tmp_path / "tab.html").exists()
