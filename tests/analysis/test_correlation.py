import math

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from tasktrace.analysis.aggregates import Aggregate
from tasktrace.analysis.correlation import CORRELATIONS_COLUMNS, auxiliary_table, correlations, pearson, ranks
from tasktrace.analysis.factor_tables import TaskRun
from tasktrace.tasks import Task

OPTIONS = {
    "factors": {"fisher": "f", "similarity": "c"},
    "best_checkpoints": 1,
    "last_checkpoints": 1,
    "largest": [],
    "bins": 2,
    "early_bins": [1, 1],
    "resamples": 2000,
}
SETS = ["mtl.a", "mtl.b", "mtl.c"]


def run(group, seed, similarity, fisher, g, task="fish"):
    """Four epochs, of which the first two are early (losses 1 and 0.5 in bins down to 0.1)."""
    factors = {"fisher": pd.Series([99.0, *fisher, 50.0, 50.0]), "similarity": pd.Series([99.0, *similarity])}
    loss, metric = pd.Series([1.0, 1.0, 0.5, 0.2, 0.1]), pd.Series([0.0] * 5)
    found = Aggregate(g, 1)
    return TaskRun("adam", "umtg", group, seed, Task(name=task, outputs=5), loss, metric, found, factors)


def points(similarity, fisher, g) -> pd.DataFrame:
    names = {"optimizer": "adam", "method": "umtg", "task": "fish"}
    rows = pd.DataFrame({"similarity": similarity, "fisher": fisher, "G": g}, dtype=float)
    return rows.assign(**names, group=[f"mtl.{n}" for n in range(len(rows))], seeds=3, early_checkpoints=1)


def of(quantity, table):
    return correlations(table, OPTIONS).set_index("quantity").loc[quantity]


def test_a_point_is_the_mean_over_seeds_of_a_sets_runs_of_the_target():
    runs = [
        run("mtl.a", 0, [0.1, 0.2, 0.3, 0.4], [1.0, 3.0], 0.5),
        run("mtl.a", 1, [0.3, 0.4, 0.5, 0.6], [5.0, 7.0], 0.7),
        run("mtl.a", 0, [0.9] * 4, [9.0, 9.0], 0.9, task="auxiliary"),
        run("mtl.other", 0, [0.9] * 4, [9.0, 9.0], 0.9),
    ]
    table = auxiliary_table(runs, {"fish": SETS}, OPTIONS)
    assert len(table) == 1
    row = table.iloc[0]
    assert row[["optimizer", "method", "task", "group", "seeds"]].tolist() == ["adam", "umtg", "fish", "mtl.a", 2]
    assert row[["similarity", "fisher", "G"]].tolist() == pytest.approx([0.35, 4.0, 0.6])
    assert row["early_checkpoints"] == 2


def test_a_set_of_which_one_seed_has_no_early_checkpoint_has_no_factor():
    """A mean of the others would be of fewer seeds than it says."""
    late = run("mtl.a", 1, [0.6] * 4, [np.nan, np.nan], 0.7)
    table = auxiliary_table([run("mtl.a", 0, [0.1] * 4, [1.0, 3.0], 0.5), late], {"fish": SETS}, OPTIONS)
    row = table.iloc[0]
    assert np.isnan(row[["fisher", "fisher_std"]].astype(float)).all()
    assert row["early_checkpoints"] == 0
    assert row[["similarity", "G"]].tolist() == pytest.approx([0.35, 0.6])
    assert row["metric"] == "accuracy"


def test_without_sets_both_tables_are_empty_and_have_their_columns():
    table = auxiliary_table([run("mtl.a", 0, [0.1] * 4, [1.0, 3.0], 0.5)], {}, OPTIONS)
    assert table.empty
    assert {"similarity", "fisher", "G"} < set(table.columns)
    found = correlations(table, OPTIONS)
    assert found.empty
    assert found.columns.tolist() == CORRELATIONS_COLUMNS


def test_the_coefficients_are_scipys():
    generator = np.random.default_rng(1)
    for n in (3, 4, 10):
        x, y = generator.normal(size=n), generator.permutation(n) // 2  # with ties
        row = of("fisher", points(x, y, y))
        assert row["sets"] == n
        assert row["pearson"] == pytest.approx(scipy.stats.pearsonr(x, y).statistic)
        assert row["spearman"] == pytest.approx(scipy.stats.spearmanr(x, y).statistic)


def test_every_row_has_its_own_coefficient_and_ties_share_their_rank():
    generator = np.random.default_rng(2)
    x, y = generator.integers(0, 4, size=(2, 50, 6)).astype(float)
    found, ranked = pearson(x, y), pearson(ranks(x), ranks(y))
    assert np.isfinite(found).any()
    for row in range(50):
        if np.ptp(x[row]) == 0 or np.ptp(y[row]) == 0:
            assert np.isnan([found[row], ranked[row]]).all()
        else:
            assert found[row] == pytest.approx(scipy.stats.pearsonr(x[row], y[row]).statistic)
            assert ranked[row] == pytest.approx(scipy.stats.spearmanr(x[row], y[row]).statistic)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_the_units_do_not_matter(scale):
    x, y = np.array([[1.0, 2.0, 4.0]]), np.array([[3.0, 1.0, 2.0]])
    np.testing.assert_allclose(pearson(scale * x, y), pearson(x, y))


def test_a_law_without_exception_has_an_interval_without_width():
    x = np.arange(6.0)
    rising, falling = of("fisher", points(x, np.exp(x), -2 * x)), of("G", points(x, np.exp(x), -2 * x))
    assert rising[["spearman", "spearman_low", "spearman_high"]].tolist() == pytest.approx([1.0] * 3)
    assert rising["pearson_low"] <= rising["pearson"] < 1
    assert falling[["pearson", "pearson_low", "pearson_high"]].tolist() == pytest.approx([-1.0] * 3)


def test_the_interval_is_that_of_an_obvious_bootstrap():
    generator = np.random.default_rng(3)
    x = generator.normal(size=12)
    y = x + generator.normal(size=12)
    row = of("fisher", points(x, y, y))
    drawn = [generator.integers(12, size=12) for _ in range(2000)]
    slow = {
        "pearson": [np.corrcoef(x[rows], y[rows])[0, 1] for rows in drawn],
        "spearman": [scipy.stats.spearmanr(x[rows], y[rows]).statistic for rows in drawn],
    }
    for name, values in slow.items():
        low, high = np.percentile(values, [2.5, 97.5])
        assert row[f"{name}_low"] == pytest.approx(low, abs=0.06)  # two draws of 2,000 resamples
        assert row[f"{name}_high"] == pytest.approx(high, abs=0.06)
        assert high - low > 0.3


def test_the_same_points_give_the_same_intervals():
    table = points([0.1, 0.5, 0.2, 0.9], [3.0, 1.0, 4.0, 2.0], [1.0, 2.0, 3.0, 4.0])
    pd.testing.assert_frame_equal(correlations(table, OPTIONS), correlations(table, OPTIONS))


@pytest.mark.parametrize(
    ("similarity", "fisher", "sets"),
    [
        ([0.1, 0.2], [1.0, 2.0], 2),
        ([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, math.nan, math.nan], 2),
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0], 3),
        ([0.1, 0.2, 0.3], [0.1 + 0.2] * 3, 3),
        ([math.nan] * 3, [1.0, 2.0, 3.0], 0),
    ],
)
def test_too_few_or_constant_points_have_no_coefficient(similarity, fisher, sets):
    row = of("fisher", points(similarity, fisher, fisher))
    assert row["sets"] == sets
    assert row.drop(["optimizer", "method", "task", "sets"]).isna().all()
