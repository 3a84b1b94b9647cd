"""Whether there is a place on the cluster where a job can start."""

import grp
import os
import re

from tasktrace.cluster.expressions import is_on_runs
from tasktrace.cluster.profile import Profile
from tasktrace.cluster.requests import Asked, chosen_by
from tasktrace.cluster.slurm import Cluster, Node, Partition

SETTING_FILES = "{files}"
"""In a message, the place of the files of the settings whose jobs it is about."""

LEAST_MB = 600
"""What a job takes before its program starts: the two processes of Snakemake's in it."""


def partitions_of(asked: Asked, cluster: Cluster) -> list[Partition]:
    """The partitions of the cluster in which a job may start."""
    names = asked.partitions or (cluster.default_partition or "",)
    return [cluster.partitions[name] for name in names if name in cluster.partitions]


def place_faults(asked: Asked, profile: Profile, cluster: Cluster) -> list[str]:
    """Why a job can start in none of its partitions; nothing if it can.

    Args:
        asked: What is asked for the job.
        profile: Where that is said.
        cluster: What there is.
    """
    if "slurm_partition" in asked.unknown:
        return []
    by = chosen_by(profile, asked.request.kind, "slurm_partition")
    if not asked.partitions and cluster.default_partition is None:
        return [f"the cluster has no default partition, and none is asked for; it has {_open(cluster)}; set {by}"]
    unknown = [name for name in asked.partitions if name not in cluster.partitions]
    if unknown:
        return [f"no partition {name!r}; the cluster has {_open(cluster)}; set {by}" for name in unknown]
    faults = [_partition_faults(asked, profile, own, cluster) for own in partitions_of(asked, cluster)]
    return [] if [] in faults else [fault for own in faults for fault in own]


def _open(cluster: Cluster) -> str:
    """The partitions that are shown to the user."""
    shown = [own.name for own in cluster.partitions.values() if own.facts.get("Hidden") != "YES" and _is_open(own)]
    return ", ".join(shown) or "none for this user"


def _is_open(partition: Partition) -> bool:
    return os.geteuid() == 0 or partition.allows("Groups", _groups())


def _groups() -> set[str]:
    found = set()
    for number in {os.getegid(), *os.getgroups()}:
        try:
            found.add(grp.getgrgid(number).gr_name)
        except KeyError:
            continue  # a group that only has a number
    return found


def _partition_faults(asked: Asked, profile: Profile, partition: Partition, cluster: Cluster) -> list[str]:
    by = chosen_by(profile, asked.request.kind, "slurm_partition")
    state = partition.facts.get("State", "UP")
    if state != "UP":
        return [f"partition {partition.name} is {state}: jobs do not start in it; set {by} to another"]
    if not partition.nodes:
        return [f"partition {partition.name} has no nodes; set {by} to another"]
    if not _is_open(partition):
        groups = ", ".join(sorted(partition.listed("AllowGroups")))
        return [f"partition {partition.name} is for the groups {groups} only; set {by} to another"]
    return [*_node_faults(asked, profile, partition, cluster), *_time_faults(asked, profile, partition)]


def _time_faults(asked: Asked, profile: Profile, partition: Partition) -> list[str]:
    longest = partition.max_minutes
    if longest is None or asked.runtime is None or asked.runtime <= longest:
        return []
    by = chosen_by(profile, asked.request.kind, "slurm_partition")
    return [
        f"{asked.runtime} minutes{asked.shared} are more than partition {partition.name} lets a job take, "
        f"{longest} (MaxTime): lower {_said_in(asked, profile, 'runtime')}, or set {by} to another"
    ]


