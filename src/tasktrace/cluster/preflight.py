"""What a cluster lacks for the study's jobs, found before any of them is submitted.

As it comes, SLURM takes in many a job that can never start, one that asks for more time than its partition gives for
instance, and lets it wait for ever.
"""

import importlib.util
import shutil
from collections.abc import Callable, Iterable

from tasktrace.cluster.accounts import Accounts, read_accounts
from tasktrace.cluster.allowed import allowed_faults, unaccounted_faults
from tasktrace.cluster.fits import SETTING_FILES, place_faults, request_faults
from tasktrace.cluster.profile import Profile
from tasktrace.cluster.requests import Asked, Request, asked_for, who
from tasktrace.cluster.slurm import NEEDED, Cluster, ClusterError, read_cluster
from tasktrace.cluster.status import status_troubles
from tasktrace.cluster.survey import described, warnings
from tasktrace.errors import ConfigError


def cluster_faults(profile: Profile, requests: Iterable[Request], say: Callable[[str], None]) -> list[str]:
    """What has to be put right before the study's jobs can run on the cluster that this machine reaches.

    Args:
        profile: Says where jobs go.
        requests: What the workflow asks for them.
        say: Is given every line about what was found, and every warning.

    Returns:
        One line for each fault, which says whom it concerns and what to change; none if all jobs can start.
    """
    if profile.executor != "slurm":
        say(f"jobs are run by executor {profile.executor or 'local'} ({profile.path}): there is no cluster to ask")
        return []
    faults = _missing_parts()
    asked, failed = _all_asked(requests, profile)
    faults += failed
    if any(shutil.which(command) is None for command in NEEDED):
        return faults
    try:
        cluster = read_cluster()
    except ClusterError as error:
        return [*faults, str(error)]
    accounts, refused = _accounts(asked, profile, cluster)
    lost, doubtful = status_troubles(profile, cluster)
    for line in described(asked, cluster, accounts):
        say(line)
    for warning in [*warnings(asked, profile, cluster), *doubtful]:
        say(f"warning: {warning}")
    return [*faults, *refused, *_job_faults(asked, profile, cluster, accounts), *lost]


def _missing_parts() -> list[str]:
    """What this installation, or this machine, lacks to submit jobs at all."""
    faults = []
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        faults.append("Snakemake has no plugin for SLURM here: pip install '.[slurm]'")
    absent = [command for command in NEEDED if shutil.which(command) is None]
    if absent:
        faults.append(
            f"no {', '.join(absent)} on PATH: log in to the cluster's login node, or load its module, "
            "`module load slurm`"
        )
    return faults


def _all_asked(requests: Iterable[Request], profile: Profile) -> tuple[list[Asked], list[str]]:
    """What SLURM is asked for each request, and why that cannot be said of some."""
    asked, failed = [], []
    for request in requests:
        try:
            asked.append(asked_for(request, profile))
        except ConfigError as error:
            failed.append(str(error))
    return asked, list(dict.fromkeys(failed))


def _accounts(asked: list[Asked], profile: Profile, cluster: Cluster) -> tuple[Accounts | None, list[str]]:
    """What the accounting knows of the user, if there is one, and what keeps it from being asked."""
    if not cluster.keeps_accounts:
        return None, unaccounted_faults(asked, profile, cluster)
    try:
        return read_accounts(cluster.name), []
    except ClusterError as error:
        return None, [str(error)]


def _job_faults(asked: list[Asked], profile: Profile, cluster: Cluster, accounts: Accounts | None) -> list[str]:
    """A line for each fault of jobs; those of several settings share one."""
    concerned: dict[str, list[Request]] = {}
    for own in asked:
        faults = [*request_faults(own, profile), *place_faults(own, profile, cluster)]
        if accounts is not None:
            faults += allowed_faults(own, profile, cluster, accounts)
        for fault in faults:
            concerned.setdefault(fault, []).append(own.request)
    return [f"{who(whose)}: {fault.replace(SETTING_FILES, _files(whose))}" for fault, whose in concerned.items()]


def _files(requests: list[Request]) -> str:
    return ", ".join(dict.fromkeys(f"config/settings/{request.setting}.yaml" for request in requests))
