"""Asking a SLURM cluster, and reading its answers."""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from tasktrace.errors import TasktraceError

NEEDED = ("sinfo", "scontrol", "squeue", "sbatch", "scancel")
"""The commands without which no job can be submitted, watched and ended."""

_SECONDS = 20
"""How long a command may take: with its controller away one waits much longer by itself."""

_SEPARATOR = "\x1f"
"""Between fields; no name, path or comment has it."""

_UNUSABLE = {"down", "drained", "draining", "drain", "drng", "error", "fail", "failing", "future", "inval", "unknown"}


class ClusterError(TasktraceError):
    """The cluster does not answer, or does not do what it was asked."""


@dataclass(frozen=True)
class Node:
    """A node of a partition.

    Attributes:
        name: Its name.
        cpus: CPUs that SLURM gives out.
        memory_mb: Memory in MB.
        gpus: How many of each type; the type is empty where the cluster names none.
        state: What ``sinfo`` calls its state, such as ``idle`` or ``down*``.
    """

    name: str
    cpus: int
    memory_mb: int
    gpus: Mapping[str, int]
    state: str

    @property
    def is_usable(self) -> bool:
        """Whether it answers and takes jobs, now or once those that it has are done."""
        return not self.state.endswith("*") and self.state.rstrip("~#!%$@^-+") not in _UNUSABLE


@dataclass(frozen=True)
class Partition:
    """A partition with its nodes.

    Attributes:
        name: Its name.
        facts: What ``scontrol show partition`` says of it, by its names.
        nodes: Its nodes.
    """

    name: str
    facts: Mapping[str, str]
    nodes: tuple[Node, ...]

    @property
    def max_minutes(self) -> int | None:
        """The longest time that a job may ask for; None if there is no limit."""
        return parse_minutes(self.facts.get("MaxTime", "UNLIMITED"))

    @property
    def max_mb(self) -> int | None:
        """The most memory that a job may ask for on one node, beside what the node has; None if there is no limit."""
        return _number(self.facts.get("MaxMemPerNode", "UNLIMITED"))

    @property
    def max_cpus(self) -> int | None:
        """The most CPUs that a job may ask for on one node, beside what the node has; None if there is no limit."""
        return _number(self.facts.get("MaxCPUsPerNode", "UNLIMITED"))

    @property
    def tier(self) -> int:
        """Jobs of a partition of a higher tier may push its jobs out."""
        return int(self.facts.get("PriorityTier", "1"))

    def allows(self, what: str, names: set[str]) -> bool:
        """Whether the partition is open to any of the names.

        Args:
            what: ``Groups``, ``Accounts`` or ``Qos``.
            names: Those that the job has.
        """
        allowed, denied = self.listed(f"Allow{what}"), self.listed(f"Deny{what}")
        return not names & denied and (not allowed or bool(names & allowed))

    def listed(self, fact: str) -> set[str]:
        """The names in a fact; none if it holds for all."""
        text = self.facts.get(fact, "ALL")
        return set() if text in ("ALL", "(null)", "N/A") else set(text.split(","))


@dataclass(frozen=True)
class Cluster:
    """A cluster as its controller describes it.

    Attributes:
        config: What ``scontrol show config`` says, by its names.
        partitions: By name.
    """

    config: Mapping[str, str]
    partitions: Mapping[str, Partition]

    @property
    def name(self) -> str:
        """The cluster's name."""
        return self.config.get("ClusterName", "?")

    @property
    def default_partition(self) -> str | None:
        """Where jobs go that do not say it."""
        return next((name for name, own in self.partitions.items() if own.facts.get("Default") == "YES"), None)

    @property
    def keeps_accounts(self) -> bool:
        """Whether there is a database of accounts and of past jobs."""
        kind = self.config.get("AccountingStorageType", "(null)").rpartition("/")[2]
        return kind not in ("none", "(null)", "")

    @property
    def enforces(self) -> set[str]:
        """What of the accounting a job is refused for: associations, limits, qos."""
        return set(self.config.get("AccountingStorageEnforce", "none").split(","))

    @property
    def min_job_age(self) -> int | None:
        """Seconds for which ``squeue`` still knows a finished job; None if the controller does not say."""
        found = re.match(r"(\d+)\s*(h?)", self.config.get("MinJobAge", ""))
        return None if found is None else int(found[1]) * (3600 if found[2] else 1)


