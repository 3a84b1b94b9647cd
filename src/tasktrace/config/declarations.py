"""Read what a component declares about itself without importing it.

The workflow's process, every job on a cluster and ``snakemake -n`` need the options and version of each setting,
model, method, optimizer, measure and study, but not torch, whose import takes seconds. So a component's module declares
itself in plain statements at its top level:

- ``VERSION``: an integer, raised whenever the component's results change; it is part of every run's spec;
- ``class Options``: a frozen dataclass whose fields are the component's options with their defaults;
- ``TASKS``: settings only, a tuple of :class:`tasktrace.tasks.Task`;
- ``SHARED_INPUTS``: settings only, whether every input has a target for every task; False if it is left out;
- ``WHITE``: settings only, the value of the brightest pixel; 255 if it is left out.

Only these statements are evaluated here; the rest of the module, its imports included, is left alone.

A method ``torchjd:<Class>`` is a class of TorchJD, declared by its constructor; see
:mod:`tasktrace.config.torchjd_classes`.
"""

import ast
import dataclasses
import functools
import typing
from pathlib import Path
from typing import Any

from tasktrace.config import torchjd_classes
from tasktrace.config.bounds import check_range
from tasktrace.errors import ConfigError
from tasktrace.tasks import Task

_PACKAGE = Path(__file__).resolve().parent.parent
_FOLDERS = {
    "setting": _PACKAGE / "settings",
    "model": _PACKAGE / "models",
    "method": _PACKAGE / "methods",
    "optimizer": _PACKAGE / "training" / "optimizers",
    "measure": _PACKAGE / "measures",
    "study": _PACKAGE / "studies",
}
_BRIDGE = "torchjd_bridge"
_DECLARED = ("VERSION", "TASKS", "SHARED_INPUTS", "WHITE", "Options")


@dataclasses.dataclass(frozen=True)
class Declaration:
    """What one component says of itself.

    Attributes:
        kind: ``setting``, ``model``, ``method``, ``optimizer``, ``measure`` or ``study``.
        name: The component's name, which is its module's.
        version: Raised by its author whenever its results change.
        options: The dataclass of its options.
        tasks: A setting's tasks by name; empty for other kinds.
        shared_inputs: Whether a setting's tasks share their inputs.
        white: The value of the brightest pixel of a setting's inputs.
        packages: Versions, by name, of packages that compute the component's results in our place; part of the spec.
    """

    kind: str
    name: str
    version: int
    options: type
    tasks: dict[str, Task]
    shared_inputs: bool
    white: int
    packages: dict[str, str] = dataclasses.field(default_factory=dict)


@functools.cache
def available(kind: str) -> tuple[str, ...]:
    """Names of all components of a kind: the modules of its folder that declare options."""
    names = (path.stem for path in sorted(_FOLDERS[kind].glob("*.py")))
    return tuple(name for name in names if "Options" in _declared_statements(kind, name))


@functools.cache
def declaration(kind: str, name: str) -> Declaration:
    """The declaration of the component ``name``.

    Raises:
        ConfigError: No such component, or one whose declaration is incomplete.
    """
    if kind == "method" and name.startswith(torchjd_classes.PREFIX):
        return _torchjd_declaration(name)
    if name not in available(kind):
        others = f", {torchjd_classes.PREFIX}<Class>" if kind == "method" else ""
        raise ConfigError(f"unknown {kind} {name!r}; available: {', '.join(available(kind))}{others}")
    statements = _declared_statements(kind, name)
    namespace = _evaluate(list(statements.values()), f"{kind} {name}")
    if not isinstance(namespace.get("VERSION"), int):
        raise ConfigError(f"the {kind} module {name}.py declares no integer VERSION at its top level")
    options: type = namespace["Options"]
    if not dataclasses.is_dataclass(options):
        raise ConfigError(f"the {kind} module {name}.py declares Options that are no dataclass")
    tasks = {task.name: task for task in namespace.get("TASKS", ())}
    return Declaration(
        kind,
        name,
        namespace["VERSION"],
        options,
        tasks,
        bool(namespace.get("SHARED_INPUTS")),
        namespace.get("WHITE", 255),
    )


def _torchjd_declaration(name: str) -> Declaration:
    """The declaration of a class of TorchJD, whose version is that of the module that makes methods of them."""
    options = torchjd_classes.options(name)
    declared = _evaluate(list(_declared_statements("method", _BRIDGE).values()), f"method {name}")
    return Declaration(
        "method", name, declared["VERSION"], options, {}, False, 255, {"torchjd": torchjd_classes.version()}
    )


@functools.cache
def _declared_statements(kind: str, name: str) -> dict[str, ast.stmt]:
    """The declaring statements of a module by the name that they bind."""
    path = _FOLDERS[kind] / f"{name}.py"
    try:
        statements = ast.parse(path.read_text(encoding="utf-8"), path.name).body
    except SyntaxError as error:
        raise ConfigError(f"the {kind} module {path} is not valid Python: {error}") from error
    bound = {_bound_name(statement): statement for statement in statements}
    return {key: bound[key] for key in _DECLARED if key in bound}


def foreign_name(where: str, error: NameError) -> ConfigError:
    """The error for a declaration that needs more than it may."""
    return ConfigError(
        f"the declaration of {where} uses {error.name!r}; VERSION, TASKS and Options may use only plain values, "
        "dataclass, field, Literal, check_range and Task"
    )


def _bound_name(statement: ast.stmt) -> str | None:
    match statement:
        case ast.ClassDef(name=name) | ast.Assign(targets=[ast.Name(id=name)]):
            return name
        case ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return None


def _evaluate(statements: list[ast.stmt], where: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {
        "__name__": "tasktrace.declared",
        "dataclass": dataclasses.dataclass,
        "field": dataclasses.field,
        "check_range": check_range,
        "Literal": typing.Literal,
        "Task": Task,
    }
    try:
        exec(compile(ast.Module(statements, type_ignores=[]), where, "exec"), namespace)
    except NameError as error:
        raise foreign_name(where, error) from error
    except TypeError as error:
        raise ConfigError(f"the declaration of {where} is wrong: {error}") from error
    return namespace
