"""Where and with what a result was made."""

import functools
import os
import platform
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("tasktrace", "torch", "numpy", "safetensors", "pyarrow")

_OPTIONAL = ("transformers",)
"""Named where a run has them in use."""


def machine(root: Path = Path()) -> dict[str, Any]:
    """Host, processor, versions and commit, as recorded in ``run.json``."""
    return {
        "host": platform.node(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _used_packages()},
        **commit(root),
    }


def _used_packages() -> list[str]:
    return [*_PACKAGES, *(name for name in _OPTIONAL if name in sys.modules)]


def commit(root: Path) -> dict[str, Any]:
    """The git commit of ``root``, and whether tracked files differ from it; nulls outside a repository."""
    head = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return {"commit": head, "modified": None if changes is None else bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@functools.cache
def _processor() -> str:
    """The processor's model name, which Linux's ``platform.processor()`` does not give."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def peak_memory() -> dict[str, float]:
    """The most that this process has taken so far, in MB of 10^6 bytes: main memory, and memory of a CUDA device."""
    torch = sys.modules.get("torch")
    device = torch.cuda.max_memory_reserved() if torch is not None and torch.cuda.is_initialized() else 0
    return {"main": round(_peak_bytes() / 1e6, 1), "device": round(device / 1e6, 1)}


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # Not what the process's usage says: that begins with the memory of the process which started it.
        fields = dict(line.split(":", 1) for line in status.read_text(encoding="ascii").splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
