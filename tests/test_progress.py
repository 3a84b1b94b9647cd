"""One line an epoch in a log, a bar on a terminal."""

import os
import pty
import re
import sys
from contextlib import contextmanager

import pytest

from tasktrace.progress import BarReporter, LogReporter, reporter
from tasktrace.training.trajectory import Row, summary


def rows(epoch):
    return [
        Row(epoch, 9 * epoch, task, split, quantity, value + epoch)
        for task, value in (("digits1", 0.25), ("digits2", 0.5))
        for split in ("train", "validation", "test")
        for quantity in ("loss", "metric")
    ]


def test_a_log_has_one_line_for_every_epoch(capsys):
    with LogReporter("a/seed0", 2) as log:
        for epoch in range(3):
            log.epoch(epoch, summary(rows(epoch)))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"a/seed0: epoch {epoch}/2: digits1 loss {epoch}.25, validation {epoch}.2500, "
        f"digits2 loss {epoch}.5, validation {epoch}.5000"
        for epoch in range(3)
    ]


def test_a_log_tells_a_note_in_a_line(capsys):
    with LogReporter("a/seed0", 2) as log:
        log.note("continuing from epoch 1, step 3")
    assert capsys.readouterr().err == "a/seed0: continuing from epoch 1, step 3\n"


@contextmanager
def terminal(monkeypatch):
    """A real terminal as standard error; yields a function that returns what it was sent, less the colours."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    with os.fdopen(master, "rb") as screen, os.fdopen(slave, "w", encoding="utf-8") as stream:

        def content() -> str:
            stream.flush()
            return re.sub(r"\x1b\[[0-9;]*m", "", screen.read().decode())

        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", stream)
            yield content


def test_a_terminal_gets_a_bar(monkeypatch):
    with terminal(monkeypatch) as content:
        with reporter("a/seed0", 4) as bar:
            kind = type(bar)
            bar.epoch(3, summary(rows(3)))
            bar.note("[half] of it")
        shown = content()
    assert kind is BarReporter
    assert "a/seed0" in shown
    assert "3/4" in shown
    assert "digits2 loss 3.5, validation 3.5000" in shown
    assert "[half] of it" in shown


def test_a_bar_is_taken_down_after_an_error(monkeypatch):
    def fail():
        with reporter("a/seed0", 4) as bar:
            bar.epoch(1, summary(rows(1)))
            raise OSError("no space left")

    with terminal(monkeypatch) as content:
        with pytest.raises(OSError, match="no space left"):
            fail()
        shown = content()
    assert "1/4" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_a_file_gets_lines(capsys):
    with reporter("a/seed0", 4) as log:
        assert isinstance(log, LogReporter)
