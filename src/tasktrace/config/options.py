"""Check a mapping of options against the dataclass that declares them."""

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from tasktrace.config.declarations import foreign_name
from tasktrace.config.loading import number_hint
from tasktrace.errors import ConfigError

T = TypeVar("T")


def check_options(options: type, given: dict[str, Any], where: str) -> dict[str, Any]:
    """The options in ``given`` that differ from their defaults, checked by name and type.

    Leaving defaults out keeps a run's spec as it was when its component later gains an option.

    Args:
        options: A dataclass of options with annotated fields.
        given: What the configuration says.
        where: File and key, for the message.

    Raises:
        ConfigError: An unknown option, a missing one, or a value of a wrong type.
    """
    fields = {field.name: field for field in dataclasses.fields(options)}
    for name in given:
        if name not in fields:
            allowed = ", ".join(fields) or "none"
            raise ConfigError(f"{where}: unknown option {name!r}; allowed: {allowed}")
    hints = typing.get_type_hints(options)
    for name, value in given.items():
        if not _fits(value, hints[name]):
            raise ConfigError(
                f"{where}.{name}: expected {_describe(hints[name])}, found {value!r} ({type(value).__name__})"
                f"{number_hint(value)}"
            )
    for name, field in fields.items():
        if name not in given and _has_no_default(field):
            raise ConfigError(f"{where}: option {name!r} is missing; it takes {_describe(hints[name])}")
    try:
        filled = options(**{name: _as_declared(value, hints[name]) for name, value in given.items()})
    except NameError as error:
        raise foreign_name(where, error) from error
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    values = {name: getattr(filled, name) for name in given}
    return {name: _as_json(value) for name, value in values.items() if not _is_default(fields[name], value)}


def build_options(options: type[T], given: dict[str, Any]) -> T:
    """The options dataclass of a checked mapping."""
    hints = typing.get_type_hints(options)
    return options(**{name: _as_declared(value, hints[name]) for name, value in given.items()})


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return field.default is not dataclasses.MISSING and value == field.default


def _as_declared(value: Any, hint: Any) -> Any:
    """YAML and JSON know neither tuples nor the difference between 1 and 1.0; the declaration does."""
    if isinstance(value, list):
        return tuple(value)
    if hint is float and isinstance(value, int):
        return float(value)
    return value


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return any(type(value) is type(argument) and value == argument for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is tuple:
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _describe(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return "one of " + ", ".join(map(repr, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_describe, arguments))
    if origin is tuple:
        return f"a list of {_describe(arguments[0])}"
    names = {
        float: "a finite number",
        int: "a whole number",
        bool: "true or false",
        str: "a text",
        type(None): "null",
    }
    return names.get(hint, str(hint))
