"""How large files are: those that are there as they are, others from their rows.

Bytes per row are what files of many random numbers came to; a file's constant part is that of the digits' files. They
are good to a third, which suffices beside checkpoints: a run of 100 epochs with 20 tasks comes to 0.5 MB, its measured
factors to 23 MB.
"""

from collections.abc import Sequence
from pathlib import Path

from tasktrace.config.corruptions import SEVERITIES
from tasktrace.tasks import Task

_RECORD = 10_000
"""``run.json``, its copy in ``.resume``, and the files' heads."""

_TRAJECTORY_ROW = 2 * 10
"""The trajectory is kept twice."""

_LOG_LINE, _LOG_TASK = 50, 60

_SIMILARITY_ROWS = 96
"""Kinds of pairs times quantities times statistics."""

_FACTORS = 4_500
"""``factors.json``, and the head of its table."""

_FACTOR_ROW = 20 + 100
"""In the table and in the journal."""

_JOURNAL_LINE = 85

_OF_TASK = {"sharpness": 1, "fisher": 2, "coherence": 4, "conflict": 1}
"""Numbers that a measure gives of a task; of another measure there are taken to be two."""

_OF_PAIR = {"conflict": 4}
"""Numbers that a measure gives of an ordered pair of tasks."""

_SCORES = 3_000
_SCORE_ROW = 10

_FIGURE, _PAGE, _TABLE, _SELECTION = 200_000, 5_000, 100_000, 2_000
"""Of the digits: a figure's PNG, PDF and numbers; a page; what one rule writes of tables; a selection."""


def trained(folder: Path, tasks: Sequence[Task], epochs: int, is_watched: bool) -> int:
    """Bytes of a run's own files, without checkpoints.

    Args:
        folder: The run's folder.
        tasks: Its tasks.
        epochs: Its epochs.
        is_watched: Whether gradients of single samples are compared.
    """
    there = _there(folder, "run.json", "trajectory.parquet", ".resume/*")
    rows = sum(3 * (1 + len(task.metrics)) + 1 for task in tasks) + _SIMILARITY_ROWS * is_watched
    log = _LOG_LINE + _LOG_TASK * len(tasks)
    return there or _RECORD + epochs * (rows * _TRAJECTORY_ROW + log)


def measured(folder: Path, tasks: int, checkpoints: int, measures: Sequence[str]) -> int:
    """Bytes of what is measured of a run.

    Args:
        folder: The run's folder.
        tasks: Number of its tasks.
        checkpoints: Number of checkpoints that are measured.
        measures: Names of the measures' modules.
    """
    there = _there(folder, "factors.*", ".measure/*")
    pairs = tasks * (tasks - 1)
    # A task alone has no rows of conflict.
    rows = sum(
        tasks * (_OF_TASK.get(name, 2) if name not in _OF_PAIR or pairs else 0) + pairs * _OF_PAIR.get(name, 0)
        for name in measures
    )
    return there or _FACTORS + checkpoints * (rows * _FACTOR_ROW + len(measures) * _JOURNAL_LINE)


def refitted(folder: Path, tasks: Sequence[Task], corruptions: int) -> int:
    """Bytes of what is refitted of a run.

    Args:
        folder: The run's folder.
        tasks: Its tasks.
        corruptions: Number of corruptions.
    """
    there = _there(folder, "corrupted.*", ".refit/*")
    scores = sum(len(task.metrics) for task in tasks) * (1 + corruptions * len(SEVERITIES))
    return there or _SCORES + scores * _SCORE_ROW


def made_of_results(rule: str) -> int:
    """Bytes of what a rule of the analysis makes."""
    if rule.startswith("figure_"):
        return _FIGURE
    if rule.startswith("table_") or rule == "report_tables":
        return _PAGE
    return _SELECTION if rule == "select" else _TABLE


def _there(folder: Path, *patterns: str) -> int:
    return sum(path.stat().st_size for pattern in patterns for path in folder.glob(pattern) if path.is_file())
