"""Study B's tables 2 and A2 and A4 to A7 (Elich et al. 2024, arXiv 2311.04698v5).

Methods and optimizers have the names of the blocks in ``config/config.yaml``: the paper's EW is ``umtg``, its SGD with
momentum ``sgdm``. Settings are dataset and network: ``cityscapes_segnet``, ``cityscapes_deeplab``, ``nyuv2_segnet``,
``nyuv2_deeplab``.
"""

from pathlib import Path
from typing import Any

import pandas as pd

OPTIMIZERS = ("adam", "sgdm")
"""Among whose runs the paper's fronts are."""

HIGHER_IS_BETTER = {
    "segmentation.mean_iou": True,
    "segmentation.pixel_accuracy": True,
    "depth.absolute_error": False,
    "depth.relative_error": False,
    "normals.mean_angle": False,
    "normals.median_angle": False,
    "normals.within_11": True,
    "normals.within_22": True,
    "normals.within_30": True,
}
"""The paper's metrics, with their direction; within: the share of pixels below 11.25, 22.5 and 30 degrees."""

TABLE_2 = {
    ("cityscapes_segnet", "adam"): (5, 24),
    ("cityscapes_segnet", "sgdm"): (0, 0),
    ("cityscapes_deeplab", "adam"): (10, 24),
    ("cityscapes_deeplab", "sgdm"): (0, 0),
    ("nyuv2_segnet", "adam"): (11, 21),
    ("nyuv2_segnet", "sgdm"): (1, 1),
    ("nyuv2_deeplab", "adam"): (16, 21),
    ("nyuv2_deeplab", "sgdm"): (6, 6),
}
"""Table 2: how many experiments of an optimizer are optimal among both optimizers', and against the other's only."""


def published_results() -> pd.DataFrame:
    """Tables A4 to A7, with table A2's counts; a row without a method is training alone.

    Returns:
        Columns setting, method, optimizer, learning_rate (the one that validation chose); the metrics of
        ``HIGHER_IS_BETTER``, NaN where they are not at hand; delta_m and its standard deviation over three seeds, in
        percent; pareto_full (NaN where table A2 has no such row).
    """
    return pd.read_csv(Path(__file__).with_name("published_b.csv"))


def by_method(setting: str) -> dict[tuple[Any, Any], dict[Any, Any]]:
    """The published results of a setting, by method and optimizer."""
    table = published_results()
    rows = table[(table["setting"] == setting) & table["method"].notna()].to_dict("records")
    return {(row["method"], row["optimizer"]): row for row in rows}


def corrupted_scores(setting: str) -> dict[tuple[Any, Any], float]:
    """Tables A10 and A11 of a setting: metrics on corrupted test data, by method (``alone``: STL) and metric.

    Tables A8 and A9, the differences, do not follow from these and the clean tables, and are left out.
    """
    table = pd.read_csv(Path(__file__).with_name("published_b_corrupted.csv"))
    rows = table[table["setting"] == setting]
    return {(row["method"], row["metric"]): float(row["value"]) for row in rows.to_dict("records")}
