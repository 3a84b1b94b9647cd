"""Tables as the analysis writes them, of an invented study with three tasks, and what the study asks of figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasktrace.analysis.correlation import correlations
from tasktrace.analysis.factor_tables import CURVES_COLUMNS, FACTORS_COLUMNS, factor_curves
from tasktrace.analysis.matched_loss import curves
from tasktrace.analysis.methods_compared import METHODS_COLUMNS, share_inside
from tasktrace.analysis.published import TABLE_COLUMNS

FACTORS = {
    "sharpness": "sharpness.rho0.002",
    "fisher": "fisher.trace",
    "coherence": "coherence.covariance",
    "similarity": "conflict.similarity",
}
OPTIONS: dict[str, Any] = {
    "setting": "invented",
    "task": "coats",
    "optimizer": "adam",
    "method": "umtg",
    "curves": [
        {"group": "stl.coats", "label": "STL"},
        {"group": "mtl.shoes", "label": "+Shoes"},
        {"group": "mtl.noisy", "label": "+Noisy"},
    ],
    "metric": "accuracy",
    "metrics": {"coats": "accuracy", "shoes": "accuracy", "noisy": "accuracy"},
    "labels": {"mtl.shoes": "+Shoes", "mtl.noisy": "+Noisy"},
    "baseline": "umtg",
    "methods": ["mgda", "pcgrad"],
    "auxiliary": {"coats": ["mtl.aux_coats_00", "mtl.aux_coats_01"], "shoes": ["mtl.aux_shoes_00"]},
    "factors": FACTORS,
    "band": 2.0,
    "aggregation": "table1",
    "width": 7.0,
    "height": 3.6,
    "dpi": 60,
}

GROUPS = {"mtl.shoes": ("coats", "shoes"), "mtl.noisy": ("coats", "noisy")}
CURVES = [(None, f"stl.{task}", task) for task in ("coats", "shoes", "noisy")] + [
    ("umtg", group, task) for group, tasks in GROUPS.items() for task in tasks
]
"""Method, group and task of every curve."""


def trajectories(epochs: int = 6, seeds: int = 3) -> pd.DataFrame:
    """Loss, test metric and three factors by epoch of every curve, with another optimizer that no figure may draw."""
    rng = np.random.default_rng(0)
    rows = []
    for optimizer in ("adam", "sgd"):
        for number, (method, group, task) in enumerate(CURVES):
            for seed in range(seeds):
                for epoch in range(epochs + 1):
                    done = epoch / epochs
                    loss = 2.0 * 10.0 ** (-3 * done + 0.05 * rng.normal())
                    gain = {"mtl.shoes": 0.03, "mtl.noisy": -0.04}.get(group, 0.0)
                    rows.append(
                        {"optimizer": optimizer, "task": task, "method": method, "group": group}
                        | {"seed": seed, "epoch": epoch, "loss": loss}
                        | {"metric": 0.9 + gain - 0.6 * np.exp(-8 * done) + 0.004 * rng.normal()}
                        | {"sharpness": loss**0.7 * (1 + 0.1 * number) * np.exp(0.1 * rng.normal())}
                        | {"fisher": 30 * np.exp(-(((done - 0.3) / 0.2) ** 2)) + 0.5 * np.exp(rng.normal())}
                        | {"coherence": 200 * loss * np.exp(0.2 * rng.normal())}
                    )
    return pd.DataFrame(rows)


def factors_of(runs: pd.DataFrame) -> pd.DataFrame:
    """``factors.parquet``, with numbers of other measures and about pairs that no figure may draw."""
    asked = [(factor, measure, "") for factor, measure in FACTORS.items() if factor != "similarity"]
    others = [("fisher", "fisher.minibatch", ""), ("fisher", "fisher.trace", "somebody")]
    parts = [
        runs.assign(measure=measure, other=other, parameters="model", value=runs[factor], stderr=np.nan)
        for factor, measure, other in [*asked, *others]
    ]
    return pd.concat(parts, ignore_index=True)[FACTORS_COLUMNS]


def transfers() -> pd.DataFrame:
    """``transfer.csv``: significant for coats in two groups, not for the others; one never trained alone."""
    rows = [
        ("coats", "umtg", "mtl.shoes", 0.03, True, "positive"),
        ("coats", "umtg", "mtl.noisy", -0.04, True, "negative"),
        ("shoes", "umtg", "mtl.shoes", 0.01, False, "none"),
        ("noisy", "umtg", "mtl.noisy", np.nan, None, None),
        ("shoes", "pcgrad", "mtl.shoes", 0.5, True, "positive"),
        ("coats", "umtg", "mtl.aux_coats_00", 0.6, True, "positive"),
    ]
    table = pd.DataFrame(rows, columns=["task", "method", "group", "delta", "significant", "transfer"])
    alone = table["task"].map({"coats": 0.9, "shoes": 0.85})
    return table.assign(optimizer="adam", metric="accuracy", stl_mean=alone, stl_std=0.004, stl_seeds=3)


def methods_points() -> pd.DataFrame:
    """``methods.csv``: two methods, four tasks and groups; a change beyond every linear axis, one seed pair, NaN."""
    rng = np.random.default_rng(1)
    arms = [(task, group) for group, tasks in GROUPS.items() for task in tasks]
    rows = []
    for method in ("mgda", "pcgrad"):
        for task, group in arms:
            for factor in ("lowest_loss", "sharpness", "fisher", "coherence"):
                g, change = 3 * rng.normal(), 40 * rng.normal()
                rows.append(("adam", task, method, group, factor, 3, g, 1.0, change, 8.0, g * change < 0))
    table = pd.DataFrame(rows, columns=METHODS_COLUMNS).astype({"inside": object})
    table.loc[table.index[0], ["factor_mean", "factor_std"]] = 5000.0, 900.0
    table.loc[table.index[1], ["pairs", "G_std", "factor_std"]] = 1, np.nan, np.nan
    table.loc[table.index[2], ["pairs", "G_mean", "G_std", "factor_mean", "factor_std", "inside"]] = 0, *[np.nan] * 5
    table.loc[table.index[0], "inside"] = table["G_mean"].iloc[0] < 0
    other = table.head(4).assign(optimizer="sgd")
    return pd.concat([table, other], ignore_index=True)


def auxiliary_points(sets: int = 6) -> pd.DataFrame:
    """``auxiliary.csv``: two targets; a covariance of both signs, and a set without early checkpoints."""
    rng = np.random.default_rng(2)
    rows = []
    for number, task in enumerate(("coats", "shoes")):
        for place in range(sets):
            x = rng.uniform(0.3, 0.7)
            rows.append(
                {
                    "optimizer": "adam",
                    "method": "umtg",
                    "task": task,
                    "group": f"mtl.aux_{task}_{place:02d}",
                    "seeds": 3,
                }
                | {"similarity": x, "sharpness": 0.3 * (1 - x) + 0.02 * rng.normal()}
                | {"fisher": 10.0 ** (2 - 2 * x + number) * np.exp(0.3 * rng.normal())}
                | {"coherence": 20 * rng.normal(), "G": 0.85 + 0.02 * rng.normal(), "early_checkpoints": 2}
            )
    table = pd.DataFrame(rows)
    table.loc[0, "sharpness"] = np.nan
    quantities = ["similarity", "sharpness", "fisher", "coherence", "G"]
    return table.assign(**{f"{name}_std": 0.1 * table[name].abs() for name in quantities})


def table_a1_rows() -> pd.DataFrame:
    """``table_a1.csv``: positive, negative and no significance, one missing cell and one published row."""
    names = {"optimizer": "adam", "method": "umtg", "unit": "points"}
    coats = {"group": "mtl.shoes", "task": "coats", "G": 2.384615, "G_significant": True, "G_published": -8.81}
    coats |= {"sharpness": -0.0123456, "sharpness_significant": False, "sharpness_published": 0.17}
    coats |= {"fisher": 1234.567, "fisher_significant": True, "coherence": 3e-5, "coherence_significant": False}
    shoes = {"group": "mtl.shoes", "task": "shoes", "G": -0.5, "G_significant": None, "sharpness": np.nan}
    known = {"unit_published": "points", "note": "a cell is <missing>"}
    return pd.DataFrame([{**names, **coats, **known}, {**names, **shoes}]).reindex(columns=TABLE_COLUMNS)


def invented() -> dict[str, pd.DataFrame]:
    """Every table, by file name."""
    runs = trajectories()
    factors, points, methods = factors_of(runs), auxiliary_points(), methods_points()
    return {
        "points.parquet": runs[["optimizer", "task", "method", "group", "seed", "epoch", "loss", "metric"]],
        "curves.parquet": curves(runs, 20),
        "factors.parquet": factors,
        "factor_curves.parquet": factor_curves(factors, {"factors": FACTORS, "grid_points": 20})[CURVES_COLUMNS],
        "transfer.csv": transfers(),
        "methods.csv": methods,
        "shares.csv": share_inside(methods),
        "auxiliary.csv": points,
        "correlations.csv": correlations(points, {"factors": FACTORS, "resamples": 200}),
        "table_a1.csv": table_a1_rows(),
    }


def write(folder: Path, contents: dict[str, pd.DataFrame]) -> Path:
    """Write tables by file name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        if name.endswith(".csv"):
            content.to_csv(folder / name, index=False)
        else:
            content.to_parquet(folder / name)
    return folder


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all tables, which no test may change."""
    return write(tmp_path_factory.mktemp("invented"), invented())


@pytest.fixture
def changed(whole: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that gives a folder of tables in which some, by file name, went through a function."""

    def change(**functions: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
        contents = invented()
        for name, function in functions.items():
            file = next(file for file in contents if file.startswith(f"{name}."))
            contents[file] = function(contents[file])
        return write(tmp_path / "changed", contents)

    return change


@pytest.fixture
def options() -> dict[str, Any]:
    """What ``Study.figure`` gives."""
    return {**OPTIONS}


@pytest.fixture
def assert_same_bytes(whole: Path, options: dict[str, Any], tmp_path: Path) -> Callable[[Callable[..., None]], None]:
    """A function that draws twice, and compares every file."""

    def check(draw: Callable[..., None]) -> None:
        for name in ("one", "two"):
            draw(whole, options, tmp_path / name / "fig.png")
        for ending in ("png", "pdf", "csv"):
            one, two = ((tmp_path / name / f"fig.{ending}").read_bytes() for name in ("one", "two"))
            assert one == two, ending

    return check
