import re

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.fronts import COUNTS_COLUMNS, METHODS_COLUMNS
from tasktrace.errors import DataError
from tasktrace.figures import tab_b2

OPTIONS = {"setting": "invented", "optimizers": ["sgdm", "adam"], "labels": {"ink.relative_error": "ink, relative"}}


def contents():
    result = {"seeds": 3, "digit.accuracy_std": 0.01, "ink.relative_error_std": np.nan, "delta_m_std": 1.0}
    nothing = {"published_learning_rate": np.nan, "published_delta_m": np.nan, "published_delta_m_std": np.nan}
    return {
        "results": pd.DataFrame(
            [
                {"method": "umtg", "optimizer": "adam", "learning_rate": 0.1, "digit.accuracy": 0.912345678, **result}
                | {"ink.relative_error": 0.25, "delta_m": -1.5, "pareto_full": True}
                | {"published_learning_rate": 0.005, "published_delta_m": 79.43, "published_delta_m_std": 3.68},
                {"method": "uw", "optimizer": "sgdm", "pareto_full": False, **nothing},
                {"method": "uw", "optimizer": "signsgd", "pareto_full": False, **nothing},
            ]
        ),
        "baseline": pd.DataFrame(
            [
                ("digit", "adam", 0.001, "digit.accuracy", 0.9, 0.02),
                ("ink", "sgdm", 0.01, "ink.relative_error", 0.3, np.nan),
            ],
            columns=["task", "optimizer", "learning_rate", "metric", "test", "test_std"],
        ),
        "pareto_counts": pd.DataFrame(
            [
                ("mean over seeds", "adam sgdm", "adam", 12, 4, 5, 5, 24),
                ("mean over seeds", "adam sgdm", "sgdm", 11, 1, 2, 0, 0),
                ("single seeds", "adam sgdm", "adam", 36, 7, 8, np.nan, np.nan),
            ],
            columns=COUNTS_COLUMNS,
        ),
        "pareto_methods": pd.DataFrame(
            [
                ("adam sgdm", "adam", "umtg", 6, 3, 0),
                ("adam sgdm", "adam", "uw", 6, 1, np.nan),
                ("adam sgdm", "sgdm", "uw", 6, 1, 0),
            ],
            columns=METHODS_COLUMNS,
        ),
    }


@pytest.fixture
def write(tmp_path):
    """A function that writes the tables, some of them changed, and gives their folder."""

    def written(**changed):
        folder = tmp_path / "tables"
        folder.mkdir()
        for name, content in {**contents(), **changed}.items():
            content.to_csv(folder / f"{name}.csv", index=False)
        return folder

    return written


def rows(tables, options, tmp_path):
    """Every row of the page as its cells' HTML."""
    tab_b2.draw(tables, options, tmp_path / "tab.html")
    html = (tmp_path / "tab.html").read_text(encoding="utf-8")
    return [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_the_page_has_all_three_tables_with_the_published_numbers(write, tmp_path):
    found = rows(write(), OPTIONS, tmp_path)
    assert found == [
        ["counting", "compared", "optimizer", "finished", "optimal", "optimal against the others"],
        ["mean over seeds", "adam, sgdm", "sgdm", "11", "1 (published 0)", "2 (published 0)"],
        ["mean over seeds", "adam, sgdm", "adam", "12", "4 (published 5)", "5 (published 24)"],
        ["single seeds", "adam, sgdm", "adam", "36", "7", "8"],
        ["compared", "optimizer", "uw", "umtg"],
        ["adam, sgdm", "sgdm", "1 (published 0)", "–"],
        ["adam, sgdm", "adam", "1", "3 (published 0)"],
        ["method", "optimizer", "learning rate", "digit accuracy (%)", "ink, relative", "Δm (%)", "published"],
        ["each task alone", "adam, sgdm", "digit 0.001, ink 0.01", "90 ± 2", "30", "0", "–"],
        ["uw", "sgdm", "–", "–", "–", "–", "–"],
        [
            *(f"<b>{cell}</b>" for cell in ("umtg", "adam", "0.1", "91.2 ± 1", "25", "−1.5 ± 1")),
            "+79.4 ± 3.7 (0.005)",
        ],
    ]


def test_without_published_numbers_there_is_no_column_for_them(write, tmp_path):
    results = contents()["results"].assign(published_delta_m=np.nan)
    found = rows(write(results=results), OPTIONS, tmp_path)
    assert [len(row) for row in found[-3:]] == [6, 6, 6]
    assert "no numbers for this setting" in (tmp_path / "tab.html").read_text()


def test_the_csvs_are_the_tables_rounded(write, tmp_path):
    rows(write(), OPTIONS, tmp_path)
    results = pd.read_csv(tmp_path / "tab.csv")
    assert results["optimizer"].tolist() == ["sgdm", "adam"]
    assert results["digit.accuracy"][1] == 0.912346
    assert pd.read_csv(tmp_path / "tab_counts.csv")["optimal"].tolist() == [1, 4, 7]
    assert pd.read_csv(tmp_path / "tab_methods.csv")["method"].tolist() == ["uw", "umtg", "uw"]


def test_names_are_text_not_html(write, tmp_path):
    results = contents()["results"].replace({"method": {"umtg": "<i>"}})
    assert "<b>&lt;i&gt;</b>" in rows(write(results=results), OPTIONS, tmp_path)[-1]


def test_nothing_to_show_is_said(write, tmp_path):
    with pytest.raises(DataError, match="table B2 has no rows: setting 'invented' has no experiment of gd"):
        tab_b2.draw(write(), {**OPTIONS, "optimizers": ["gd"]}, tmp_path / "tab.html")
    assert not (tmp_path / "tab.html").exists()
