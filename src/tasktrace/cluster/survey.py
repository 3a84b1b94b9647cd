"""What was found on a cluster, for a person to read, and what may go wrong there though every job can start."""

from tasktrace.cluster.accounts import Accounts
from tasktrace.cluster.fits import partitions_of
from tasktrace.cluster.profile import Profile
from tasktrace.cluster.requests import Asked, Request, chosen_by, who
from tasktrace.cluster.slurm import Cluster, Partition


def described(asked: list[Asked], cluster: Cluster, accounts: Accounts | None) -> list[str]:
    """One line for the cluster, one for each partition that jobs are for, and one for the user's accounts.

    Args:
        asked: What is asked for each kind of job.
        cluster: What there is.
        accounts: What the accounting knows of the user; None where there is none.
    """
    names = (f"{name} (default)" if name == cluster.default_partition else name for name in cluster.partitions)
    lines = [f"cluster {cluster.name}: SLURM {cluster.config.get('SLURM_VERSION', '?')}, partitions {', '.join(names)}"]
    for name, requests in _by_partition(asked, cluster).items():
        lines.append(f"partition {name}: {_shape(cluster.partitions[name])}; for {who(requests)}")
    if accounts is not None:
        own = ", ".join(accounts.qos) or "none"
        lines.append(f"user {accounts.user}: accounts {own}, default {accounts.default or 'none'}")
    return lines


def warnings(asked: list[Asked], profile: Profile, cluster: Cluster) -> list[str]:
    """What is no fault, but may be meant otherwise or come to one."""
    return [
        *_unchecked(asked),
        *_without_effect(asked, profile, cluster),
        *_preempted(asked, cluster),
        *_away(asked, cluster),
    ]


def _by_partition(asked: list[Asked], cluster: Cluster) -> dict[str, list[Request]]:
    """By partition the requests whose jobs may start in it."""
    found: dict[str, list[Request]] = {}
    for own in asked:
        for partition in partitions_of(own, cluster):
            found.setdefault(partition.name, []).append(own.request)
    return found


def _shape(partition: Partition) -> str:
    """What a partition has, in words."""
    nodes = partition.nodes
    if not nodes:
        return "no nodes"
    types = {name: max(node.gpus.get(name, 0) for node in nodes) for node in nodes for name in node.gpus}
    gpus = " and ".join(f"{count} {name or 'untyped'} GPU" for name, count in sorted(types.items())) or "no GPU"
    longest = "no time limit" if partition.max_minutes is None else f"{partition.max_minutes} minutes"
    return (
        f"{len(nodes)} node{'s' * (len(nodes) > 1)}, on one at most {max(node.cpus for node in nodes)} CPUs, "
        f"{max(node.memory_mb for node in nodes)} MB, {gpus}; {longest}"
    )


def _unchecked(asked: list[Asked]) -> list[str]:
    found = (
        f"{resource} of rule {own.request.kind} depends on {why}: not checked"
        for own in asked
        for resource, why in own.unknown.items()
    )
    return list(dict.fromkeys(found))


def _without_effect(asked: list[Asked], profile: Profile, cluster: Cluster) -> list[str]:
    """What only an accounting gives a meaning."""
    if cluster.keeps_accounts:
        return []
    found = [
        f"{resource} {name!r} has no effect, since cluster {cluster.name} keeps no accounting; unset "
        f"{chosen_by(profile, own.request.kind, resource)}"
        for own in asked
        for resource, names in (("slurm_account", own.accounts), ("qos", (own.qos,)))
        for name in names
        if name
    ]
    return list(dict.fromkeys(found))


def _preempted(asked: list[Asked], cluster: Cluster) -> list[str]:
    """Where jobs can be pushed out for good."""
    if cluster.config.get("PreemptType", "preempt/none").endswith("none"):
        return []
    highest = max((own.tier for own in cluster.partitions.values()), default=0)
    by_tier = cluster.config["PreemptType"].endswith("partition_prio")
    return [
        f"partition {name}: a job that another pushes out is cancelled, not queued again (PreemptMode=CANCEL), and "
        "Snakemake waits for it for ever: end Snakemake and start it again, or take another partition"
        for name in _by_partition(asked, cluster)
        if cluster.partitions[name].facts.get("PreemptMode") == "CANCEL"
        and (not by_tier or cluster.partitions[name].tier < highest)
    ]


def _away(asked: list[Asked], cluster: Cluster) -> list[str]:
    """Where all nodes are away at the moment."""
    found = []
    for name in _by_partition(asked, cluster):
        nodes = cluster.partitions[name].nodes
        if nodes and not any(node.is_usable for node in nodes):
            states = ", ".join(sorted({node.state for node in nodes}))
            found.append(f"partition {name}: none of its nodes takes jobs now ({states}); jobs wait until one does")
    return found
