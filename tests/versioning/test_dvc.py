"""DVC as a program: where it cannot run, its user is told what to do."""

import os
import subprocess
import sys

import pytest

from tasktrace.errors import BusyError, TasktraceError
from tasktrace.versioning.dvc import cache_folder, check_idle, check_repository
from tasktrace.versioning.dvc import dvc as run_dvc

EVERY_USE = pytest.mark.parametrize(
    "use", [check_repository, cache_folder, lambda root: run_dvc(root, "status")], ids=["check", "cache", "run"]
)


@EVERY_USE
@pytest.mark.usefixtures("without_dvc")
def test_without_dvc_its_installation_is_told(root, use):
    with pytest.raises(TasktraceError, match=r"^DVC is not installed here; `pip install 'tasktrace\[dvc\]'`"):
        use(root)


@EVERY_USE
def test_a_folder_that_is_no_repository_is_named_with_the_remedy(tmp_path, use):
    with pytest.raises(TasktraceError) as caught:
        use(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: no repository of DVC (there is no .dvc)")
    assert "`dvc init`" in str(caught.value)


@EVERY_USE
def test_a_folder_without_git_is_named_with_both_remedies(tmp_path, use):
    """As it is where the project was unpacked from an archive."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc/config").write_text("[core]\n    analytics = false\n    no_scm = false\n")
    with pytest.raises(TasktraceError) as caught:
        use(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: no git repository")
    assert "`git init`, or `dvc config --local core.no_scm true`" in str(caught.value)


def test_the_remedies_help(tmp_path, root, dvc):
    check_repository(root)  # `dvc init --no-scm`
    told = tmp_path / "told"
    (told / ".dvc").mkdir(parents=True)
    dvc(told, "config", "--local", "core.no_scm", "true")
    check_repository(told)
    run_dvc(told, "status")
    cloned = tmp_path / "cloned"
    (cloned / ".dvc").mkdir(parents=True)
    (cloned / ".git").mkdir()
    check_repository(cloned)


def test_a_folder_of_a_repository_of_git_is_enough(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "studies/one/.dvc").mkdir(parents=True)
    check_repository(tmp_path / "studies/one")


def test_the_cache_is_found_where_dvc_has_it(root, tmp_path, dvc, monkeypatch):
    assert cache_folder(root) == root / ".dvc/cache"
    (root / "a").write_text("1")
    dvc(root, "add", "--quiet", "a")
    assert (cache_folder(root) / "files/md5/c4/ca4238a0b923820dcc509a6f75849b").read_text() == "1"
    with (root / ".dvc/config").open("a") as config:
        config.write("['cache']\n    dir = ../../shared\n")
    monkeypatch.chdir(root)
    assert cache_folder(root.relative_to(root)).resolve() == tmp_path / "shared"


def test_what_dvc_complains_of_is_told(root, capfd):
    with pytest.raises(TasktraceError, match=r"^`dvc add nothing` failed; its own message is above$"):
        run_dvc(root, "add", "nothing")
    assert "nothing" in capfd.readouterr().err
    (root / ".dvc/config").write_text("[core]\n  no_scm = true\n[nonsense\n")
    with pytest.raises(TasktraceError, match=r"(?s)^`dvc cache dir` failed: .*config"):
        cache_folder(root)


def test_what_was_said_before_stands_before(root):
    """In a log too, where Python writes what was printed when it ends."""
    program = (
        "from pathlib import Path; from tasktrace.versioning.dvc import dvc; print('first'); dvc(Path(), 'version')"
    )
    command, environment = [sys.executable, "-c", program], {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("first\nDVC version")


def test_a_folder_in_which_snakemake_is_at_work_is_left_alone(root):
    check_idle(root)
    locks = root / ".snakemake/locks"
    locks.mkdir(parents=True)
    check_idle(root)
    (locks / "0.output.lock").touch()
    with pytest.raises(BusyError) as caught:
        check_idle(root)
    assert str(caught.value).startswith(f"{root}: Snakemake is at work here, or was killed")
    assert "`snakemake --unlock`" in str(caught.value)
