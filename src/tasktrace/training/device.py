"""The device of a run, set up for reproducible results."""

import os

import torch

from tasktrace.errors import ConfigError


def configure(name: str, threads: int) -> torch.device:
    """The torch device, with deterministic algorithms and a fixed number of threads.

    Args:
        name: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
        threads: Threads of a CPU run.

    Raises:
        ConfigError: ``cuda`` where torch sees no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda': torch sees no GPU; use --device cpu or auto")
    use_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
    torch.set_num_threads(threads)
    # Late in training many moments are subnormal numbers, on which a CPU is an order of magnitude slower.
    torch.set_flush_denormal(True)
    # cuBLAS is deterministic only with a workspace of fixed size, chosen before its first call.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As torch.use_deterministic_algorithms(True), which would import torch's compiler as well: a second of every job.
    torch.set_deterministic_debug_mode("error")
    # That mode also fills every new tensor with NaN, to show reads of uninitialised memory: a tenth of a step's time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return torch.device("cuda" if use_gpu else "cpu")


def describe(device: torch.device) -> str:
    """The device's name for ``run.json``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
