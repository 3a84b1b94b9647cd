"""What a resource's expression in a profile comes to, for a job that does not exist yet."""

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ON_RUNS = re.compile(r"(train|train_selected|measure|refit)(_packed_\d+)?")

_OF_A_WORKFLOW = (
    *("input", "output", "params", "resources", "async_run", "lookup", "evaluate", "branch", "collect", "exists"),
    *("prepend_param", "subpath", "parse_input", "extract_checksum", "flatten", "as_py_module"),
    *("choose_file", "choose_folder", "choose_tmp"),
)
"""Names that Snakemake lets an expression use, and that only a running workflow can give a meaning."""


@dataclass(frozen=True)
class Unknown:
    """A value that only Snakemake can know, when it submits the job.

    Attributes:
        why: What the value depends on.
    """

    why: str


Value = str | int | None | Unknown


class ExpressionError(Exception):
    """An expression fails as it would in Snakemake."""


def is_on_runs(kind: str) -> bool:
    """Whether the jobs of a rule work on runs, and so have the wildcard ``arm``; those of the others have settings."""
    return _ON_RUNS.fullmatch(kind) is not None


def names_for(kind: str, setting: str, threads: int) -> dict[str, Any]:
    """The names that a resource's expression may use, at the first attempt of a job.

    Args:
        kind: The job's rule.
        setting: The job's setting.
        threads: The job's threads.
    """
    run = {name: _Opaque(f"wildcards.{name}") for name in ("arm", "point", "seed")}
    return {
        **{name: _Opaque(name) for name in _OF_A_WORKFLOW},
        "wildcards": _Wildcards(run if is_on_runs(kind) else {"setting": setting}),
        "attempt": 1,
        "threads": threads,
        "system_tmpdir": tempfile.gettempdir(),
        "shutil": shutil,
    }


def evaluated(resource: str, text: str, names: Mapping[str, Any]) -> Value:
    """What a resource that a profile gives as ``text`` is for a job.

    Args:
        resource: Its name; ``mem`` and ``disk`` come in megabytes and ``runtime`` in minutes, whatever the text says.
        text: A number, a name, a size or time such as ``8 GB`` or ``2h``, or an expression. As in Snakemake, what
            uses a name that there is not is no expression but a text.
        names: What :func:`names_for` gives.

    Raises:
        ExpressionError: The expression fails, or comes to something that a resource cannot be.
    """
    if re.fullmatch(r"\d+", text):
        return int(text)
    plain = _in_plain_units(resource, text.strip("'\""))
    if plain is not None:
        return plain
    text = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  (not always a path)
    try:
        value = eval(text, dict(names))
    except (NameError, SyntaxError):
        return text
    except _NotKnownError as error:
        return Unknown(str(error))
    except Exception as error:
        raise ExpressionError(f"{type(error).__name__}: {error}") from error
    return _checked(resource, value)


def _checked(resource: str, value: Any) -> Value:
    if isinstance(value, _Opaque):
        return Unknown(value.what)
    if isinstance(value, float):
        return round(value)
    if isinstance(value, str):
        plain = _in_plain_units(resource, value)
        return value if plain is None else plain
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, int):
        return value
    raise ExpressionError(f"a resource is a number or a text, not a {type(value).__name__}")


def _in_plain_units(resource: str, text: str) -> int | None:
    """Megabytes of a size, minutes of a time, either without a unit; None for every other text."""
    import humanfriendly  # type: ignore[import-untyped]

    if resource not in ("mem", "disk", "runtime"):
        return None
    if re.fullmatch(r"\d+", text):
        return int(text)
    try:
        if resource == "runtime":
            return max(int(humanfriendly.parse_timespan(text) // 60), 1)
        return max(int(-(-humanfriendly.parse_size(text) // 1_000_000)), 1)
    except (humanfriendly.InvalidSize, humanfriendly.InvalidTimespan):
        return None


class _NotKnownError(Exception):
    """An expression asks for something that only a running workflow has."""


class _Opaque:
    """Something that a job has, and of which no more is known before there is a job."""

    def __init__(self, what: str) -> None:
        self.what = what

    def __getattr__(self, name: str) -> Any:
        raise _NotKnownError(self.what)


def _refuse(opaque: _Opaque, *_given: Any) -> Any:
    raise _NotKnownError(opaque.what)


# Whatever Python would look up in the class, and so not ask __getattr__ for.
for _operation in (
    *("add", "radd", "mul", "rmul", "truediv", "mod", "int", "index", "eq", "ne", "lt", "le", "gt", "ge", "hash"),
    *("call", "contains", "format", "getitem", "iter", "len", "repr", "str"),
):
    setattr(_Opaque, f"__{_operation}__", _refuse)


class _Wildcards(_Opaque):
    """A job's wildcards: which there are is known, and some of their values."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__("wildcards")
        self.values = values

    def __getattr__(self, name: str) -> Any:
        if name not in self.values:
            raise AttributeError(f"this rule has no wildcard {name}, only {', '.join(self.values)}")
        return self.values[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def keys(self) -> list[str]:
        return list(self.values)
