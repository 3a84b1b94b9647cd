"""Published numbers that something here can be compared with, ours beside them.

They are Table 1 of study A, and of study B Tables 1 and A3 (the toy problem), 2 (counts of optimal experiments), A4 to
A7 (Delta_m) and A10 and A11 (corrupted pictures).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tasktrace.analysis.claims.a_transfer import UMTG
from tasktrace.analysis.claims.base import MIN_SEEDS, MissingTableError, Tables
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
    "note",
]
"""``tolerance`` is how far apart two numbers of the stated uncertainty may be, NaN where none is stated; ``within``
whether ours is no further from the published one, None for fewer than three seeds or units that are not known; ``note``
what is uncertain of the published number."""

DEVIATIONS = 2.0
"""Study A's own rule: standard deviations over seeds within which a number counts as the same."""

_ROUNDED = 1e-4
"""By what share of it the table's number may be rounded."""

Row = dict[Any, Any]

_Reader = Callable[[Tables], Iterator[Row]]


def published_beside(folders: Sequence[Path]) -> pd.DataFrame:
    """Every such comparison that the tables of what has been run allow.

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
    found = [tables.ask(partial(_rows, read)) or [] for read in _READERS]
    return [{**row, "setting": tables.setting} for rows in found for row in rows]


def _rows(read: _Reader, tables: Tables) -> list[Row]:
    return list(read(tables))


def _row(ours: float, published: float, tolerance: float | None = None, **known: Any) -> Row:
    """A comparison; without a tolerance of its own, that of the standard deviations."""
    difference = ours - published
    allowed = _allowed(known.get("ours_std"), known.get("published_std")) if tolerance is None else tolerance
    is_open = math.isnan(allowed) or math.isnan(difference) or known.get("seeds", MIN_SEEDS) < MIN_SEEDS
    return {
        **known,
        "ours": ours,
        "published": published,
        "difference": difference,
        "tolerance": allowed,
        "within": None if is_open else abs(difference) <= allowed,
    }


def _allowed(*deviations: float | None) -> float:
    known = [value for value in deviations if value is not None and not math.isnan(value)]
    return DEVIATIONS * math.sqrt(math.fsum(value**2 for value in known)) if known else math.nan


def _table_a1(tables: Tables) -> Iterator[Row]:
    """Study A's Table 1: differences together less alone, of the plain sum."""
    table, deltas = tables.csv("table_a1.csv"), _deltas(tables)
    for row in table[table["method"] == UMTG].to_dict("records"):
        for factor in FACTORS:
            published = row[f"{factor}_published"]
            if math.isnan(published):
                continue
            unit = row["unit"] if factor == G else "of the factor"
            scale = 100.0 if factor == G and unit == "points" else 1.0
            of_factor = [one for one in deltas if _curve(one) == _curve(row) and one["factor"] == factor]
            std, seeds = _deviation(of_factor, row[factor] / scale)
            is_comparable = factor != G or row["unit_published"] != "unknown"
            yield _row(
                row[factor],
                published,
                None if is_comparable else math.nan,
                study="A",
                place="table 1",
                what=f"{row['task']}, {row['optimizer']}",
                quantity=f"Δ{factor}",
                unit=unit,
                ours_std=scale * std,
                seeds=seeds,
                note=row["note"],
            )


def _curve(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in CURVE)


def _deltas(tables: Tables) -> list[Row]:
    """The differences by every rule; none without the table."""
    try:
        return tables.csv("deltas.csv").to_dict("records")
    except MissingTableError:
        return []


def _deviation(deltas: list[Row], delta: float) -> tuple[float, float]:
    """The standard deviation of a difference by one of the rules, and the seeds of the side that has fewer."""
    for row in deltas:
        if math.isclose(row["delta"], delta, rel_tol=_ROUNDED):
            return math.hypot(row["stl_std"], row["mtl_std"]), min(row["stl_seeds"], row["mtl_seeds"])
    return math.nan, math.nan


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
                seeds=row["seeds"],
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
                seeds=row["seeds"],
            )


def _toy(tables: Tables) -> Iterator[Row]:
    """Study B's tables 1 and A3: iterations until the minimum; a cell that did not arrive has none."""
    if tables.setting != "toy":
        return
    table = tables.csv("table.csv").dropna(subset="within")  # other learning rates are not published
    for row in table.astype({"ours": str, "published": str}).to_dict("records"):
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
