"""WHAT is learnt: one module per benchmark.

A setting's module declares ``VERSION``, ``TASKS`` and ``Options`` (see :mod:`tasktrace.config.declarations`) and
defines ``prepare(raw: Path, options: Options) -> Tensors``, which reads the raw files below ``raw`` and returns the
arrays of :mod:`tasktrace.settings.prepared`, and ``sources(raw: Path) -> list[Source]``, the files it reads. Where
nothing can download them, ``PLACED_BY_USER`` says what users have to put below ``raw``.
"""

import importlib
from typing import Any


def setting_module(name: str) -> Any:
    """The module of the setting ``name``."""
    return importlib.import_module(f"tasktrace.settings.{name}")
