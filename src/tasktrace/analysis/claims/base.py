"""What a claim is: a statement of a paper, and the rule by which tables decide it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import pandas as pd

from tasktrace.errors import DamagedFileError

Answer = TypeVar("Answer")

MIN_SEEDS = 3
"""Fewer seeds decide nothing that depends on chance."""


class Verdict(StrEnum):
    """What a setting's tables say of a claim."""

    SUPPORTED = "supported"
    CONTRADICTED = "contradicted"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Finding:
    """What one setting says of a claim.

    Attributes:
        verdict: The verdict.
        numbers: The numbers that it rests on, in words, with units and uncertainty.
        n: How many seeds, or cases where nothing is drawn, each of those numbers rests on; the smallest of them.
        comparisons: How many comparisons were made; where several, ``numbers`` says how they were combined.
        missing: What would decide it; empty unless undecided.
    """

    verdict: Verdict
    numbers: str
    n: int
    comparisons: int = 1
    missing: str = ""

    def __post_init__(self) -> None:
        """Refuse a verdict that says less than it has to."""
        if (self.verdict is Verdict.UNDECIDED) != bool(self.missing):
            raise ValueError(f"an undecided finding says what is missing, and no other does: {self}")


class MissingTableError(Exception):
    """A setting does not have a table; its text names what would make it."""


def damaged_table(path: Path, error: Exception) -> DamagedFileError:
    """The error of a table, or folder of tables, that is not what was written."""
    return DamagedFileError(
        f"{path}: damaged, or not of this version ({type(error).__name__}: {error}); delete it and make it anew with "
        "`snakemake`"
    )


class Tables:
    """The tables of one setting or small study.

    Args:
        folder: Where they are; the names are those of ``results/tables/<setting>``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def setting(self) -> str:
        """The setting's name, or the small study's."""
        return self.folder.name

    def csv(self, name: str) -> pd.DataFrame:
        """A table.

        Raises:
            MissingTableError: It is not there, or has no rows.
        """
        return self._read(name, pd.read_csv)

    def parquet(self, name: str) -> pd.DataFrame:
        """The same for a table in Parquet.

        Raises:
            MissingTableError: It is not there, or has no rows.
        """
        return self._read(name, pd.read_parquet)

    def ask(self, reader: Callable[["Tables"], Answer]) -> Answer | None:
        """What a reader makes of the tables; None without one that it needs.

        Raises:
            DamagedFileError: A table is not what was written.
        """
        try:
            return reader(self)
        except MissingTableError:
            return None
        except (LookupError, ValueError, TypeError) as error:  # columns or values that are not there
            raise damaged_table(self.folder, error) from error

    def _read(self, name: str, read: Callable[[Path], pd.DataFrame]) -> pd.DataFrame:
        path = self.folder / name
        try:
            table = read(path) if path.exists() else pd.DataFrame()
        except ValueError as error:  # what pandas and pyarrow say of a file that is no table is one
            raise damaged_table(path, error) from error
        if table.empty:
            raise MissingTableError(f"no {name}")
        return table


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, as a check.

    Attributes:
        id: Its name in the ledger, ``a3-early`` or ``b2-adam``: study, section or figure, subject.
        study: ``A`` or ``B``.
        place: Where the paper says it: section, figure, table.
        statement: What it says, in our words.
        settings: The settings of which the paper says it, in words.
        statistic: What decides it.
        threshold: From which value on; the paper's own words or a standard rule, fitted to no verdict.
        needs: What a setting must have for the claim to speak of it, in words: ``groups``, ``experiments``, ...
        check: What a setting's tables say; None where the claim does not speak of such a setting. It may let
            ``MissingTableError`` pass.
    """

    id: str
    study: str
    place: str
    statement: str
    settings: str
    statistic: str
    threshold: str
    needs: str
    check: Callable[[Tables], Finding | None]

    @property
    def said(self) -> str:
        """What the paper says, where and of which settings."""
        return f"{self.statement} ({self.place}; the paper: {self.settings})"

    @property
    def decided(self) -> str:
        """How it is decided."""
        return f"Decided by: {self.statistic}. Threshold: {self.threshold}."


def decide(holds: bool, numbers: str, n: int, comparisons: int = 1, seeds: bool = True) -> Finding:
    """The verdict of numbers that decide.

    Args:
        holds: Whether they are as the claim says.
        numbers: The numbers, in words.
        n: Seeds, or cases.
        comparisons: See :class:`Finding`.
        seeds: Whether ``n`` counts seeds, of which fewer than ``MIN_SEEDS`` decide nothing.
    """
    if seeds and n < MIN_SEEDS:
        return Finding(
            Verdict.UNDECIDED,
            numbers,
            n,
            comparisons,
            f"{MIN_SEEDS} seeds; these are {n}: `seeds` in config/config.yaml",
        )
    return Finding(Verdict.SUPPORTED if holds else Verdict.CONTRADICTED, numbers, n, comparisons)


def undecided(numbers: str, n: int, missing: str, comparisons: int = 1) -> Finding:
    """A finding that names what would decide."""
    return Finding(Verdict.UNDECIDED, numbers, n, comparisons, missing)


def listed(items: Iterable[str]) -> str:
    """Numbers of several comparisons in one line."""
    return "; ".join(items)
