"""What was measured is found again exactly, or measured again and said so."""

import math
import os
import random
import stat
import struct

import pytest

from tasktrace.measures import journal as module
from tasktrace.measures.base import Quantity
from tasktrace.measures.journal import Journal

MEASURED = [
    [Quantity("similarity", 0.1 + 0.2, 1e-300), Quantity("cosine", -1 / 3, 5e-324, "b")],
    [],
    [Quantity('a name, with "quotes" and é', 1.7976931348623157e308, 0.0)],
]
OTHER = [[Quantity("trace", 2.5, 0.5)]]


@pytest.fixture
def notes():
    return []


@pytest.fixture
def reopen(tmp_path, notes):
    return lambda: Journal(tmp_path / ".measure" / "journal", notes.append)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".measure" / "journal"


def same(found, expected):
    """Equal to the last bit; NaN counts as equal to itself."""
    return repr(found) == repr(expected)


def test_what_was_added_is_found_again_after_opening(reopen, notes):
    reopen().add("key", 3, MEASURED)
    reopen().add("key", 4, OTHER)
    assert reopen().find("key", 3) == MEASURED
    assert reopen().find("key", 4) == OTHER
    assert notes == []


def test_what_was_added_is_found_at_once(reopen):
    journal = reopen()
    assert journal.find("key", 3) is None
    journal.add("key", 3, MEASURED)
    assert journal.find("key", 3) == MEASURED


def test_another_key_or_epoch_finds_nothing(reopen):
    reopen().add("key", 3, MEASURED)
    reopen().add("other", 4, OTHER)
    journal = reopen()
    assert journal.find("other", 3) is None
    assert journal.find("key", 4) is None
    assert journal.find("other", 4) == OTHER


def test_what_is_added_later_replaces(reopen):
    reopen().add("key", 3, MEASURED)
    reopen().add("key", 3, OTHER)
    assert reopen().find("key", 3) == OTHER


def test_numbers_that_are_not_finite_come_back(reopen, notes):
    values = [[Quantity("a", math.nan, math.inf), Quantity("b", -math.inf, math.nan), Quantity("c", -0.0, 0.0)]]
    reopen().add("key", 0, values)
    assert same(reopen().find("key", 0), values)
    assert notes == []


def test_every_float_comes_back_to_the_last_bit(reopen):
    generator = random.Random(0)
    bits = [int.from_bytes(generator.randbytes(8), "big") for _ in range(2000)]
    floats = [struct.unpack("d", own.to_bytes(8, "big"))[0] for own in bits]
    values = [[Quantity("x", value, 0.0) for value in floats]]
    reopen().add("key", 0, values)
    assert same(reopen().find("key", 0), values)


@pytest.mark.parametrize("bytes_left", [1, 10, 17, 40, -2, -1])
def test_a_line_cut_off_by_a_kill_is_measured_again(reopen, notes, path, bytes_left):
    reopen().add("key", 0, MEASURED)
    whole = path.read_bytes()
    reopen().add("key", 1, OTHER)
    added = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + added[:bytes_left])
    journal = reopen()
    only_the_end_is_missing = bytes_left == -1
    assert (journal.find("key", 1) is not None) == only_the_end_is_missing
    assert len(notes) == (0 if only_the_end_is_missing else 1)
    journal.add("key", 1, OTHER)
    journal.add("key", 2, MEASURED)
    notes.clear()
    journal = reopen()
    assert [journal.find("key", epoch) for epoch in range(3)] == [MEASURED, OTHER, MEASURED]
    assert notes == []


@pytest.mark.parametrize("damage", [b"\x00", b"\xff", b"\n", b"#"])
@pytest.mark.parametrize("place", [3, 16, 30, 60])
def test_a_damaged_line_in_the_middle_is_told_and_measured_again(reopen, notes, path, damage, place):
    for epoch in range(3):
        reopen().add("key", epoch, MEASURED)
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines[1][place : place + 1] != damage
    lines[1] = lines[1][:place] + damage + lines[1][place + 1 :]
    path.write_bytes(b"".join(lines))
    journal = reopen()
    assert [journal.find("key", epoch) for epoch in range(3)] == [MEASURED, None, MEASURED]
    (note,) = notes
    parts = 2 if damage == b"\n" else 1
    assert note.startswith(f"{path}: {parts} unreadable or damaged lines")
    reopen()
    assert len(notes) == 1


def test_an_empty_or_senseless_file_is_gone_over(reopen, notes, path):
    path.parent.mkdir()
    path.write_bytes(b"")
    assert reopen().find("key", 0) is None
    assert notes == []
    path.write_bytes(b"\n\n garbage \x80\x81\n{}")
    reopen().add("key", 0, MEASURED)
    assert reopen().find("key", 0) == MEASURED
    assert len(notes) == 1


def test_a_whole_journal_is_not_written_again(reopen, path):
    reopen().add("key", 0, MEASURED)
    before = path.stat().st_ino
    reopen().add("key", 1, MEASURED)
    assert path.stat().st_ino == before


@pytest.mark.parametrize("kind", ["hard link", "symbolic link", "protected"])
def test_what_a_version_store_keeps_is_not_written_through(reopen, notes, path, tmp_path, kind):
    """It may have put a link into its cache, or a protected file, in the journal's place."""
    reopen().add("key", 0, MEASURED)
    kept = tmp_path / "kept"
    path.replace(kept)
    before = kept.read_bytes()
    if kind == "hard link":
        path.hardlink_to(kept)
    elif kind == "symbolic link":
        path.symlink_to(kept)
    else:
        path.write_bytes(before)
        path.chmod(0o444)
    journal = reopen()
    assert path.samefile(kept) == (kind != "protected")
    journal.add("key", 1, OTHER)
    assert kept.read_bytes() == before
    status = path.lstat()
    assert (stat.S_ISREG(status.st_mode), status.st_nlink, status.st_mode & 0o200) == (True, 1, 0o200)
    journal.add("key", 2, MEASURED)
    assert path.stat().st_ino == status.st_ino
    assert [reopen().find("key", epoch) for epoch in range(3)] == [MEASURED, OTHER, MEASURED]
    assert notes == []


def test_a_result_is_on_the_disk_when_it_counts(reopen, path, monkeypatch):
    synced = []
    monkeypatch.setattr(module.os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    journal = reopen()
    journal.add("key", 0, MEASURED)
    assert synced == [path.stat().st_size]


def test_what_a_process_killed_while_mending_left_is_removed(reopen, path):
    reopen().add("key", 0, MEASURED)
    stale = path.with_name(f".{path.name}.4194305.tmp")
    stale.write_bytes(b"part of a journal")
    reopen()
    assert not stale.exists()
