"""A setting's table: a row per method, seed, group or optimizer."""

import functools
from collections.abc import Callable, Sequence

from rich.table import Table

from tasktrace.status.runs import DIVERGED, FAILED, OUTDATED, STOPPED, UNDER_WAY, WAITING
from tasktrace.status.survey import Surveyed
from tasktrace.status.tally import Counting, Share, Tally, rows
from tasktrace.status.wording import NAMES, short_time_left

_ALWAYS = (UNDER_WAY, WAITING)
"""States that have a column even if no run is in them."""


def table(surveyed: Sequence[Surveyed], counting: Counting, by: str, gap: int) -> Table:
    """The table of one setting's runs, the last row of which is all of them; columns without a run are left out.

    Args:
        surveyed: The runs.
        counting: How they are counted.
        by: What the rows are, one of ``BY``.
        gap: Blanks between columns.
    """
    tallies = {label: counting.count(own) for label, own in rows(surveyed, by).items()}
    whole = counting.count(surveyed)
    columns = _columns(whole)
    shown = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style="dim")
    shown.add_column(by, no_wrap=True, vertical="bottom")
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True, vertical="bottom")
    for label, tally in tallies.items():
        shown.add_row(label, *(cell(tally) for cell in columns.values()))
    if len(tallies) > 1:
        shown.add_row("all", *(cell(whole) for cell in columns.values()), style="bold")
    return shown


def _columns(whole: Tally) -> dict[str, Callable[[Tally], str]]:
    """By a column's name what it says of a row, in their order."""
    columns: dict[str, Callable[[Tally], str]] = {"done": lambda tally: f"{tally.done}/{tally.runs}"}
    for state in (DIVERGED, UNDER_WAY, WAITING, STOPPED, FAILED, OUTDATED):
        if state in _ALWAYS or whole.states[state]:
            columns[_heading(state)] = functools.partial(_number, state)
    if whole.measured.runs:
        columns["measured"] = lambda tally: _share(tally.measured)
    if whole.refitted.runs:
        columns["refitted"] = lambda tally: _share(tally.refitted)
    columns["time\nleft"] = lambda tally: "-" if tally.done == tally.runs else short_time_left(tally.left)
    return columns


def _number(state: str, tally: Tally) -> str:
    return str(tally.states[state] or "-")


def _heading(state: str) -> str:
    """A state's name, in lines that make no column wider than its numbers need."""
    broken = {DIVERGED: "of them\ndiverged", OUTDATED: "out-\ndated", UNDER_WAY: "under\nway"}
    return broken.get(state, NAMES[state])


def _share(share: Share) -> str:
    return f"{share.done}/{share.runs}" if share.runs else "-"
