"""TorchJD's public aggregators, weightings and scalarizers, read from its source without importing it.

``torchjd:<Class>`` as a method reaches every class that ``torchjd.aggregation`` and ``torchjd.scalarization`` export; a
name that both export means the aggregator, and ``torchjd:scalarization.<Class>`` the scalarizer. Importing TorchJD
imports torch and its solvers, which takes seconds that planning does not have; so the constructors' arguments are taken
from the syntax tree, as :mod:`tasktrace.config.declarations` takes our own methods' options. They become options:

- a number, a text, a truth value or a choice as it is;
- a tensor as a list of numbers;
- the number of tasks, under any of the names that TorchJD has for it, is no option: the run knows it;
- a projector by the arguments of TorchJD's only one (UPGrad and DualProj: ``norm_eps`` and ``reg_eps``);
- a weighting to wrap by its class, for those that need no argument of their own;
- anything else, such as a function, stays at its default.

Scalarizers take ``heads`` as our own weightings of losses do, and those that have to be told the end of an epoch take
``window``, the number of steps after which they are told.
"""

import ast
import dataclasses
import functools
import importlib.metadata
import importlib.util
import typing
from pathlib import Path
from typing import Any

from tasktrace.config.bounds import check_range
from tasktrace.errors import ConfigError

PREFIX = "torchjd:"

_AGGREGATION = "torchjd.aggregation"
_SCALARIZATION = "torchjd.scalarization"
_REFUSED = {
    "Aggregator": "it is abstract, the base class of the others",
    "Weighting": "it is abstract, the base class of the others",
    "Scalarizer": "it is abstract, the base class of the others",
    "MoDoWeighting": "it needs the task gradients of two independent batches at every step, and a step has one",
    "SDMGradWeighting": "it needs the task gradients of two independent batches at every step, and a step has one",
}
_FROM_TASKS = ("n_tasks", "shape")
_TYPES = {"float": float, "int": int, "bool": bool, "str": str, "Tensor": tuple[float, ...]}
_PROJECTORS = {"DualConeProjector": ("torchjd.linalg", "QuadprogProjector")}


@dataclasses.dataclass(frozen=True)
class Argument:
    """One argument of a constructor.

    Attributes:
        name: Its name.
        hint: The type of its option: a list of numbers stands for a tensor, a class's name for a weighting; None for
            an argument that a configuration cannot give.
        default: Its default; ``dataclasses.MISSING`` for a required one.
        annotation: Its annotation as TorchJD writes it.
        is_num_tasks: Whether it is the number of tasks.
        projector: The arguments of the projector that it takes, if it takes one.
    """

    name: str
    hint: Any
    default: Any
    annotation: str
    is_num_tasks: bool = False
    projector: tuple["Argument", ...] = ()


def version() -> str:
    """The version of the installed TorchJD."""
    return importlib.metadata.version("torchjd")


@functools.cache
def public_classes() -> dict[str, str]:
    """The module of each public class by the name that a configuration gives it, usable or not."""
    classes = dict.fromkeys(_exported(_AGGREGATION), _AGGREGATION)
    for name in _exported(_SCALARIZATION):
        classes[f"scalarization.{name}" if name in classes else name] = _SCALARIZATION
    return classes


def usable_classes() -> list[str]:
    """The public classes that can be methods."""
    return [name for name in public_classes() if name not in _REFUSED]


def locate(name: str) -> tuple[str, str]:
    """The module and the class of ``torchjd:<Class>``.

    Raises:
        ConfigError: TorchJD is absent, has no such public class, or has one that cannot be a method.
    """
    given = name.removeprefix(PREFIX)
    if given not in public_classes():
        raise ConfigError(
            f"unknown class {given!r} of TorchJD {version()} in method {name!r}; "
            f"available: {', '.join(usable_classes())}"
        )
    if given in _REFUSED:
        raise ConfigError(f"method {name!r}: {given} cannot be used: {_REFUSED[given]}")
    return public_classes()[given], given.rpartition(".")[2]


