import pandas as pd
import pytest

from tasktrace.analysis.factor_tables import DELTAS_COLUMNS
from tasktrace.analysis.published import COLUMNS, TABLE_COLUMNS, published_deltas, table_a1
from tasktrace.config.declarations import declaration

TABLE1 = {"aggregation": "table1"}


def deltas(task: str, metric: str = "accuracy", factors=("G", "lowest_loss", *COLUMNS[1:])) -> pd.DataFrame:
    """Deltas of 0.01, 0.02, ... in the factors' order; at the end of training ten times as large."""
    rows = [
        {"optimizer": "adam", "task": task, "method": "umtg", "group": "mtl.g", "metric": metric, "factor": factor}
        | {"rule": rule, "delta": scale * (number + 1), "significant": factor == "G"}
        for number, factor in enumerate(factors)
        for rule, scale in (("table1", 0.01), ("end", 0.1), ("early", 77.0))
    ]
    return pd.DataFrame(rows, columns=DELTAS_COLUMNS)


def only_row(*arguments) -> pd.Series:
    table = table_a1(*arguments)
    assert table.columns.tolist() == TABLE_COLUMNS
    assert len(table) == 1
    return table.iloc[0]


def test_published_tasks_have_the_names_that_the_settings_give_them():
    for row in published_deltas().to_dict("records"):
        assert row["task"] in declaration("setting", row["setting"]).tasks


def test_the_published_table_has_a_row_per_task_and_says_what_is_missing():
    table = published_deltas()
    counts = {"cifar100": 7, "celeba": 4, "cityscapes": 2, "glue": 4}
    assert table["setting"].value_counts().to_dict() == counts
    assert not table.duplicated(["setting", "task"]).any()
    missing = table[table.filter(like="delta_").isna().any(axis=1)]
    assert missing["task"].tolist() == ["segmentation", "mrpc", "rte"]
    assert missing["note"].str.contains("missing").all()
    assert set(table["unit"]) == {"points", "fraction", "unknown"}


def test_the_papers_claim_that_all_of_cifar_is_sharper_holds_of_its_own_numbers():
    cifar = published_deltas().query("setting == 'cifar100'")
    assert (cifar["delta_sharpness"] > 0).all()
    assert set(cifar["delta_G"] > 0) == {True, False}
    assert (cifar["delta_fisher"].mean(), cifar["delta_coherence"].max()) == pytest.approx((-130.91 / 7, 789.95))


def test_the_published_numbers_stand_beside_ours_where_setting_and_task_are_the_same():
    row = only_row(deltas("fish"), "cifar100", TABLE1)
    assert row[list(COLUMNS)].tolist() == pytest.approx([1.0, 0.03, 0.04, 0.05])  # G in points
    assert row[[f"{column}_published" for column in COLUMNS]].tolist() == [3.49, 0.05, 19.33, 10.79]
    assert row[[f"{column}_significant" for column in COLUMNS]].tolist() == [True, False, False, False]
    assert (row["unit"], row["unit_published"]) == ("points", "points")
    elsewhere = only_row(deltas("fish"), "digits", TABLE1)
    assert elsewhere[[f"{column}_published" for column in COLUMNS]].isna().all()
    assert elsewhere["unit_published"] == ""


def test_a_missing_cell_is_empty_and_has_its_note():
    row = only_row(deltas("segmentation"), "cityscapes", TABLE1)
    assert pd.isna(row["G_published"])
    assert row["sharpness_published"] == 6.93
    assert "missing" in row["note"]


def test_published_fractions_become_points_beside_an_accuracy_only():
    row = only_row(deltas("rte"), "glue", TABLE1)
    assert (row["G_published"], row["unit_published"]) == (pytest.approx(7.0), "points")
    row = only_row(deltas("stsb", metric="pearson"), "glue", TABLE1)
    assert (row["G"], row["G_published"]) == (0.01, -0.01)
    assert (row["unit"], row["unit_published"]) == ("pearson", "fraction")


def test_the_rule_is_that_of_the_aggregation():
    assert only_row(deltas("fish"), "cifar100", {"aggregation": "loss_bins"})["sharpness"] == pytest.approx(0.3)


def test_a_factor_that_was_not_configured_is_empty():
    row = only_row(deltas("fish", factors=("G", "lowest_loss", "sharpness")), "cifar100", TABLE1)
    assert row[["fisher", "fisher_significant", "coherence"]].isna().all()
    assert row["fisher_published"] == 19.33
