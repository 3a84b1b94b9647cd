import hashlib
import json
import os
import stat
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasktrace import files


def test_a_successful_block_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "table.csv"
    for text in ("first", "second"):
        with files.atomic_path(path) as temporary:
            assert temporary.parent == path.parent
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_the_old_content_is_there_until_the_block_has_ended(tmp_path, durable):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with files.atomic_path(path, durable=durable) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_in_the_block_keeps_the_old_content_and_leaves_no_temporary(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write_half():
        with files.atomic_path(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), files.atomic_path(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    script = (
        "import pathlib, tasktrace.files as files\n"
        "with files.atomic_path(pathlib.Path('table.csv')) as temporary:\n"
        "    temporary.write_text('x')\n"
        "    temporary.chmod(0o600)\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, umask=umask, check=True)
    assert stat.S_IMODE((tmp_path / "table.csv").stat().st_mode) == mode


def test_what_a_killed_process_left_is_discarded(tmp_path):
    path = tmp_path / "run.json"
    script = (
        "import os, pathlib, signal, tasktrace.files as files\n"
        "with files.atomic_path(pathlib.Path('run.json')) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert killed.returncode == -9
    (stale,) = tmp_path.iterdir()
    assert stale != path
    files.discard_temporaries(path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.json", "runs", "other.csv"])
def test_discarding_leaves_every_other_file_and_its_temporaries(tmp_path, name):
    path = tmp_path / "run"
    kept = {tmp_path / name, tmp_path / f".{name}.{os.getpid()}.tmp"}
    for file in kept:
        file.write_text("kept")
    (tmp_path / f".run.{os.getpid()}.tmp").write_text("stale")
    files.discard_temporaries(path)
    assert set(tmp_path.iterdir()) == kept


def test_json_is_written_readable_and_read_back_equal(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"text": "λ"}}
    files.write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text(encoding="utf-8")
    assert json.loads(text) == value
    assert text.endswith("}\n")
    assert text.count("\n") > 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_canonical_json_keeps_the_value(value):
    assert json.loads(files.canonical_json(value)) == value


@given(st.dictionaries(st.text(), JSON))
def test_the_digest_does_not_depend_on_the_order_of_keys(value):
    backwards = dict(reversed(list(value.items())))
    assert files.digest(backwards) == files.digest(value)


def test_canonical_json_and_digest_of_a_known_value():
    assert files.canonical_json({"b": 1, "a": [True, None]}) == '{"a":[true,null],"b":1}'
    assert files.digest({"b": 1, "a": [True, None]}) == hashlib.sha256(b'{"a":[true,null],"b":1}').hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_canonical_json_refuses_what_json_has_no_text_for(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.canonical_json({"rate": value})


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 21) + 5])
def test_file_digest_is_hashlibs(tmp_path, algorithm, size):
    content = (b"tasktrace" * (size // 9 + 1))[:size]
    path = tmp_path / "content"
    path.write_bytes(content)
    assert files.file_digest(path, algorithm) == hashlib.new(algorithm, content).hexdigest()
