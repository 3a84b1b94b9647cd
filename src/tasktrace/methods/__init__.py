"""HOW K task gradients become one update of the shared parameters: one module per method.

A method's module declares ``VERSION`` and ``Options`` (see :mod:`tasktrace.config.declarations`) and defines
``Method``, built from the number of tasks and the options.
"""

from tasktrace.methods.base import LossWeighting, build

__all__ = ["LossWeighting", "build"]
