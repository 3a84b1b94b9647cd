"""Raw data from where it is published, here a server on this machine, held against what data.dvc names."""

import functools
import hashlib
import http.server
import shutil
import threading
from pathlib import Path

import pytest
import yaml
from torchvision.datasets import CelebA, FashionMNIST

from tasktrace.cli import main
from tasktrace.config import Study
from tasktrace.errors import BusyError, ConfigError, DataError
from tasktrace.versioning.fetch import check_raw, fetch
from tasktrace.versioning.pointers import Content, content_of, name_content, naming, read_pointer

RAW = "data/raw/fashion"
OTHER = Content("0123456789abcdef0123456789abcdef.dir", 30, 2)
FILES = {name: name.encode() * 100 for name, _ in FashionMNIST.resources}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder with made-up files in place of Fashion-MNIST's mirror, whose checksums count as published."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in FILES.items()]
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    return folder


@pytest.fixture
def requests(served, monkeypatch):
    """What the server was asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            asked.append(self.path.removeprefix("/"))
            super().do_GET()

    monkeypatch.setenv("no_proxy", "*")
    handler = functools.partial(Handler, directory=served)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        yield asked
        server.shutdown()
        thread.join()


@pytest.fixture
def fetched(project):
    """A function that fetches a setting of the study, and gives what was said."""

    def run(setting="fashion"):
        said = []
        fetch(Study.load(), setting, said.append)
        return said

    return run


def test_what_is_missing_is_fetched_and_named(project, requests, fetched):
    assert fetched() == [f"fashion: {RAW}: raw files complete; data.dvc names it now: commit that file"]
    found = {path.name: path.read_bytes() for path in (project / RAW).rglob("*") if path.is_file()}
    assert found == FILES
    assert sorted(set(requests)) == sorted(FILES)
    assert read_pointer(project / "data.dvc") == {RAW: content_of(project / RAW).md5}


def test_a_second_time_nothing_is_asked_for_and_what_is_here_is_held_against_its_name(project, requests, fetched):
    fetched()
    requests.clear()
    before = (project / "data.dvc").read_bytes()
    assert fetched() == [f"fashion: {RAW}: raw files complete; as data.dvc names it"]
    assert requests == []
    assert (project / "data.dvc").read_bytes() == before


def test_on_another_machine_the_same_is_fetched_and_held_against_its_name(project, requests, fetched):
    fetched()
    shutil.rmtree(project / "data")
    assert fetched()[0].endswith("as data.dvc names it")


def test_only_what_is_missing_is_asked_for(project, requests, fetched):
    fetched()
    gone = next(iter(FILES))
    (project / RAW / "FashionMNIST/raw" / gone).unlink()
    requests.clear()
    fetched()
    assert set(requests) == {gone}


def test_dvc_takes_it_under_the_name_that_it_was_given(project, requests, fetched, root, dvc):
    shutil.copytree(root / ".dvc", project / ".dvc")
    fetched()
    before = (project / "data.dvc").read_text()
    dvc(project, "add", "--quiet", RAW)
    assert (project / "data.dvc").read_text() == before


def test_what_else_is_named_stays(project, requests, fetched):
    name_content(project / "data.dvc", "data/raw/glue")
    fetched()
    assert list(read_pointer(project / "data.dvc")) == ["data/raw/glue", RAW]


def test_what_another_process_writes_meanwhile_stays(project, requests, fetched):
    """As DVC does, it writes what it read before, and an entry."""
    with naming(project):
        thread = threading.Thread(target=fetched)
        thread.start()
        thread.join(timeout=1)  # there is nothing to see of its waiting
        assert thread.is_alive()
        assert not (project / "data.dvc").exists()
        name_content(project / "data.dvc", "data/raw/glue", OTHER)
    thread.join()
    assert list(read_pointer(project / "data.dvc")) == ["data/raw/glue", RAW]


def test_who_names_data_for_long_is_told(project, requests, fetched, held_elsewhere, monkeypatch):
    monkeypatch.setattr("tasktrace.versioning.pointers._PATIENCE", 0.1)
    with (
        held_elsewhere(project / "logs/pointers.lock"),
        pytest.raises(
            BusyError, match=r"data.dvc, .*: process 4711 on elsewhere is fetching or archiving; wait for it"
        ),
    ):
        fetched()
    assert fetched()[0].endswith("data.dvc names it now: commit that file")


@pytest.mark.usefixtures("without_dvc")
def test_raw_data_other_than_the_named_is_not_prepared(project, capsys):
    """As after `git pull` without `dvc pull`; of the digits, whose folder may hold anything."""
    raw, prepared = project / "data/raw/digits", project / "data/prepared/digits.safetensors"
    raw.mkdir(parents=True)
    (raw / "scans").write_text("as they were")
    name_content(project / "data.dvc", "data/raw/digits", content_of(raw))
    assert main(["prepare", "digits"]) == 0
    prepared.unlink()
    name_content(project / "data.dvc", "data/raw/digits", OTHER)
    assert main(["prepare", "digits"]) == 1
    said = capsys.readouterr().err
    assert f"tasktrace: data/raw/digits: not what data.dvc names: its MD5 there is {OTHER.md5}" in said
    assert "`dvc pull data/raw/digits`" in said
    assert not prepared.exists()
    shutil.rmtree(raw)
    assert main(["prepare", "digits"]) == 1
    assert "data/raw/digits: not here, and data.dvc names it: `dvc pull data/raw/digits`" in capsys.readouterr().err


def test_raw_data_that_is_named_and_placed_by_its_user_is_asked_for_where_it_is_not_here(project):
    name_content(project / "data.dvc", "data/raw/cityscapes", OTHER)
    with pytest.raises(DataError, match=r"otherwise put there the preprocessed release \(train/ and val/"):
        check_raw(project, "cityscapes")


def test_raw_data_that_is_not_named_or_is_asked_for_by_its_folder_is_prepared(project):
    (project / "data/raw/digits").mkdir(parents=True)
    (project / "data/raw/digits/scans").write_text("any")
    name_content(project / "data.dvc", "data/raw/digits")  # DVC has not seen it yet
    assert main(["prepare", "digits"]) == 0
    name_content(project / "data.dvc", "data/raw/digits", OTHER)
    assert main(["prepare", "digits", "--raw", "data/raw/digits"]) == 0


def test_what_is_missing_of_the_named_raw_data_is_fetched_before_it_is_compared(project, requests, fetched, capsys):
    fetched()
    shutil.rmtree(project / "data")
    requests.clear()
    check_raw(Path(), "fashion")
    assert sorted(set(requests)) == sorted(FILES)
    shutil.rmtree(project / "data")
    name_content(project / "data.dvc", RAW, OTHER)
    assert main(["prepare", "fashion"]) == 1
    assert f"{RAW}: not what data.dvc names" in capsys.readouterr().err
    assert not list((project / "data").rglob("*.safetensors"))


def test_a_folder_other_than_the_named_one_is_refused_with_both_ways_out(project, requests, fetched):
    fetched()
    before, named = (project / "data.dvc").read_bytes(), read_pointer(project / "data.dvc")[RAW]
    (project / RAW / "notes.txt").write_text("not published")
    with pytest.raises(DataError) as caught:
        fetched()
    message = str(caught.value)
    for expected in (f"{RAW}: not what data.dvc names", named, content_of(project / RAW).md5, f"`dvc pull {RAW}`"):
        assert expected in message
    assert (project / "data.dvc").read_bytes() == before

    (project / "data.dvc").write_text("outs:\n")  # as an editor leaves it when the only entry is taken out
    assert fetched()[0].endswith("data.dvc names it now: commit that file")


def test_an_altered_file_is_refused_by_its_own_name_before_the_folder_is(project, requests, fetched):
    fetched()
    altered = project / RAW / "FashionMNIST/raw" / next(iter(FILES))
    altered.write_bytes(b"altered")
    with pytest.raises(DataError, match=f"{altered.name}: truncated or altered: its MD5 is"):
        fetched()


def test_a_server_with_something_else_is_told_and_nothing_is_named(project, served, requests, fetched):
    name = list(FILES)[1]
    (served / name).write_bytes(b"something else")
    with pytest.raises(DataError, match=r"(?s)fashion is not in .* could not be downloaded .* put them here:.*" + name):
        fetched()
    assert not (project / "data.dvc").exists()
    left = [path.name for path in (project / RAW).rglob("*") if path.is_file()]
    assert left == [next(iter(FILES))]


def test_what_comes_with_the_installation_needs_no_name(project, fetched):
    assert fetched("digits") == ["digits: comes with the installation"]
    assert not (project / "data.dvc").exists()


@pytest.fixture
def add_setting(project, configure):
    """A function that makes ``mine`` a setting of the study: the digits' one with other data and tasks."""

    def add(data, *tasks):
        block = yaml.safe_load((project / "config/settings/digits.yaml").read_text())
        block |= {"setting": data, "data": {}, "groups": {"some": {"tasks": list(tasks), "label": "some"}}}
        block["figures"] = {"a1": {"task": tasks[0], "groups": ["some"]}}
        (project / "config/settings/mine.yaml").write_text(yaml.safe_dump(block))
        configure("config.yaml", settings=["mine"])

    return add


