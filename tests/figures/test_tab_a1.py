import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from tasktrace.errors import DataError
from tasktrace.figures import tab_a1
from tasktrace.figures.style import signed


def cells(html, task):
    """The cells of a task's row, as HTML."""
    row = next(row for row in re.findall(r"<tr>(.*?)</tr>", html, re.S) if f"<td>{task}</td>" in row)
    return re.findall(r"<td>(.*?)</td>", row)


def page(tables, options, tmp_path):
    tab_a1.draw(tables, options, tmp_path / "tab.html")
    return (tmp_path / "tab.html").read_text(encoding="utf-8")


def test_the_page_tells_significance_published_numbers_and_gaps_apart(whole, options, tmp_path):
    html = page(whole, options, tmp_path)
    # Of the factors only sharpness has a published number.
    assert cells(html, "coats") == [
        *["adam", "umtg", "+Shoes", "coats"],
        *["<b>+2.38</b>", "−8.81", "−0.0123", "+0.17", "<b>+1235</b>", "+3e−05"],
    ]
    assert cells(html, "shoes")[4:] == ["<i>−0.5</i>", "–", "–", "–", "–", "–"]
    assert "mean ± 2 standard deviations" in html
    assert "footnote 6" in html
    assert "coats: a cell is &lt;missing&gt;" in html


def test_the_rule_is_the_configured_one(whole, options, tmp_path):
    html = page(whole, {**options, "aggregation": "loss_bins"}, tmp_path)
    assert "appendix B.4" in html
    assert "footnote 6" not in html


def test_without_published_numbers_there_are_no_columns_for_them(changed, options, tmp_path):
    none = {f"{name}_published": np.nan for name in ("G", "sharpness", "fisher", "coherence")}
    html = page(changed(table_a1=lambda table: table.assign(**none)), options, tmp_path)
    assert len(cells(html, "coats")) == 8
    assert "<th>published</th>" not in html
    assert "no published numbers" in html


def test_units_that_are_not_ours_are_written(changed, options, tmp_path):
    unknown = changed(table_a1=lambda table: table.assign(unit_published="unknown"))
    assert cells(page(unknown, options, tmp_path), "coats")[5] == "−8.81 (unknown)"
    other = changed(table_a1=lambda table: table.assign(unit="error", unit_published="error"))
    assert cells(page(other, options, tmp_path), "coats")[4:6] == ["<b>+2.38 error</b>", "−8.81"]


def test_the_csv_is_the_table_rounded(whole, options, tmp_path):
    page(whole, options, tmp_path)
    written, table = pd.read_csv(tmp_path / "tab.csv"), pd.read_csv(whole / "table_a1.csv")
    pd.testing.assert_frame_equal(written, table, rtol=1e-5)
    assert written["G"][0] == 2.38462


def test_nothing_to_compare_is_said(changed, options, tmp_path):
    tables = changed(table_a1=lambda table: table.head(0))
    with pytest.raises(DataError, match="table A1 has no rows: no group of setting 'invented' has a finished run"):
        tab_a1.draw(tables, options, tmp_path / "tab.html")
    assert not (tmp_path / "tab.html").exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(2.384, "+2.38"), (-0.5, "−0.5"), (1234.5, "+1234"), (-212.92, "−213"), (4.2e9, "+4.2e+09"), (np.nan, "–")],
)
def test_a_change_is_written_with_its_sign(value, expected):
    assert signed(value) == expected


def test_figures_start_without_torch():
    modules = ", ".join(f"tasktrace.figures.{name}" for name in ("a2", "a3", "a4", "a5", "a6", "tab_a1"))
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
