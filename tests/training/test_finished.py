"""What stays of a finished run: found again by its spec, never in part."""

import json

import pytest

from tasktrace.files import digest, write_json
from tasktrace.training.finished import KEPT, Finished, find_finished, keep_finished

SPEC = digest({"seed": 0})
RECORD = {"run": "digits/a/seed0", "spec": {"seed": 0}, "spec_digest": SPEC, "seconds": {"train": 0.1}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run/.resume"


@pytest.fixture
def keep(folder):
    """A function that keeps the run as finished here or restored, and returns the file that says so."""

    def finish(**changes):
        trajectory = folder.parent / "trajectory.parquet"
        trajectory.parent.mkdir(exist_ok=True)
        trajectory.write_bytes(b"losses")
        keep_finished(folder, Finished(RECORD, **changes), trajectory)
        return folder / "finished.json"

    return finish


def found(folder, spec=SPEC):
    """What is found, and what is said of it."""
    said = []
    return find_finished(folder, spec, said.append), said


@pytest.mark.parametrize("is_restored", [False, True])
def test_a_finished_run_is_found_again(keep, folder, is_restored):
    keep(is_restored=is_restored)
    assert found(folder) == (Finished(RECORD, is_restored), [])
    assert {path.name for path in folder.iterdir()} == set(KEPT)


def test_its_trajectory_is_a_file_of_its_own(keep, folder):
    keep()
    (folder.parent / "trajectory.parquet").write_bytes(b"something else")
    assert (folder / "trajectory.parquet").read_bytes() == b"losses"


def test_there_is_none_where_none_has_finished(folder):
    assert found(folder) == (None, [])


def test_the_run_of_another_spec_is_none_and_nothing_to_tell(keep, folder):
    keep()
    assert found(folder, digest({"seed": 1})) == (None, [])


def test_no_flipped_bit_passes(keep, folder):
    path = keep(is_restored=True)
    whole = path.read_bytes()
    for place in range(len(whole) - 1):  # the last is the line's end
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert found(folder) == (None, [f"{path}: damaged; training again"])


@pytest.mark.parametrize("content", ["", "[]", "null", '{"sha256": 1}', '{"record": {}}'])
def test_what_is_no_such_file_is_told(keep, folder, content):
    path = keep()
    path.write_text(content)
    assert found(folder) == (None, [f"{path}: damaged; training again"])


def test_a_run_that_finished_here_cannot_be_made_a_restored_one_by_hand(keep, folder):
    path = keep()
    write_json(path, {**json.loads(path.read_text()), "restored": True})
    assert found(folder) == (None, [f"{path}: damaged; training again"])


def test_a_run_that_finished_before_runs_were_restored_is_found(folder):
    content = {"spec": SPEC, "record": RECORD}
    write_json(folder / "finished.json", {**content, "sha256": digest(content)})
    assert found(folder) == (Finished(RECORD, is_restored=False), [])