@pytest.fixture
def celeba(add_setting, monkeypatch):
    """A study with CelebA, of made-up files whose checksums count as published."""
    add_setting("celeba", "smiling", "young")
    files = {name: name.encode() for _, _, name in CelebA.file_list}
    listed = [(identifier, hashlib.md5(files[name]).hexdigest(), name) for identifier, _, name in CelebA.file_list]
    monkeypatch.setattr(CelebA, "file_list", listed)
    return files


def test_what_its_user_has_to_put_there_is_passed_on_and_named_when_it_is_there(project, celeba, fetched):
    with pytest.raises(DataError) as caught:
        fetched("mine")
    message = str(caught.value)
    assert message.startswith("mine: 3 of 3 raw files missing; put them here yourself (CelebA's terms")
    assert "data/raw/celeba/list_attr_celeba.txt" in message
    assert not (project / "data.dvc").exists()
    (project / "data/raw/celeba").mkdir(parents=True)
    for name, content in celeba.items():
        (project / "data/raw/celeba" / name).write_bytes(content)
    assert fetched("mine")[0].endswith("data.dvc names it now: commit that file")
    assert list(read_pointer(project / "data.dvc")) == ["data/raw/celeba"]


def test_what_has_no_published_checksums_is_named_as_it_is(project, add_setting, fetched):
    add_setting("glue", "rte", "cola")
    with pytest.raises(DataError, match="mine: no raw data in data/raw/glue; put it there yourself: the files of"):
        fetched("mine")
    (project / "data/raw/glue/RTE").mkdir(parents=True)
    (project / "data/raw/glue/RTE/train.tsv").write_text("a table")
    said = "mine: data/raw/glue: raw data in data/raw/glue; checked when it is prepared"
    assert fetched("mine") == [f"{said}; data.dvc names it now: commit that file"]
    assert fetched("mine") == [f"{said}; as data.dvc names it"]


def test_a_setting_that_there_is_not_is_told(fetched):
    with pytest.raises(ConfigError, match="mnist: not a setting of this study"):
        fetched("mnist")


def test_the_verb_fetches_the_settings_one_by_one(project, requests, capsys):
    assert main(["fetch", "digits", "fashion"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ": " in line]
    assert lines[0] == "digits: comes with the installation"
    assert lines[-1].startswith(f"fashion: {RAW}: raw files complete")
    (project / RAW / "notes.txt").write_text("not published")
    assert main(["fetch", "fashion"]) == 1
    assert f"tasktrace: {RAW}: not what data.dvc names" in capsys.readouterr().err
