"""Profiles, and clusters whose commands print what real ones printed."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tasktrace.cluster.preflight import cluster_faults
from tasktrace.cluster.profile import Profile, read_profile
from tasktrace.cluster.requests import Request

CAPTURED = Path(__file__).parent / "captured"
"""What SLURM 22.05 printed, fields separated by bars: a cluster of unlike nodes, and one that keeps accounts."""

PROFILE = """\
__use_yte__: true
__definitions__:
  - import os
  - cpu = os.environ.get("TASKTRACE_CPU_PARTITION") or ""
  - gpu = os.environ.get("TASKTRACE_GPU_PARTITION") or ""
executor: slurm
slurm-status-command: squeue
slurm-qos: ?os.environ.get("TASKTRACE_QOS") or None
default-resources:
  slurm_account: ?repr(os.environ.get("TASKTRACE_ACCOUNT") or "")
  slurm_partition: ?f"{gpu!r} if hasattr(wildcards, 'arm') else {cpu!r}"
  ?if os.environ.get("TASKTRACE_GPU_TYPE"):
    gpu_model: ?f"{os.environ['TASKTRACE_GPU_TYPE']!r} if 'arm' in wildcards.keys() else ''"
"""


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch):
    """The choices of whoever runs the tests are not the tests'."""
    for name in [name for name in os.environ if name.startswith("TASKTRACE_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def captured() -> Callable[[str, str], str]:
    """A function that gives what a cluster printed, with the separators that the commands are asked for."""

    def read(cluster: str, name: str) -> str:
        return (CAPTURED / cluster / f"{name}.txt").read_text()

    return read


@pytest.fixture
def make_profile(tmp_path, monkeypatch) -> Callable[..., Profile]:
    """A function that reads a profile ``slurm`` of this text, with ``TASKTRACE_`` variables set."""

    def make(text: str = PROFILE, **choices: str) -> Profile:
        (tmp_path / "slurm").mkdir(exist_ok=True)
        (tmp_path / "slurm/config.yaml").write_text(text)
        monkeypatch.chdir(tmp_path)
        for name, value in choices.items():
            monkeypatch.setenv(f"TASKTRACE_{name}", value)
        return read_profile("slurm")

    return make


_ANSWERS = {
    "scontrol": 'case "$*" in *partition*) cat partitions.txt;; *) cat config.txt;; esac',
    "sinfo": "sep nodes.txt",
    "squeue": "sep jobs.txt",
    "sacctmgr": 'case "$*" in *assoc*) cat associations.txt;; *qos*) cat qos.txt;; *) cat user.txt;; esac',
    "sshare": ":",
    "sacct": ":",
    "sbatch": ":",
    "scancel": ":",
}


@pytest.fixture
def commands(tmp_path, monkeypatch) -> Callable[..., Path]:
    """A function that puts SLURM's commands on ``PATH``, which print what a cluster's printed.

    ``changes`` replaces texts in what is printed, ``answers`` what the commands do, None takes one away. It returns
    the folder with the files that they print.
    """

    def put(cluster: str = "mixed", changes: dict[str, str] | None = None, **answers: str | None) -> Path:
        printed, programs = tmp_path / "printed", tmp_path / "programs"
        for folder in (printed, programs):
            folder.mkdir()
        for source in (CAPTURED / cluster).glob("*.txt"):
            text = source.read_text()
            for old, new in (changes or {}).items():
                text = text.replace(old, new)
            (printed / source.name).write_text(text)
        for name, does in {**_ANSWERS, **answers}.items():
            if does is not None:
                head = f'#!/bin/sh\nPATH=/usr/bin:/bin; cd {printed}; sep() {{ tr "|" "\\037" < "$1"; }}\n'
                (programs / name).write_text(f"{head}{does}\n")
                (programs / name).chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", str(programs))
        return printed

    return put


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Snakemake's plugin for SLURM, as far as it is asked for: that it is installed."""
    (tmp_path / "plugin/snakemake_executor_plugin_slurm").mkdir(parents=True)
    (tmp_path / "plugin/snakemake_executor_plugin_slurm/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "plugin")


@pytest.fixture
def no_plugin(monkeypatch):
    """No such plugin, whatever is installed here."""
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", None)


def request(kind: str = "train", setting: str = "digits", **resources: int) -> Request:
    asked = {"mem_mb": 1500, "runtime": 20, "gpu": int(kind != "prepare"), "threads": 1, **resources}
    return Request(kind, setting, **asked)


@pytest.fixture
def make_request() -> Callable[..., Request]:
    """A function that makes a request for jobs that fit anywhere, unless told otherwise."""
    return request


@pytest.fixture
def check(plugin) -> Callable[..., tuple[list[str], list[str]]]:
    """A function that gives the faults of a profile's jobs, and what was said; jobs of a run and others."""

    def faults(profile: Profile, *requests: Request) -> tuple[list[str], list[str]]:
        said: list[str] = []
        found = cluster_faults(profile, requests or (request(), request("prepare")), said.append)
        return found, said

    return faults
