"""Where a project's files are, below its folder; the workflow's rules name the same places."""

from pathlib import Path

RUNS = Path("results/runs")
"""Every run has a folder in it, at its path."""

TABLES_FOLDER = Path("results/tables")
"""Every setting and small study has a folder of tables in it."""

PREPARED_DATA = Path("data/prepared")
CORRUPTED_DATA = Path("data/corrupted")

RESUME = ".resume"
"""The folder, in a run's, of what lets it be continued."""


def raw_path(module: str) -> Path:
    """The folder of a setting module's raw files."""
    return Path("data/raw") / module


def prepared_path(setting: str) -> Path:
    """A setting's prepared data."""
    return PREPARED_DATA / f"{setting}.safetensors"


def corrupted_path(setting: str) -> Path:
    """The folder of a setting's corrupted pictures."""
    return CORRUPTED_DATA / setting


def selection_path(arm: str) -> Path:
    """The point that was selected for an arm."""
    return Path("results/selected") / f"{arm}.json"


def tables_folder(setting: str) -> Path:
    """The folder of a setting's tables."""
    return TABLES_FOLDER / setting