@functools.cache
def arguments(name: str) -> tuple[Argument, ...]:
    """The arguments of the constructor of ``torchjd:<Class>``.

    Raises:
        ConfigError: As :func:`locate`, and where a required argument cannot be given.
    """
    found = _arguments(*locate(name))
    for argument in found:
        if argument.default is dataclasses.MISSING and argument.hint is None and not argument.is_num_tasks:
            raise ConfigError(
                f"method {name!r}: it cannot be used: its argument {argument.name} takes a {argument.annotation}, "
                "which a configuration cannot give"
            )
    return found


@functools.cache
def options(name: str) -> type:
    """The dataclass of the options of ``torchjd:<Class>``.

    Raises:
        ConfigError: As :func:`arguments`.
    """
    module, class_name = locate(name)
    found = arguments(name)
    fields = [(own.name, own.hint, own.default) for own in _flat(found) if own.hint is not None]
    # A field of any type, so that the check below can say more than which type it should have had.
    fixed = [own for own in found if own.hint is None and not own.is_num_tasks and not own.projector]
    fields += [(own.name, object, None) for own in fixed]
    has_window = False
    if module == _SCALARIZATION:
        fields.append(("heads", typing.Literal["plain", "weighted"], "plain"))
        has_window = _defines(module, class_name, "step")
    if has_window:
        fields.append(("window", int, 100))
    made = [(name, hint, dataclasses.field(default=default)) for name, hint, default in fields]

    def check(self: object) -> None:
        for own in fixed:
            if getattr(self, own.name) is not None:
                raise ValueError(f"{own.name} takes a {own.annotation}, which a configuration cannot give")
        if has_window:
            check_range(self, "window", low=1)

    return dataclasses.make_dataclass(class_name, made, namespace={"__post_init__": check}, frozen=True, kw_only=True)


def _flat(found: tuple[Argument, ...]) -> list[Argument]:
    return [own for argument in found for own in (argument.projector or (argument,))]


def _arguments(module: str, class_name: str) -> tuple[Argument, ...]:
    """The arguments of a class's own or inherited constructor, without ``self``."""
    found = _method(module, class_name, "__init__")
    if found is None:
        return ()
    module, function = found
    signature = function.args
    positional = [*signature.posonlyargs, *signature.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(signature.defaults))
    pairs = list(zip(positional, [*missing, *signature.defaults], strict=True))[1:]
    pairs += zip(signature.kwonlyargs, signature.kw_defaults, strict=True)
    return tuple(_argument(module, given, default) for given, default in pairs)


def _argument(module: str, given: ast.arg, default: ast.expr | None) -> Argument:
    annotation = "value of any type" if given.annotation is None else ast.unparse(given.annotation)
    value, is_literal = _literal(default)
    if given.arg in _FROM_TASKS:
        return Argument(given.arg, None, value, annotation, is_num_tasks=True)
    kinds = {part.strip() for part in annotation.split("|")}
    for projector in kinds & _PROJECTORS.keys():
        return Argument(given.arg, None, value, annotation, projector=_arguments(*_PROJECTORS[projector]))
    hint = _hint(module, given.annotation) if is_literal else None
    return Argument(given.arg, hint, value, annotation)


def _literal(default: ast.expr | None) -> tuple[Any, bool]:
    """A default's value and whether it is a literal; None stands for others, such as functions."""
    if default is None:
        return dataclasses.MISSING, True
    try:
        return ast.literal_eval(default), True
    except ValueError:
        return None, False


