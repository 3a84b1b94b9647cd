"""The plan as a table, or as JSON."""

import json
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasktrace.config import Study
from tasktrace.places import prepared_path
from tasktrace.planning.amounts import Amount, Total
from tasktrace.planning.jobs import GRID, SELECTED, SWEEP
from tasktrace.planning.plan import Asked, Part, Plan, make_plan

_LABELS = {SWEEP: "train: sweep", GRID: "train: grid", SELECTED: "train: selected"}
"""What stages are called that do not say by their name what is done."""

_NOTHING, _UNKNOWN, _AT_LEAST = "–", "?", ">"

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_DAYS_FROM = 3 * _DAY
"""From here on a wall time is given in days."""

_BUSY = 0.7
"""A trial that waits for nothing but its own files has more of a processor."""

_LARGE = 99.5
"""From here on a number is given without decimals; below ten with one."""


def show_plan(study: Study, asked: Asked, as_json: bool = False) -> None:
    """Print what a study takes.

    Args:
        study: The study.
        asked: What is asked for.
        as_json: Print :meth:`tasktrace.planning.plan.Plan.to_json` instead of a table.

    Raises:
        ConfigError: An unknown setting or device.
        TasktraceError: Data is damaged, or trials failed.
    """
    plan = make_plan(study, asked)
    if as_json:
        print(json.dumps(plan.to_json(), indent=2))
        return
    console = Console(highlight=False)
    console.print(_table(plan))
    for line in _notes(plan):
        console.print(line, soft_wrap=True)


def _table(plan: Plan) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("what", overflow="fold")
    for head, _ in _columns(plan):
        table.add_column(head, justify="right", no_wrap=True)
    for setting in plan.total.parts:
        table.add_row(*_row(plan, setting, setting.name), style="bold")
        for stage in setting.parts:
            table.add_row(*_row(plan, stage, f"  {_LABELS.get(stage.name, stage.name)}"))
    table.add_row(*_row(plan, plan.total, plan.total.name), style="bold")
    return table


def _row(plan: Plan, part: Part, name: str) -> list[str]:
    return [escape(name), *(of(part) for _, of in _columns(plan))]


def _columns(plan: Plan) -> list[tuple[str, Callable[[Part], str]]]:
    """Heads of columns, and what stands in them; but for the first all are about what is left."""
    device = "GPU" if plan.device.is_gpu else "CPU"
    columns: list[tuple[str, Callable[[Part], str]]] = [
        ("jobs", lambda part: str(part.all.jobs)),
        ("left", lambda part: str(part.left.jobs)),
        (f"{device}\ntime", lambda part: _shown(_device_time(plan, part.left), hours)),
        ("wall\ntime", lambda part: _shown(part.left.wall_seconds, days)),
        ("main\nmemory", lambda part: _shown(part.left.main_mb, lambda value: size(value * 1e6))),
        ("GPU\nmemory", lambda part: _shown(part.left.device_mb, lambda value: size(value * 1e6))),
        ("check-\npoints", lambda part: _shown(part.left.checkpoint_bytes, size)),
        ("other\nfiles", lambda part: _shown(part.left.other_bytes, size)),
    ]
    return [(head, of) for head, of in columns if plan.device.is_gpu or head != "GPU\nmemory"]


def _device_time(plan: Plan, amount: Amount) -> Total:
    """On a CPU every job's time is a CPU's."""
    device, core = amount.device_seconds, amount.core_seconds
    return device if plan.device.is_gpu else Total(device.known + core.known, device.unknown + core.unknown)


def _shown(total: Total, form: Callable[[float], str]) -> str:
    if not total.known:
        return _UNKNOWN if total.unknown else _NOTHING
    return f"{_AT_LEAST if total.unknown else ''}{form(total.known)}"


def hours(seconds: float) -> str:
    """A duration in hours, or in minutes or seconds if it is short."""
    if seconds < _MINUTE - 0.5:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / _MINUTE)} min" if seconds < _HOUR - _MINUTE / 2 else f"{_number(seconds / _HOUR)} h"


def days(seconds: float) -> str:
    """A duration as :func:`hours` gives it, a long one in days."""
    return hours(seconds) if seconds < _DAYS_FROM else f"{_number(seconds / _DAY)} d"


def size(count: float) -> str:
    """A number of bytes in kB, MB, GB or TB, powers of ten."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if count >= unit * 0.9995:
            return f"{_number(count / unit)} {name}"
    return f"{max(1, round(count / 1e3))} kB"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= _LARGE else f"{value:.1f}"


def _notes(plan: Plan) -> Iterator[str]:
    """What one has to know to read the table."""
    device = escape(plan.device.name or "a GPU")
    threads = "" if plan.device.is_gpu else f" with {_counted(plan.device.threads, 'thread')}"
    yield ""
    yield (
        f"Of what is left, on {device}{threads}; wall time with {_counted(plan.at_once, 'job')} at a time, "
        "each stage after the one before it."
    )
    sources = _counted(plan.found.runs, "finished run"), _counted(plan.calibration.tried, "trial")
    processors = f" (on {escape(', '.join(plan.found.processors))})" if plan.found.processors else ""
    yield f"Times are from {sources[0]}{processors} and {sources[1]}."
    if plan.calibration.share < _BUSY and not plan.device.is_gpu:
        share = f"{plan.calibration.share:.0%}"
        yield f"A trial had {share} of a processor: if others ran here, times are too long (`--fresh` tries again)."
    if plan.lacks_starts and plan.total.left.device_seconds.known:
        yield "The start of processes is not known and left out."
    if plan.total.left.wall_seconds.unknown:
        yield f"{_UNKNOWN} is not known, {_AT_LEAST} is more than: `tasktrace plan --calibrate` tries here what it can."
    for setting in plan.calibration.not_prepared:
        path = prepared_path(setting)
        yield f"{escape(setting)}: nothing to try without data; `snakemake --cores 1 {path}` prepares it."
    for what, why in plan.calibration.failed.items():
        yield f"{escape(what)}: [bold]cannot be done[/bold]: {escape(why)}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
