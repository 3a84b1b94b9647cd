"""The most memory that a process has taken, or that a part of its work has."""

import gc
import sys
from pathlib import Path

from tasktrace.provenance import peak_memory

_PEAK = Path("/proc/self/clear_refs")
_FORGET = "5"
"""What Linux takes, in that file, as a request to forget the process's peak."""


def forget_peak() -> None:
    """Let :func:`peak` be about what follows, where the system can."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    if _PEAK.exists():
        _PEAK.write_text(_FORGET, encoding="ascii")


def peak() -> dict[str, float]:
    """The most memory since :func:`forget_peak`, or since the process began.

    Returns:
        ``main_mb`` and ``device_mb``, in 10^6 bytes.
    """
    found = peak_memory()
    return {"main_mb": found["main"], "device_mb": found["device"]}
