"""Snakemake's profiles: what one makes every job ask of a cluster, read as Snakemake reads it."""

import importlib.metadata
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasktrace.cluster.expressions import ExpressionError, Value, evaluated, names_for
from tasktrace.errors import ConfigError

_TABLES = ("default-resources", "resources", "set-resource-scopes", "set-threads", "group-components")

_CONFIG_NAME = re.compile(r"(?:profile|config)(?:\.v(?P<major>\d+)\+)?\.yaml")


@dataclass(frozen=True)
class Profile:
    """What a profile says about where and how jobs run.

    Attributes:
        path: Its file.
        executor: Where jobs run; None is this machine.
        tables: By its long name every option of the form ``name=value``, such as ``default-resources``, by name.
        set_resources: By rule and resource what overrules the rule: a number, a name or an expression.
        options: By its long name every option that is neither list nor mapping, as Snakemake gets it.
        lines: Where a key stands in the file, by the keys on the way to it; counted from one.
        variables: The environment variables ``TASKTRACE_...`` that the file mentions.
    """

    path: Path
    executor: str | None
    tables: Mapping[str, Mapping[str, str]]
    set_resources: Mapping[str, Mapping[str, str]]
    options: Mapping[str, str]
    lines: Mapping[tuple[str, ...], int]
    variables: frozenset[str]

    def table(self, option: str) -> Mapping[str, str]:
        """The values of an option of the form ``name=value``, by name; none if the profile does not give it."""
        return self.tables.get(option, {})

    def resources(self, kind: str, setting: str, threads: int = 1) -> dict[str, Value]:
        """The resources that the profile gives a job at its first attempt, ``mem`` as ``mem_mb``.

        Args:
            kind: The job's rule.
            setting: The job's setting.
            threads: The job's threads.

        Returns:
            By name the values, ``Unknown`` where one depends on more than the job's rule and setting.

        Raises:
            ConfigError: An expression fails, or comes to something that a resource cannot be.
        """
        names = names_for(kind, setting, threads)
        found: dict[str, Value] = {}
        for resource, text in {**self.table("default-resources"), **self.set_resources.get(kind, {})}.items():
            try:
                found[_spelt(resource)] = evaluated(resource, text, names)
            except ExpressionError as error:
                raise ConfigError(
                    f"{self.place(kind, resource)}: {resource}: {text}: fails for rule {kind}: {error}; a wildcard "
                    "that not every rule has needs the question hasattr(wildcards, 'arm') before it, and a text that "
                    "Python would take for something of its own a second pair of quotes, \"'all'\""
                ) from error
        return found

    def overrules(self, kind: str, resource: str) -> bool:
        """Whether the profile's ``set-resources`` overrule what a rule itself says of a resource."""
        return resource in map(_spelt, self.set_resources.get(kind, {}))

    def place(self, kind: str, resource: str) -> str:
        """The file and line where a rule's jobs are given a resource; the file alone if nowhere."""
        names = (resource, resource.removesuffix("_mb"))
        own = [("set-resources", kind, name) for name in names]
        return self._at([*own, *(("default-resources", name) for name in names)])

    def option_place(self, *keys: str) -> str:
        """The file and line where an option stands, or a name below it; the file alone if nowhere."""
        return self._at([keys])

    def _at(self, keys: list[tuple[str, ...]]) -> str:
        line = next((self.lines[key] for key in keys if key in self.lines), None)
        return str(self.path) if line is None else f"{self.path}:{line}"


def read_profile(name: str) -> Profile:
    """The profile that ``snakemake --profile NAME`` takes, with its templates filled in.

    Args:
        name: A folder's or file's path, or the name of a folder where Snakemake looks for profiles.

    Raises:
        ConfigError: There is none, or it is not what a profile has to be.
    """
    import yte  # type: ignore[import-untyped]

    path = find_profile(name)
    text = path.read_text(encoding="utf-8")
    try:
        content = yte.process_yaml(text, require_use_yte=True)
    except Exception as error:  # a template may raise anything
        raise ConfigError(f"{path}: cannot be read as a profile: {type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected options and their values, found {type(content).__name__}")
    options = {
        str(key): _option(value, path.parent)
        for key, value in content.items()
        if value is not None and not isinstance(value, list | dict)
    }
    return Profile(
        path=path,
        executor=options.get("executor"),
        tables={name: dict(_assignment(item, path) for item in _items(content.get(name))) for name in _TABLES},
        set_resources=_by_rule(content.get("set-resources"), path),
        options=options,
        lines=_lines(yaml.compose(text, yaml.SafeLoader)),
        variables=frozenset(re.findall(r"TASKTRACE_[A-Z_]+", text)),
    )