def _node_faults(asked: Asked, profile: Profile, partition: Partition, cluster: Cluster) -> list[str]:
    """Why no node of the partition has what is asked for, all of it on the same node."""
    faults: list[str] = []
    nodes = list(partition.nodes)
    if asked.gpu:
        with_gpus = [node for node in nodes if _gpus(node, asked.gpu_type) >= asked.gpu]
        faults += [] if with_gpus else [_gpu_fault(asked, profile, partition, cluster)]
        nodes = with_gpus or nodes
    kept = " with such a GPU" if asked.gpu and not faults else ""
    largest = _most([node.memory_mb for node in nodes], partition.max_mb)
    if asked.mem_mb is not None and asked.mem_mb > largest:
        faults.append(
            f"{asked.mem_mb} MB{asked.shared} are more than any node{kept} of partition {partition.name} has, "
            f"{largest} MB: lower {_said_in(asked, profile, 'mem_mb')}"
        )
    else:
        nodes = [node for node in nodes if asked.mem_mb is None or node.memory_mb >= asked.mem_mb]
    threads, most = asked.threads, _most([node.cpus for node in nodes], partition.max_cpus)
    if threads > most:
        faults.append(
            f"{threads} threads{asked.shared} are more than any such node of partition {partition.name} has CPUs, "
            f"{most}: set `set-threads: {{{asked.request.kind}: {most}}}` in {profile.path}"
        )
    return faults


def _most(found: list[int], limit: int | None) -> int:
    return max(found) if limit is None else min(limit, max(found))


def _gpus(node: Node, kind: str) -> int:
    """How many GPUs of a type a node has; of any, if no type is named."""
    return node.gpus.get(kind, 0) if kind else sum(node.gpus.values())


def _gpu_fault(asked: Asked, profile: Profile, partition: Partition, cluster: Cluster) -> str:
    kind = asked.request.kind
    elsewhere = [
        own.name for own in cluster.partitions.values() if any(_gpus(node, asked.gpu_type) for node in own.nodes)
    ]
    types = sorted({name for node in partition.nodes for name in node.gpus})
    most = max(_gpus(node, asked.gpu_type) for node in partition.nodes)
    partitions = f"set {chosen_by(profile, kind, 'slurm_partition')}"
    without = f"say {_said_in(asked, profile, 'gpu', '0')} to go without"
    there = f"partitions with one: {', '.join(elsewhere) or 'none'}"
    if not types:
        return f"no node of partition {partition.name} has a GPU; {there}; {partitions}, or {without}"
    if not most:
        named = ", ".join(name or "GPUs without a type" for name in types)
        return (
            f"no node of partition {partition.name} has a GPU of type {asked.gpu_type!r} (capital letters count), only "
            f"{named}; {there}; set {chosen_by(profile, kind, 'gpu_model')}"
        )
    return (
        f"{asked.gpu} GPUs{asked.shared} are more than any node of partition {partition.name} has, {most}: say "
        f"{_said_in(asked, profile, 'gpu', str(most))}"
    )


def _said_in(asked: Asked, profile: Profile, resource: str, value: str = "...") -> str:
    """Where a rule's resource is said: in the setting if the rule asks it, unless the profile overrules that."""
    kind = asked.request.kind
    if profile.overrules(kind, resource):
        return f"{resource} ({profile.place(kind, resource)})"
    if is_on_runs(kind) and resource == "runtime":
        stage = kind.partition("_")[0]
        return f"`resources: {{minutes: {{{stage}: {value}}}}}` in {SETTING_FILES}"
    if is_on_runs(kind) or (resource == "mem_mb" and kind in ("prepare", "corrupt")):
        return f"`resources: {{{resource}: {value}}}` in {SETTING_FILES}"
    return f"`set-resources: {{{kind}: {{{resource}: {value}}}}}` in {profile.path}"


def request_faults(asked: Asked, profile: Profile) -> list[str]:
    """What is wrong with a request on any cluster."""
    kind = asked.request.kind
    faults = []
    if asked.mem_mb is not None and asked.mem_mb < LEAST_MB:
        faults.append(
            f"{asked.mem_mb} MB are too little: Snakemake's own processes in the job take {LEAST_MB} MB; raise "
            f"{_said_in(asked, profile, 'mem_mb')}"
        )
    if asked.gpu_type and not re.fullmatch(r"[A-Za-z0-9_.]+", asked.gpu_type):
        faults.append(
            f"GPU type {asked.gpu_type!r}: Snakemake takes letters, digits, _ and . only; set "
            f"{chosen_by(profile, kind, 'gpu_model')}"
        )
    if asked.gpu_type and not asked.gpu and not is_on_runs(kind) and "gpu" not in profile.table("default-resources"):
        faults.append(
            f"the GPU type {asked.gpu_type!r} makes Snakemake ask for a GPU for rule {kind}, which uses none: say "
            f"gpu_model in {profile.place(kind, 'gpu_model')} for runs only, if hasattr(wildcards, 'arm')"
        )
    return faults
