"""The device that a plan is for, told without torch."""

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tasktrace.errors import ConfigError
from tasktrace.provenance import machine

CPU = "cpu"
"""What ``run.json`` has as the device of runs on a CPU; of others it is the GPU's name."""

_NAME_BYTES = 256


@dataclass(frozen=True)
class Device:
    """What jobs run on.

    Attributes:
        name: The GPU's name, or ``cpu``; empty for a GPU of which nothing is known.
        processor: The processor here, which calibrations are of.
        threads: Threads of a job on a CPU.
    """

    name: str
    processor: str
    threads: int

    @property
    def is_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.name != CPU

    def made(self, record: dict[str, Any]) -> bool:
        """Whether what a record is of was done on this kind of device, with as many threads if that is a CPU."""
        return bool(record["device"] == self.name and (self.is_gpu or record["threads"] == self.threads))


def planned_device(asked: str, threads: int, known: Iterable[str]) -> Device:
    """The device that a plan is for.

    Args:
        asked: ``cpu``, ``cuda``, ``auto``, or a GPU's name as ``run.json`` has it. ``cuda`` is the GPU here; where
            there is none, as on a cluster's login node, the one that is known. ``auto`` is the same, and the CPU if
            there is no GPU at all.
        threads: Threads of a job on a CPU.
        known: The devices that runs finished on or trials were made on.

    Raises:
        ConfigError: There is no GPU here, and several kinds of them are known.
    """
    processor = str(machine()["processor"])
    if asked not in ("auto", "cuda"):
        return Device(asked, processor, threads)
    elsewhere = sorted(set(known) - {CPU})
    here = _gpu_here()
    if here is None and len(elsewhere) > 1:
        raise ConfigError(
            f"device {asked!r}: there is no GPU here, and {', '.join(elsewhere)} are known; name one of them, or {CPU}"
        )
    otherwise = CPU if asked == "auto" else ""
    return Device(here or next(iter(elsewhere), otherwise), processor, threads)


def _gpu_here() -> str | None:
    """The first GPU's name from CUDA's driver, whose answer torch repeats; None if there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    name, device = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_int()
    is_there = not (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or driver.cuDeviceGetName(name, len(name), device)
    )
    return name.value.decode() if is_there else None