def ask(*command: str) -> str:
    """What a command of SLURM's prints.

    Raises:
        ClusterError: It is absent, fails, or takes too long; with what it says.
    """
    said = " ".join([word for word in command if not word.startswith("-")][:3])
    try:
        done = subprocess.run(
            command, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS
        )
    except FileNotFoundError:
        raise ClusterError(
            f"{command[0]}: no such command; SLURM's commands have to be on PATH: log in to the cluster's login node, "
            "or load its module, `module load slurm`"
        ) from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"`{said}` did not answer within {_SECONDS} s; is the cluster's controller up?") from None
    if done.returncode:
        raise ClusterError(f"`{said}` failed: {' '.join((done.stderr or done.stdout).split()) or done.returncode}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Without the variables by which a user has the commands leave something out or print it in another form."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SQUEUE_", "SINFO_", "SCONTROL_", "SLURM_TIME_FORMAT"))
    }


def columns(*formats: str) -> str:
    """The option by which ``squeue`` and ``sinfo`` print lines that :func:`rows` reads."""
    return f"--format={_SEPARATOR.join(formats)}"


def rows(text: str) -> list[list[str]]:
    """The fields of every line of what :func:`columns` made a command print."""
    return [[field.strip() for field in line.split(_SEPARATOR)] for line in text.splitlines() if line.strip()]


def read_cluster() -> Cluster:
    """The cluster that SLURM's commands reach.

    Raises:
        ClusterError: It does not answer.
    """
    config = ask("scontrol", "show", "config")
    partitions = ask("scontrol", "--all", "--oneliner", "show", "partition")
    nodes = ask("sinfo", "--all", "--noheader", "--Node", columns("%R", "%N", "%c", "%m", "%G", "%T"))
    return Cluster(parse_config(config), parse_partitions(partitions, nodes))


def parse_config(text: str) -> dict[str, str]:
    """What ``scontrol show config`` says, by its names."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def parse_partitions(partitions: str, nodes: str) -> dict[str, Partition]:
    """The partitions by name.

    Args:
        partitions: What ``scontrol show partition --oneliner`` prints.
        nodes: What ``sinfo`` prints of every node in every partition: partition, name, CPUs, MB, GRES, state.
    """
    below: dict[str, list[Node]] = {}
    for partition, name, cpus, memory, gres, state in rows(nodes):
        node = Node(name, _leading_number(cpus), _leading_number(memory), parse_gpus(gres), state)
        below.setdefault(partition, []).append(node)
    facts = (dict(re.findall(r"(\w+)=(\S*)", line)) for line in partitions.splitlines() if "PartitionName=" in line)
    return {
        own["PartitionName"]: Partition(own["PartitionName"], own, tuple(below.get(own["PartitionName"], [])))
        for own in facts
    }


def parse_gpus(gres: str) -> dict[str, int]:
    """How many GPUs of each type a node has, of its GRES such as ``gpu:a100:4(S:0-1),gpu:v100:2`` or ``gpu:2``.

    The type is empty where the cluster names none.
    """
    found: dict[str, int] = {}
    for entry in re.sub(r"\([^)]*\)", "", gres).split(","):
        name, *rest = entry.strip().split(":")
        if name == "gpu":
            count = int(rest.pop()) if rest and rest[-1].isdecimal() else 1
            kind = rest[0] if rest else ""
            found[kind] = found.get(kind, 0) + count
    return found


def parse_minutes(text: str) -> int | None:
    """Whole minutes of a time such as ``1-12:00:00`` or ``00:30:00``; None of ``UNLIMITED``."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):\d+", text)
    if found is None:
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _leading_number(text: str) -> int:
    """The number of a field such as ``64000`` or, where nodes differ, ``64000+``."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
