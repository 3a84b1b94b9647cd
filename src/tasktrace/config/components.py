"""A component with its options, from a block of the configuration to the part of a spec that it becomes."""

from collections.abc import Collection
from typing import Any

from tasktrace.config.declarations import Declaration, declaration
from tasktrace.config.options import check_options
from tasktrace.errors import ConfigError

Spec = dict[str, Any]


def component(kind: str, name: str, options: Spec, where: str) -> Spec:
    """The spec of a component: its name, its version and the options that differ from their defaults.

    Args:
        kind: See :class:`tasktrace.config.declarations.Declaration`.
        name: The component's name.
        options: Its options as configured.
        where: What to call their place in messages.

    Raises:
        ConfigError: No such component, or options that it does not take.
    """
    declared = declared_at(where, kind, name)
    packages = {"packages": declared.packages} if declared.packages else {}
    return {"name": name, "version": declared.version, **packages, **check_options(declared.options, options, where)}


def named(kind: str, block: Spec, where: str) -> Spec:
    """The spec of a block such as ``{method: umtg, scale: sum}``, whose key ``kind`` names the component."""
    options = {key: value for key, value in block.items() if key != kind}
    return component(kind, block[kind], options, where)


def declared_at(where: str, kind: str, name: str) -> Declaration:
    """The declaration of a component; the error for an unknown one says where it was asked for."""
    try:
        return declaration(kind, name)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def component_options(spec: Spec) -> Spec:
    """The options in a component's part of a spec."""
    return {key: value for key, value in spec.items() if key not in ("name", "version", "packages")}


def check_known(name: str, known: Collection[str], kind: str, where: str) -> None:
    """Refuse a name that is not among those that are known.

    Raises:
        ConfigError: It names the place, what was found and what is allowed.
    """
    if name not in known:
        raise ConfigError(f"{where}: unknown {kind} {name!r}; allowed: {', '.join(known)}")
