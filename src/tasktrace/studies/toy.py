"""The toy problem of study B (figure 1, tables 1 and A3): when does a descent first reach the minimum?

CAGrad's two losses in the plane, gradient descent and Adam, EW, PCGrad and CAGrad, a grid of learning rates, three
starts. The paper does not state its criterion; that its numbers are first iterations with (L1 + L2) / 2 < -15 follows
from the many cells that this reproduces exactly.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from tasktrace.config.bounds import check_range
from tasktrace.config.options import build_options, check_options
from tasktrace.rows import write_table
from tasktrace.studies.two_objectives.descent import Lane, Outcome, Thinning, descend
from tasktrace.studies.two_objectives.directions import DIRECTIONS
from tasktrace.studies.two_objectives.landscape import losses
from tasktrace.studies.two_objectives.published import published

VERSION = 1

_CELL = ["optimizer", "method", "learning_rate"]
"""What one cell of the paper's tables is."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The study's grid, and how much of the paths is kept.

    Attributes:
        iterations: Points that a descent looks at, the start included.
        threshold: A descent has arrived once (L1 + L2) / 2 is below this.
        learning_rates: The grid of the tables.
        starts: Initial points (x1, x2).
        path_methods: Methods whose paths are kept, for figure 1.
        path_learning_rates: Learning rates whose paths are kept; of the grid.
        path_dense: A path's first points, all of which are kept.
        path_every: Of the later points every so many-th is kept.
        map_half_width: The map of the mean loss covers [-map_half_width, map_half_width] in both coordinates.
        map_points: Its points per coordinate.
    """

    iterations: int = 100_000
    threshold: float = -15.0
    learning_rates: tuple[float, ...] = (10.0, 5.0, 1.0, 0.5, 0.1, 0.05, 0.01, 0.005, 0.001)
    starts: tuple[tuple[float, ...], ...] = ((-8.5, 7.5), (-8.5, -5.0), (9.0, 9.0))
    path_methods: tuple[Literal["ew", "pcgrad", "cagrad"], ...] = ("ew", "cagrad")
    path_learning_rates: tuple[float, ...] = (1.0, 0.05, 0.001)
    path_dense: int = 1000
    path_every: int = 100
    map_half_width: float = 11.0
    map_points: int = 500

    def __post_init__(self) -> None:
        """Hold the numbers to their ranges, starts to points of a plane, and paths to the grid."""
        check_range(self, "iterations", "path_every", low=1)
        check_range(self, "path_dense", low=0)
        check_range(self, "map_points", low=2)
        if any(len(start) != 2 for start in self.starts):
            raise ValueError(f"starts must be pairs of numbers, found {list(self.starts)!r}")
        absent = [rate for rate in self.path_learning_rates if rate not in self.learning_rates]
        if absent:
            raise ValueError(f"path_learning_rates must be of learning_rates, found {absent!r}")


def run(out: Path, options: dict[str, Any]) -> None:
    """Run all descents and write their tables.

    Args:
        out: Folder of ``hits.csv`` (a row per descent), ``table.csv`` (Table A3 beside its published numbers),
            ``trajectories.parquet`` (the kept paths) and ``landscape.parquet`` (the map of the mean loss).
        options: What differs from the defaults of :class:`Options`.

    Raises:
        ConfigError: An unknown option, or a value of a wrong type or range.
    """
    chosen = build_options(Options, check_options(Options, options, "toy"))
    lanes = _lanes(chosen)
    thinning = Thinning(chosen.path_dense, chosen.path_every)
    outcomes = descend(lanes, chosen.iterations, chosen.threshold, thinning)
    hits = _hits(lanes, outcomes)
    write_table(out / "hits.csv", hits)
    write_table(out / "table.csv", comparison(hits))
    write_table(out / "trajectories.parquet", _paths(lanes, outcomes))
    write_table(out / "landscape.parquet", _landscape(chosen))


def comparison(hits: pd.DataFrame) -> pd.DataFrame:
    """Our table A3 beside the published one.

    Args:
        hits: Columns optimizer, method, learning_rate and first_hit (missing where a start never arrived), a row per
            start.

    Returns:
        A row per optimizer, method and learning rate: ``ours`` and ``published`` (iterations as text, ``-`` where not
        all starts arrived), ``difference`` (ours less published, in iterations), ``tolerance`` and ``within``; the
        last four are missing where the paper has no number.
    """
    rows: list[dict[str, Any]] = []
    cells = hits.groupby(_CELL, sort=False)["first_hit"]
    for key, found in cells:
        hit = None if found.isna().any() else int(found.max())
        row: dict[str, Any] = {**dict(zip(_CELL, key, strict=True)), "ours": _shown(hit)}
        theirs = published(row["optimizer"], row["method"], row["learning_rate"])
        if theirs is not None:
            row |= {"published": _shown(theirs.hit), "within": theirs.agrees(hit)}
            if theirs.hit is not None:
                row["tolerance"] = theirs.tolerance
                row["difference"] = pd.NA if hit is None else hit - theirs.hit
        rows.append(row)
    columns = [*_CELL, "ours", "published", "difference", "tolerance", "within"]
    return pd.DataFrame(rows).reindex(columns=columns).astype({"difference": "Int64", "tolerance": "Float64"})


def _lanes(options: Options) -> list[Lane]:
    return [
        Lane(
            optimizer=optimizer,
            method=method,
            learning_rate=rate,
            start=(start[0], start[1]),
            traced=method in options.path_methods and rate in options.path_learning_rates,
        )
        for optimizer in ("gd", "adam")
        for method in DIRECTIONS
        for rate in options.learning_rates
        for start in options.starts
    ]


def _identity(lane: Lane) -> dict[str, Any]:
    return {
        "optimizer": lane.optimizer,
        "method": lane.method,
        "learning_rate": lane.learning_rate,
        "start_x": lane.start[0],
        "start_y": lane.start[1],
    }


def _hits(lanes: list[Lane], outcomes: list[Outcome]) -> pd.DataFrame:
    """A row per descent: its identity, first_hit, and lost_at, each missing where it did not come to that."""
    rows = [
        {**_identity(lane), "first_hit": outcome.first_hit, "lost_at": outcome.lost_at}
        for lane, outcome in zip(lanes, outcomes, strict=True)
    ]
    return pd.DataFrame(rows).astype({"first_hit": "Int64", "lost_at": "Int64"})


def _paths(lanes: list[Lane], outcomes: list[Outcome]) -> pd.DataFrame:
    """The kept points: the descent's identity, iteration, x and y."""
    parts = [
        pd.DataFrame(outcome.path, columns=["iteration", "x", "y"]).assign(**_identity(lane))
        for lane, outcome in zip(lanes, outcomes, strict=True)
        if lane.traced
    ]
    columns = [*_CELL, "start_x", "start_y", "iteration", "x", "y"]
    return pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)


def _landscape(options: Options) -> pd.DataFrame:
    """The mean loss on a square grid: columns x, y, mean_loss, row by row of equal y."""
    side = np.linspace(-options.map_half_width, options.map_half_width, options.map_points)
    x, y = (own.ravel() for own in np.meshgrid(side, side))
    first, second = losses(torch.from_numpy(x), torch.from_numpy(y))
    return pd.DataFrame({"x": x, "y": y, "mean_loss": ((first + second) / 2).numpy()}).astype("float32")


def _shown(hit: int | None) -> str:
    return "-" if hit is None else str(hit)
