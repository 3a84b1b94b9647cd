"""From raw files to a setting's prepared file."""

from pathlib import Path
from typing import Any

from tasktrace.config.components import component_options
from tasktrace.config.options import build_options
from tasktrace.settings import setting_module
from tasktrace.settings.prepared import Prepared, write_prepared


def prepare(spec: dict[str, Any], raw: Path, out: Path) -> Prepared:
    """Make the prepared file of a setting.

    Args:
        spec: The data's spec: the setting's module, version and options.
        raw: Folder of the raw files; what is missing is fetched where the setting can.
        out: The prepared file.

    Raises:
        DataError: Raw files are missing and cannot be fetched, or are not what was published.
    """
    module = setting_module(spec["name"])
    tensors = module.prepare(raw, build_options(module.Options, component_options(spec)))
    return write_prepared(out, tensors, spec)
