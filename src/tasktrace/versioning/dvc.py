"""DVC, run as a program."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tasktrace.errors import BusyError, TasktraceError

_QUIET = {"DVC_NO_ANALYTICS": "1"}


def dvc(root: Path, *arguments: str) -> None:
    """Run DVC to its end; what it says goes where this process's own words go.

    Raises:
        TasktraceError: DVC is not installed, this is no repository of it, or it failed.
    """
    if _run(root, arguments, capture=False).returncode:
        raise TasktraceError(f"`dvc {' '.join(arguments)}` failed; its own message is above")


def cache_folder(root: Path) -> Path:
    """Where DVC keeps contents, under ``files/md5/<first two letters>/<the others>``.

    Raises:
        TasktraceError: DVC is not installed, or this is no repository of it.
    """
    done = _run(root, ("cache", "dir"), capture=True)
    if done.returncode:
        raise TasktraceError(f"`dvc cache dir` failed: {done.stderr.strip()}")
    return root / done.stdout.strip()


def check_repository(root: Path) -> None:
    """Refuse to begin what DVC has to end.

    Raises:
        TasktraceError: DVC is not installed, or this is no repository of it.
    """
    if importlib.util.find_spec("dvc") is None:
        raise TasktraceError("DVC is not installed here; `pip install 'tasktrace[dvc]'`, or `pip install dvc`")
    if not (root / ".dvc").is_dir():
        raise TasktraceError(
            f"{root.resolve()}: no repository of DVC (there is no .dvc); call this in the project's own folder, or say "
            "`dvc init` in a git repository"
        )
    if not _is_in_git(root) and not _is_without_git(root):
        raise TasktraceError(
            f"{root.resolve()}: no git repository, and git keeps the names of what DVC keeps; work in a clone, say "
            "`git init`, or `dvc config --local core.no_scm true` to do without"
        )


def check_idle(root: Path) -> None:
    """Refuse to touch results while Snakemake makes them.

    Raises:
        BusyError: Snakemake is at work in this folder, or was killed and left its locks.
    """
    if any((root / ".snakemake/locks").glob("*")):
        raise BusyError(
            f"{root.resolve()}: Snakemake is at work here, or was killed; wait for it, or, if none runs, say "
            "`snakemake --unlock`"
        )


def _run(root: Path, arguments: tuple[str, ...], capture: bool) -> subprocess.CompletedProcess[str]:
    check_repository(root)
    sys.stdout.flush()  # what was said before comes first
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=root, env={**os.environ, **_QUIET}, text=True, capture_output=capture, check=False
    )


def _is_in_git(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))


def _is_without_git(root: Path) -> bool:
    """Whether DVC was told to do without git, by ``dvc config`` or ``dvc init --no-scm``."""
    files = [path for path in (root / ".dvc/config", root / ".dvc/config.local") if path.exists()]
    return any("no_scm=true" in path.read_text(encoding="utf-8").lower().replace(" ", "") for path in files)
