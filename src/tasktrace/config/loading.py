"""Read the configuration's YAML and hold it against its JSON Schema, with messages that name file and key."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from tasktrace.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """YAML in which a key may stand once: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = [key for key in keys if keys.count(key) > 1]
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _is_number(_checker: Any, value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(_checker: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# JSON Schema's numbers take in NaN and infinity, and its integers 64.0, which makes another path than 64.
_TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many({"number": _is_number, "integer": _is_integer})
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=_TYPES)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: The file is absent, is not YAML, or holds something else than a mapping.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; run tasktrace from the folder that holds config/") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if content is None:
        raise ConfigError(f"{path}: expected a mapping of keys to values, found an empty file")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    return content


def validate(content: dict[str, Any], schema: Path, where: str) -> None:
    """Hold ``content`` against a schema file.

    Raises:
        ConfigError: With one line per fault: file, key, what is allowed, what was found.
    """
    validator = _Validator(read_yaml(schema))
    faults = sorted(validator.iter_errors(content), key=lambda fault: list(map(str, fault.absolute_path)))
    if faults:
        # A missing key is one fault each, but its line names them all.
        raise ConfigError("\n".join(dict.fromkeys(line for fault in faults for line in _explain(fault, where))))


def merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``override`` on top, mappings merged key by key."""
    result = dict(base)
    for key, value in override.items():
        below = result.get(key)
        result[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return result


def _explain(fault: jsonschema.ValidationError, where: str) -> Iterable[str]:
    key = _dotted(fault.absolute_path)
    place = f"{where}: {key}" if key else where
    rule: Any = fault.validator_value
    found: Any = fault.instance
    match fault.validator:
        case "additionalProperties":
            schema: Any = fault.schema
            known = schema.get("properties", {})
            allowed = ", ".join(known) or "no keys"
            for name in found:
                if name not in known:
                    yield f"{place}: unknown key {name!r}; allowed: {allowed}"
        case "required":
            missing = [name for name in rule if name not in found]
            yield f"{place}: missing {', '.join(map(repr, missing))}; required: {', '.join(rule)}"
        case "dependentRequired":
            for cause, names in rule.items():
                missing = [name for name in names if cause in found and name not in found]
                if missing:
                    yield f"{place}: missing {', '.join(map(repr, missing))}, which {cause} needs"
        case "type":
            kind = "a finite number" if isinstance(found, float) and not math.isfinite(found) else rule
            yield f"{place}: expected {kind}, found {found!r}{number_hint(found)}"
        case "enum":
            yield f"{place}: allowed: {', '.join(map(str, rule))}; found {found!r}"
        case _:
            yield f"{place}: {fault.message}"


def _dotted(path: Iterable[Any]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def number_hint(value: Any) -> str:
    """What to add to a message about a text that was meant as a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return ""
    return ' (YAML reads "1e-3" as a text: write 0.001 or 1.0e-3)' if isinstance(value, str) else ""
