"""A method from its name and options."""

import importlib
from typing import Any

from tasktrace.config.components import component_options
from tasktrace.config.declarations import declaration
from tasktrace.config.options import build_options, check_options
from tasktrace.config.torchjd_classes import PREFIX
from tasktrace.errors import ConfigError
from tasktrace.methods.base import Method


def build(name: str, num_tasks: int, seed: int = 0, **options: Any) -> Method:
    """The method ``name`` for ``num_tasks`` tasks.

    Args:
        name: The method's name, or ``torchjd:<Class>`` for a class of TorchJD.
        num_tasks: Number of tasks T.
        seed: Seeds what the method draws; see :mod:`tasktrace.seeding`.
        options: Its options.

    Raises:
        ConfigError: An unknown method or option, or a value of a wrong type.
    """
    given = check_options(declaration("method", name).options, options, f"method {name}")
    if num_tasks < 1:
        raise ConfigError(f"method {name}: num_tasks must be at least 1, found {num_tasks}")
    if name.startswith(PREFIX):
        bridge = importlib.import_module("tasktrace.methods.torchjd_bridge")
        wrapped: Method = bridge.wrap(name, num_tasks, build_options(declaration("method", name).options, given))
        return wrapped
    module = importlib.import_module(f"tasktrace.methods.{name}")
    try:
        method: Method = module.Method(num_tasks, build_options(module.Options, given), seed)
    except ValueError as error:
        raise ConfigError(f"method {name}: {error}") from error
    return method


def run_method(spec: dict[str, Any] | None, num_tasks: int, seed: int) -> Method:
    """The method of a run's spec, new; a task alone has none, and nothing to combine."""
    if spec is None:
        return build("umtg", num_tasks, seed)
    return build(spec["name"], num_tasks, seed, **component_options(spec))