def find_profile(name: str) -> Path:
    """The file of a profile, looked for as Snakemake does: here, in the user's folder, in the machine's.

    Raises:
        ConfigError: There is none.
    """
    from platformdirs import site_config_dir, user_config_dir

    folders = [Path(folder("snakemake", "snakemake")) for folder in (user_config_dir, site_config_dir)]
    tried = [Path(name)] if Path(name).exists() else [Path(name), *(folder / name for folder in folders)]
    for place in tried:
        if place.is_file():
            return place
        if place.is_dir() and (files := _config_files(place)):
            return max(files, key=lambda file: files[file])
    raise ConfigError(
        f"{name}: not a profile: no config.yaml or profile.yaml in {', '.join(map(str, tried))}; run tasktrace from "
        "the folder that holds config/, or give the profile's path"
    )


def _config_files(folder: Path) -> dict[Path, int]:
    """The files that the installed Snakemake would take, with the major version that each is for."""
    ours = int(importlib.metadata.version("snakemake").partition(".")[0])
    names = ((file, _CONFIG_NAME.fullmatch(file.name)) for file in folder.iterdir())
    majors = {file: int(found["major"] or 0) for file, found in names if found}
    return {file: major for file, major in majors.items() if major <= ours}


def _lines(node: yaml.Node | None, above: tuple[str, ...] = ()) -> dict[tuple[str, ...], int]:
    """The line of every key below ``node``; a template's own keys, such as ``?if``, are not on the way to others."""
    found: dict[tuple[str, ...], int] = {}
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    for key, value in pairs:
        here = above if str(key.value).startswith("?") else (*above, str(key.value))
        found = {**_lines(value, here), here: key.start_mark.line + 1, **found}
    for item in node.value if isinstance(node, yaml.SequenceNode) else []:
        if isinstance(item, yaml.ScalarNode):
            here = (*above, *item.value.partition("=")[0].split(":"))
            found = {here: item.start_mark.line + 1, **found}
        else:
            found = {**_lines(item, above), **found}
    return found


def _option(value: Any, folder: Path) -> str:
    """An option's value as Snakemake gets it: what exists in the profile's folder is meant with that folder."""
    text = os.path.expanduser(os.path.expandvars(str(value)))  # noqa: PTH111  (not always a path)
    return str(folder / text) if (folder / text).exists() else text


def _items(block: Any) -> list[str]:
    """The assignments ``name=value`` of a block, which may be a list of them or a mapping."""
    if isinstance(block, dict):
        return [f"{name}={_quoted(value)}" for name, value in block.items()]
    return list(map(str, block)) if isinstance(block, list) else str(block or "").split()


def _quoted(value: Any) -> Any:
    """A text that looks like a number, in the quotes that keep it a text; anything else as it is."""
    try:
        float(value)
    except (TypeError, ValueError):
        return value
    return repr(value)


def _assignment(item: str, path: Path) -> tuple[str, str]:
    name, equals, value = item.partition("=")
    if not equals:
        raise ConfigError(f"{path}: expected name=value, found {item!r}")
    return name, value


def _by_rule(block: Any, path: Path) -> dict[str, dict[str, str]]:
    if isinstance(block, dict):
        if not all(isinstance(own, dict) for own in block.values()):
            raise ConfigError(f"{path}: set-resources: expected rule: {{name: value}}, found {block}")
        return {str(rule): dict(_assignment(item, path) for item in _items(own)) for rule, own in block.items()}
    found: dict[str, dict[str, str]] = {}
    for item in _items(block):
        rule, colon, assignment = item.partition(":")
        if not colon:
            raise ConfigError(f"{path}: set-resources: expected rule:name=value, found {item!r}")
        name, value = _assignment(assignment, path)
        found.setdefault(rule, {})[name] = value
    return found


def _spelt(resource: str) -> str:
    """The name of a resource that has its unit in it."""
    return f"{resource}_mb" if resource in ("mem", "disk") else resource
