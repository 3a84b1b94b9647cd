"""How far a run is: a bar on a terminal, one line an epoch in a log."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Reporter(Protocol):
    """Told what happens in a run."""

    def epoch(self, epoch: int, state: str) -> None:
        """An epoch is done; ``state`` says in a few words what came out."""

    def note(self, text: str) -> None:
        """Something worth a line has happened."""

    def __enter__(self) -> "Reporter": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LogReporter:
    """One line an epoch on standard error."""

    def __init__(self, name: str, epochs: int) -> None:
        self._name, self._epochs = name, epochs

    def epoch(self, epoch: int, state: str) -> None:
        """Print the epoch and its state."""
        print(f"{self._name}: epoch {epoch}/{self._epochs}: {state}", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        """Print a line."""
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)

    def __enter__(self) -> "LogReporter":
        """Nothing to set up."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to clean up."""


class BarReporter:
    """A bar on a terminal."""

    def __init__(self, name: str, epochs: int) -> None:
        console = Console(stderr=True)
        columns = (
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}"),
        )
        self._name = name
        self._bar = RichProgress(*columns, console=console)
        self._task = self._bar.add_task(name, total=epochs, state="")

    def epoch(self, epoch: int, state: str) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=epoch, state=state)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, markup=False)

    def __enter__(self) -> "BarReporter":
        """Show the run's path, and below it the bar: side by side they would not fit most terminals."""
        self._bar.console.print(self._name, markup=False, highlight=False)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it stands."""
        self._bar.stop()


class KeptReporter:
    """Passes on what it is told, and keeps it with the time in a file that all attempts at a run share.

    Args:
        told: Whom to pass it on to.
        path: The file, in a folder that is there.
        epochs: Epochs of the run.
    """

    def __init__(self, told: Reporter, path: Path, epochs: int) -> None:
        self._told, self._path, self._epochs = told, path, epochs

    def epoch(self, epoch: int, state: str) -> None:
        """Pass on and keep an epoch's state."""
        self._keep(f"epoch {epoch}/{self._epochs}: {state}")
        self._told.epoch(epoch, state)

    def note(self, text: str) -> None:
        """Pass on and keep a line."""
        self._keep(text)
        self._told.note(text)

    def _keep(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {' '.join(text.split())}\n")

    def __enter__(self) -> "KeptReporter":
        """Set up what it passes on to."""
        self._told.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clean that up."""
        self._told.__exit__(kind, error, trace)


def reporter(name: str, epochs: int) -> Reporter:
    """A bar if standard error is a terminal, else lines."""
    return BarReporter(name, epochs) if sys.stderr.isatty() else LogReporter(name, epochs)
