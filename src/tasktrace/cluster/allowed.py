"""Whether a user may ask for the account, the QOS and the partition that jobs ask for."""

from tasktrace.cluster.accounts import Accounts
from tasktrace.cluster.fits import partitions_of
from tasktrace.cluster.profile import Profile
from tasktrace.cluster.requests import Asked, chosen_by
from tasktrace.cluster.slurm import Cluster, ClusterError, ask


def allowed_faults(asked: Asked, profile: Profile, cluster: Cluster, accounts: Accounts) -> list[str]:
    """What the cluster's accounting refuses, or lets wait for ever.

    Args:
        asked: What is asked for the job.
        profile: Where that is said.
        cluster: What there is, and what it enforces.
        accounts: What the accounting knows of the user.
    """
    faults = _account_faults(asked, profile, cluster, accounts)
    return faults or [
        *_qos_faults(asked, profile, cluster, accounts),
        *_partition_faults(asked, profile, cluster, accounts),
    ]


def unaccounted_faults(asked: list[Asked], profile: Profile, cluster: Cluster) -> list[str]:
    """What goes wrong with an account on a cluster that keeps no accounting.

    Snakemake's plugin looks the account up in ``sacctmgr``, then in ``sshare``, and gives up where neither answers.
    """
    given = next((own for own in asked if own.accounts), None)
    if given is None:
        return []
    try:
        ask("sshare", "--noheader", "-U")
    except ClusterError as error:
        by = chosen_by(profile, given.request.kind, "slurm_account")
        return [
            f"account {', '.join(given.accounts)!r} is asked for, but cluster {cluster.name} keeps no accounting, and "
            f"Snakemake will refuse to submit ({error}); unset {by}"
        ]
    return []


def _account_faults(asked: Asked, profile: Profile, cluster: Cluster, accounts: Accounts) -> list[str]:
    is_enforced = "associations" in cluster.enforces
    if not accounts.qos:
        lacking = (
            f"user {accounts.user} has no account in the accounting of cluster {cluster.name}; ask its administrator"
        )
        return [lacking] if is_enforced else []
    by = chosen_by(profile, asked.request.kind, "slurm_account")
    own = ", ".join(sorted(accounts.qos))
    if asked.accounts:
        return [
            f"user {accounts.user} has no account {name!r}, only {own}; set {by}"
            for name in asked.accounts
            if name.lower() not in accounts.qos
        ]
    if is_enforced and accounts.default is None and "slurm_account" not in asked.unknown:
        return [f"the cluster wants an account, and user {accounts.user} has no default one; set {by} to one of {own}"]
    return []


def _used(asked: Asked, accounts: Accounts) -> set[str]:
    """The accounts that the job may be for."""
    if asked.accounts:
        return {name.lower() for name in asked.accounts}
    return {accounts.default} if accounts.default and "slurm_account" not in asked.unknown else set(accounts.qos)


def _qos_faults(asked: Asked, profile: Profile, cluster: Cluster, accounts: Accounts) -> list[str]:
    qos = asked.qos.lower()
    if not qos:
        return []
    by = chosen_by(profile, asked.request.kind, "qos")
    if qos not in accounts.max_minutes:
        return [f"no QOS {asked.qos!r}; the cluster has {', '.join(accounts.max_minutes)}; set {by}"]
    used = _used(asked, accounts)
    allowed = set().union(*(accounts.qos.get(account, frozenset()) for account in used))
    if "qos" in cluster.enforces and accounts.qos and qos not in allowed:
        return [
            f"QOS {asked.qos!r} is not for account {', '.join(sorted(used))} of user {accounts.user}, which may ask "
            f"for {', '.join(sorted(allowed)) or 'none'}; set {by}"
        ]
    longest = accounts.max_minutes[qos]
    if "limits" in cluster.enforces and longest is not None and asked.runtime is not None and asked.runtime > longest:
        return [
            f"{asked.runtime} minutes{asked.shared} are more than QOS {asked.qos!r} lets a job take, {longest} "
            f"(MaxWall): set {by} to another, or ask for less time"
        ]
    return []


def _partition_faults(asked: Asked, profile: Profile, cluster: Cluster, accounts: Accounts) -> list[str]:
    by = chosen_by(profile, asked.request.kind, "slurm_partition")
    used = _used(asked, accounts)
    faults = [
        [
            f"partition {own.name} is not for {what} {', '.join(sorted(names))}; set {by} to another"
            for fact, what, names in (("Accounts", "account", used), ("Qos", "QOS", {asked.qos.lower()} - {""}))
            if names and not own.allows(fact, names)
        ]
        for own in partitions_of(asked, cluster)
    ]
    return [] if [] in faults else [fault for own in faults for fault in own]