def _hint(module: str, annotation: ast.expr | None) -> Any:
    """The type of an annotation's option; None if a configuration cannot give such a value."""
    match annotation:
        case ast.Constant(value=None):
            return type(None)
        case ast.Name(id=name) if name in _TYPES:
            return _TYPES[name]
        case ast.Name(id=name):
            found = _definition(module, name)
            return _hint(found[0], found[1].value) if found and isinstance(found[1], ast.AnnAssign) else None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            first, second = _hint(module, left), _hint(module, right)
            return None if first is None or second is None else first | second
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            values = ast.literal_eval(choices)
            return typing.Literal[values]
        case ast.Subscript(value=ast.Name(id="Weighting"), slice=ast.Name(id=statistic)):
            return typing.Literal[_wrappable(statistic)]
    return None


def _wrappable(statistic: str) -> tuple[str, ...]:
    """The weightings of a statistic (any for a type variable) that need no argument of their own."""
    names = [name for name in _exported(_AGGREGATION) if name.endswith("Weighting") and name not in _REFUSED]
    statistics = {name: _statistic(_AGGREGATION, name) for name in names}
    known = set(statistics.values()) - {None}
    wanted = {statistic} if statistic in known else known
    names = [name for name in names if statistics[name] in wanted]
    return tuple(
        name
        for name in names
        if all(own.default is not dataclasses.MISSING for own in _flat(_arguments(_AGGREGATION, name)))
    )


def _statistic(module: str, class_name: str) -> str | None:
    """What a weighting weighs by: the X of the ``Weighting[X]`` among its bases; None for a type variable."""
    for base_module, base in _bases(module, class_name):
        match base:
            case ast.Subscript(value=ast.Name(id="Weighting"), slice=ast.Name(id=statistic)):
                return None if statistic.startswith("_") else statistic
            case ast.Name(id=name):
                found = _statistic(base_module, name)
                if found is not None:
                    return found
    return None


def _defines(module: str, class_name: str, method: str) -> bool:
    return _method(module, class_name, method) is not None


def _method(module: str, class_name: str, method: str) -> tuple[str, ast.FunctionDef] | None:
    """The definition of a class's own or inherited method, with the module that has it."""
    found = _definition(module, class_name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    for statement in found[1].body:
        if isinstance(statement, ast.FunctionDef) and statement.name == method:
            return found[0], statement
    for base_module, base in _bases(module, class_name):
        named = base.value if isinstance(base, ast.Subscript) else base
        inherited = _method(base_module, named.id, method) if isinstance(named, ast.Name) else None
        if inherited is not None:
            return inherited
    return None


def _bases(module: str, class_name: str) -> list[tuple[str, ast.expr]]:
    found = _definition(module, class_name)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return []
    return [(found[0], base) for base in found[1].bases]


def _definition(module: str, name: str) -> tuple[str, ast.ClassDef | ast.AnnAssign] | None:
    """The statement that defines a class or a type alias of TorchJD, imports followed, with its module."""
    for statement in _tree(module).body:
        match statement:
            case ast.ClassDef(name=found) | ast.AnnAssign(target=ast.Name(id=found)) if found == name:
                return module, statement
            case ast.ImportFrom(names=names) if any((alias.asname or alias.name) == name for alias in names):
                source = _imported_from(module, statement)
                return _definition(source, name) if source.partition(".")[0] == "torchjd" else None
    return None


def _imported_from(module: str, statement: ast.ImportFrom) -> str:
    package = module if _file(module).name == "__init__.py" else module.rpartition(".")[0]
    return importlib.util.resolve_name("." * statement.level + (statement.module or ""), package)


@functools.cache
def _exported(module: str) -> tuple[str, ...]:
    """The names in ``__all__``."""
    for statement in _tree(module).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return tuple(ast.literal_eval(value))
    raise ConfigError(f"TorchJD {version()}: {module} names no public classes (__all__)")


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _file(module: str) -> Path:
    """The source file of one of TorchJD's modules.

    Raises:
        ConfigError: TorchJD is not installed.
    """
    found = importlib.util.find_spec("torchjd")  # of a top-level name: nothing is imported
    if found is None or found.origin is None:
        raise ConfigError("a method torchjd:<Class> needs TorchJD, which is not installed; pip install torchjd")
    path = Path(found.origin).parent.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
