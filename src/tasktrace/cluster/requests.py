"""What the study's jobs ask of a cluster: their rules' resources and their settings', with the profile's on top."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tasktrace.cluster.expressions import Unknown, Value, is_on_runs
from tasktrace.cluster.profile import Profile
from tasktrace.errors import ConfigError


@dataclass(frozen=True)
class Request:
    """What the workflow says of the jobs of one rule on one setting.

    Attributes:
        kind: The rule, such as ``train``.
        setting: The setting.
        mem_mb: Memory in MB.
        runtime: Time in minutes.
        gpu: GPUs.
        threads: CPUs.
    """

    kind: str
    setting: str
    mem_mb: int
    runtime: int
    gpu: int
    threads: int


@dataclass(frozen=True)
class Asked:
    """What SLURM is asked for such a job; what the profile leaves to the cluster is empty.

    Attributes:
        request: What the workflow says.
        partitions: The job may start in any of them.
        accounts: The plugin takes the first.
        qos: The quality of service.
        gpu_type: The type of the GPUs.
        mem_mb: Memory in MB; None if it is not known before the job is submitted.
        runtime: Time in minutes; None likewise.
        gpu: GPUs; None likewise.
        threads: CPUs.
        shared: What to say of numbers that are of several jobs in one; empty if they are not.
        unknown: By resource what its value depends on.
    """

    request: Request
    partitions: tuple[str, ...]
    accounts: tuple[str, ...]
    qos: str
    gpu_type: str
    mem_mb: int | None
    runtime: int | None
    gpu: int | None
    threads: int
    shared: str
    unknown: Mapping[str, str]


def asked_for(request: Request, profile: Profile) -> Asked:
    """What SLURM is asked for the jobs of a request.

    Raises:
        ConfigError: An expression in the profile fails, or is taken for a text.
    """
    given = profile.resources(request.kind, request.setting, request.threads)
    for resource in ("slurm_partition", "slurm_account", "gpu_model", "qos"):
        if re.search(r"[()'\"]", _text(given.get(resource))):
            raise ConfigError(
                f"{profile.place(request.kind, resource)}: {resource} for rule {request.kind} is the text "
                f"{given[resource]}: Snakemake takes an expression for a text if it uses a name that there is not; no "
                "module has a name there, not even os: use __use_yte__ and __definitions__"
            )

    def number(resource: str, own: int) -> int | None:
        value = given.get(resource) if profile.overrules(request.kind, resource) else own
        return value if isinstance(value, int) else None

    threads = _entry(profile, "set-threads", request.kind) or request.threads
    gpu = number("gpu", request.gpu)
    members, place = _group(request, profile)
    abreast = _abreast(members, gpu, profile)
    return Asked(
        request=request,
        partitions=_names(given.get("slurm_partition")),
        accounts=_names(given.get("slurm_account")),
        qos=profile.options.get("slurm-qos") or _text(given.get("qos")),
        gpu_type=_text(given.get("gpu_model")),
        mem_mb=_times(number("mem_mb", request.mem_mb), abreast),
        runtime=_times(number("runtime", request.runtime), math.ceil(members / abreast)),
        gpu=_times(gpu, abreast),
        threads=threads * abreast,
        shared=f" (of {members} jobs in one: {place})" if members > 1 else "",
        unknown={name: value.why for name, value in given.items() if isinstance(value, Unknown)},
    )


def _group(request: Request, profile: Profile) -> tuple[int, str]:
    """How many jobs share an allocation at most, and where the profile says so."""
    stem = f"{request.kind}_{request.setting}"
    sizes = {
        name: _entry(profile, "group-components", name) or 1 for name in (stem, f"{stem}_alone", f"{stem}_together")
    }
    largest = max(sizes, key=lambda name: sizes[name])
    return sizes[largest], profile.option_place("group-components", largest)


def _entry(profile: Profile, option: str, name: str) -> int | None:
    """A number in a table of the profile; None if it is not there.

    Raises:
        ConfigError: It is no number.
    """
    text = profile.table(option).get(name)
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise ConfigError(f"{profile.option_place(option, name)}: {option}: {name}: expected a whole number, found {text}")


def _abreast(members: int, gpu: int | None, profile: Profile) -> int:
    """How many jobs of a group run at a time: as many as the GPUs that the profile gives a group, if they use any."""
    is_local = profile.table("set-resource-scopes").get("gpu") == "local"
    limit = _entry(profile, "resources", "gpu")
    return min(members, max(1, limit // gpu)) if gpu and is_local and limit is not None else members


def _times(number: int | None, factor: int) -> int | None:
    return None if number is None else number * factor


_VARIABLES = {"slurm_account": "TASKTRACE_ACCOUNT", "gpu_model": "TASKTRACE_GPU_TYPE", "qos": "TASKTRACE_QOS"}


def chosen_by(profile: Profile, kind: str, resource: str) -> str:
    """What a person changes to choose a resource of a rule's jobs: an environment variable or a line of the profile.

    Args:
        profile: Where it is said.
        kind: The rule.
        resource: ``slurm_partition``, ``slurm_account``, ``gpu_model`` or ``qos``.
    """
    if resource == "qos" and "slurm-qos" in profile.options:
        resource, place = "slurm-qos", profile.option_place("slurm-qos")
    else:
        place = profile.place(kind, resource)
    partition = "TASKTRACE_GPU_PARTITION" if is_on_runs(kind) else "TASKTRACE_CPU_PARTITION"
    variable = _VARIABLES.get(resource.removeprefix("slurm-"), partition)
    is_used = variable in profile.variables and not profile.overrules(kind, resource)
    return f"{variable if is_used else resource} ({place})"


def who(requests: list[Request]) -> str:
    """Settings with their rules, ``digits, fashion (train, measure)``."""
    rules: dict[str, list[str]] = {}
    for request in requests:
        rules.setdefault(request.setting, []).append(request.kind)
    settings: dict[str, list[str]] = {}
    for setting, kinds in rules.items():
        settings.setdefault(", ".join(dict.fromkeys(kinds)), []).append(setting)
    return ", ".join(f"{', '.join(names)} ({kinds})" for kinds, names in settings.items())


def _names(value: Value) -> tuple[str, ...]:
    return tuple(_text(value).replace(",", " ").split())


def _text(value: Value) -> str:
    return "" if value is None or isinstance(value, Unknown) else str(value)
