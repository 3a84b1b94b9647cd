"""HOW K task gradients become one update of the shared parameters: one module per method.

A method's module declares ``VERSION`` and ``Options`` (see :mod:`tasktrace.config.declarations`) and defines
``Method``, built from the number of tasks, the options and a seed.
"""

from tasktrace.methods.base import (
    FeatureWeighting,
    GramianWeighting,
    LossWeighting,
    Method,
    NonFiniteError,
    gramian,
)
from tasktrace.methods.building import build, run_method

__all__ = [
    "FeatureWeighting",
    "GramianWeighting",
    "LossWeighting",
    "Method",
    "NonFiniteError",
    "build",
    "gramian",
    "run_method",
]
