"""Every published number that something here can be compared with, ours beside it."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.claims.a_transfer import UMTG
from tasktrace.analysis.claims.base import MissingTableError, Tables, damaged_table
from tasktrace.analysis.factor_tables import G
from tasktrace.analysis.matched_loss import CURVE
from tasktrace.analysis.published import COLUMNS as FACTORS

COLUMNS = [
    "study",
    "place",
    "setting",
    "what",
    "quantity",
    "unit",
    "ours",
    "ours_std",
    "seeds",
    "published",
    "published_std",
    "difference",
    "tolerance",
    "within",
]
"""``tolerance`` is how far apart two numbers of the stated uncertainty may be, NaN where none is stated; ``within``
whether ours is no further from the published one."""

DEVIATIONS = 2.0
"""Study A's own rule: standard deviations over seeds within which a number counts as the same."""

Row = dict[Any, Any]

_Reader = Callable[[Tables], Iterator[Row]]


def published_beside(folders: Sequence[Path]) -> pd.DataFrame:
    """Every comparison that the tables of what has been run allow.

    Where a standard deviation over seeds is known, of ours or of the published number, the tolerance is two of their
    root sum of squares; the toy problem's cells have one of their own. Counts have none.

    Args:
        folders: A folder of tables for each setting and small study.

    Returns:
        ``COLUMNS``, a row per published number.

    Raises:
        DamagedFileError: A table is not what was written.
    """
    rows = [row for folder in folders for row in _of_folder(folder)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"within": object})  # three values


def _of_folder(folder: Path) -> list[Row]:
    tables = Tables(folder)
    return [{**row, "setting": tables.setting} for read in _READERS for row in _read(read, tables)]


def _read(read: _Reader, tables: Tables) -> list[Row]:
    try:
        return list(read(tables))
    except MissingTableError:
        return []
    except (LookupError, ValueError, TypeError) as error:  # columns or values that are not there
        raise damaged_table(tables.folder, error) from error


def _row(ours: float, published: float, tolerance: float | None = None, **known: Any) -> Row:
    """A comparison; without a tolerance of its own, that of the standard deviations."""
    difference = ours - published
    allowed = _allowed(known.get("ours_std"), known.get("published_std")) if tolerance is None else tolerance
    within = None if math.isnan(allowed) or math.isnan(difference) else abs(difference) <= allowed
    return {
        **known,
        "ours": ours,
        "published": published,
        "difference": difference,
        "tolerance": allowed,
        "within": within,
    }


def _allowed(*deviations: float | None) -> float:
    known = [value for value in deviations if value is not None and not math.isnan(value)]
    return DEVIATIONS * math.sqrt(math.fsum(value**2 for value in known)) if known else math.nan


def _table_a1(tables: Tables) -> Iterator[Row]:
    """Study A's Table 1: differences together less alone, of the plain sum."""
    table, deviations = tables.csv("table_a1.csv"), _deviations(tables)
    for row in table[table["method"] == UMTG].to_dict("records"):
        for factor in FACTORS:
            published = row[f"{factor}_published"]
            if math.isnan(published):
                continue
            unit = row["unit"] if factor == G else "of the factor"
            scale = 100.0 if factor == G and unit == "points" else 1.0
            std, seeds = deviations.get((*_curve(row), factor), (math.nan, math.nan))
            yield _row(
                row[factor],
                published,
                study="A",
                place="table 1",
                what=f"{row['task']}, {row['optimizer']}",
                quantity=f"Δ{factor}",
                unit=unit,
                ours_std=scale * std,
                seeds=seeds,
            )


def _curve(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in CURVE)


def _deviations(tables: Tables) -> dict[tuple[Any, ...], tuple[float, float]]:
    """Of each difference the standard deviation, and the seeds of the side that has fewer; none without the table."""
    try:
        deltas = tables.csv("deltas.csv")
    except MissingTableError:
        return {}
    return {
        (*_curve(row), row["factor"]): (
            math.hypot(row["stl_std"], row["mtl_std"]),
            int(min(row["stl_seeds"], row["mtl_seeds"])),
        )
        for row in deltas[deltas["rule"] == "table1"].to_dict("records")
    }


def _results(tables: Tables) -> Iterator[Row]:
    """Study B's tables A4 to A7: Delta_m of every method and optimizer."""
    for row in tables.csv("results.csv").to_dict("records"):
        if not math.isnan(row["published_delta_m"]):
            yield _row(
                row["delta_m"],
                row["published_delta_m"],
                study="B",
                place="tables A4 to A7",
                what=f"{row['method']}, {row['optimizer']}",
                quantity="Δm",
                unit="percent",
                ours_std=row["delta_m_std"],
                seeds=int(row["seeds"]),
                published_std=row["published_delta_m_std"],
            )


def _counts(tables: Tables) -> Iterator[Row]:
    """Study B's table 2: how many experiments are Pareto optimal."""
    for row in tables.csv("pareto_counts.csv").to_dict("records"):
        for column, against in (("optimal", "all"), ("optimal_against_others", "the other optimizers'")):
            published = row[f"{column}_published"]
            if not math.isnan(published):
                yield _row(
                    row[column],
                    published,
                    study="B",
                    place="table 2",
                    what=f"{row['optimizer']} against {against}, {row['counting']}",
                    quantity="Pareto-optimal experiments",
                    unit="experiments",
                )


def _corrupted(tables: Tables) -> Iterator[Row]:
    """Study B's tables A10 and A11: metrics on corrupted pictures."""
    for row in tables.csv("corruption_scores.csv").to_dict("records"):
        if not math.isnan(row["corrupted_published"]):
            yield _row(
                row["corrupted"],
                row["corrupted_published"],
                study="B",
                place="tables A10, A11",
                what=row["method"],
                quantity=f"{row['metric']}, corrupted",
                unit="of the metric",
                ours_std=row["corrupted_std"],
                seeds=int(row["seeds"]),
            )


def _toy(tables: Tables) -> Iterator[Row]:
    """Study B's tables 1 and A3: iterations until the minimum; a cell that did not arrive has none."""
    if tables.setting != "toy":
        return
    for row in tables.csv("table.csv").astype({"ours": str, "published": str}).to_dict("records"):
        yield {
            **_row(
                _iterations(row["ours"]),
                _iterations(row["published"]),
                row["tolerance"],
                study="B",
                place="tables 1, A3",
                what=f"{row['method']}, {row['optimizer']}, learning rate {row['learning_rate']:g}",
                quantity="iterations to the minimum",
                unit="iterations",
            ),
            "within": bool(row["within"]),
        }


def _iterations(text: str) -> float:
    return math.nan if text == "-" else float(text)


_READERS: tuple[_Reader, ...] = (_table_a1, _results, _counts, _corrupted, _toy)
