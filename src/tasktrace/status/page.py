"""Where the study's runs stand, printed: a line over everything, tables, and the runs that a person may look after."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tasktrace.config import Study
from tasktrace.places import RUNS
from tasktrace.status.document import document
from tasktrace.status.lists import at_work, ended
from tasktrace.status.runs import DIVERGED, FAILED, STOPPED
from tasktrace.status.survey import Surveyed, survey
from tasktrace.status.table import table
from tasktrace.status.tally import Counting, by_setting
from tasktrace.status.wording import summary

_LISTED = 10
"""Runs of a list that are printed unless all are asked for."""

_WIDEST = 1000
"""Columns beyond which no table goes."""


@dataclass(frozen=True)
class Asked:
    """What of the status is asked for.

    Attributes:
        settings: Settings of the study; all of them if there is none.
        by: What the rows of the tables are, one of ``BY``.
        everything: Whether the lists leave nothing out.
        as_json: Whether one JSON object is printed instead, see :mod:`tasktrace.status.document`.
    """

    settings: tuple[str, ...] = ()
    by: str = "method"
    everything: bool = False
    as_json: bool = False


def show_status(study: Study, asked: Asked) -> None:
    """Print where the runs of the study stand. Nothing is written, and jobs may be at work.

    Args:
        study: The study.
        asked: What to print.

    Raises:
        ConfigError: The study has no such setting.
    """
    for name in asked.settings:
        study.find_setting(name)
    surveyed = survey(study, list(dict.fromkeys(asked.settings)) or list(study.settings))
    counting = Counting(surveyed)
    folder = study.root / RUNS
    if asked.as_json:
        print(json.dumps(document(surveyed, counting, asked.by, folder), allow_nan=False))
        return
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print(summary(counting.count(surveyed)), style="bold")
    _print_tables(console, surveyed, counting, asked.by)
    _print_lists(console, surveyed, folder, asked.everything)


def _print_tables(console: Console, surveyed: Sequence[Surveyed], counting: Counting, by: str) -> None:
    for setting, runs in by_setting(surveyed).items():
        console.print()
        console.print(setting, style="bold")
        console.print(_fitting(console, runs, counting, by))


def _fitting(console: Console, surveyed: Sequence[Surveyed], counting: Counting, by: str) -> Table:
    """The table, its columns closer together where it is too wide, and never cut: a terminal wraps what goes beyond."""
    unlimited = console.options.update(max_width=_WIDEST)
    for gap in (2, 1):
        shown = table(surveyed, counting, by, gap)
        shown.width = console.measure(shown, options=unlimited).maximum
        if shown.width <= console.width:
            break
    return shown


def _print_lists(console: Console, surveyed: Sequence[Surveyed], folder: Path, everything: bool) -> None:
    now = time.time()
    working = [(own, text) for own in surveyed for text in at_work(own, now)]
    if working:
        _print_heading(console, "under way", len(working))
    for own, text in working:
        _print_run(console, own, text)
    for state in (FAILED, STOPPED, DIVERGED):
        runs = [own for own in surveyed if own.standing.state == state]
        if not runs:
            continue
        _print_heading(console, state, len(runs))
        shown = runs if everything else runs[:_LISTED]
        for own in shown:
            _print_run(console, own, ended(own, folder))
        if len(shown) < len(runs):
            console.print(f"and {len(runs) - len(shown)} more; --all shows them")


def _print_heading(console: Console, what: str, count: int) -> None:
    console.print()
    console.print(f"{what}: {count}", style="bold")


def _print_run(console: Console, surveyed: Surveyed, text: str) -> None:
    """A run's path in a line of its own, which fits a terminal, and what there is to say of it."""
    console.print(surveyed.run.path)
    console.print(f"    {text}")
