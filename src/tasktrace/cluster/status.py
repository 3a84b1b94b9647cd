"""Whether Snakemake's SLURM plugin learns what becomes of its jobs."""

import shutil

from tasktrace.cluster.profile import Profile
from tasktrace.cluster.slurm import Cluster

_FIRST_LOOK = 40
"""Seconds after which the plugin first looks at a job, if the profile does not say it."""


def status_troubles(profile: Profile, cluster: Cluster) -> tuple[list[str], list[str]]:
    """What keeps Snakemake from seeing that a job has ended.

    The plugin asks ``sacct``, which needs the accounting's database, or ``squeue``, which forgets a finished job after
    ``MinJobAge``. If that is less than three times the plugin's first wait it asks ``sacct``, whatever it was told.

    Returns:
        The faults, with which Snakemake would wait for ever, and the warnings.
    """
    has_sacct = shutil.which("sacct") is not None
    command = profile.options.get("slurm-status-command") or ("sacct" if has_sacct else "squeue")
    told = profile.option_place("slurm-status-command")
    if command == "sacct":
        lost = (
            f"Snakemake asks sacct for its jobs' states, and cluster {cluster.name} keeps no accounting, so it would "
        )
        return (
            [] if cluster.keeps_accounts else [f"{lost}wait for ever: set slurm-status-command: squeue ({told})"]
        ), []
    text = profile.options.get("slurm-init-seconds-before-status-checks", str(_FIRST_LOOK))
    first, age = int(text) if text.isdecimal() else _FIRST_LOOK, cluster.min_job_age
    if age is None or age >= 3 * first:
        return [], []
    place = profile.option_place("slurm-init-seconds-before-status-checks")
    shorter = f"set slurm-init-seconds-before-status-checks to at most {age // 3} ({place})"
    longer = f"ask the cluster's administrator for a MinJobAge of at least {3 * first}"
    remedy = shorter if age >= 3 else longer
    short = (
        f"squeue forgets a finished job after {age} s (MinJobAge), less than three times the first look at {first} s"
    )
    if cluster.keeps_accounts and has_sacct:
        return [], [f"{short}: Snakemake will ask sacct; {remedy}, or say slurm-status-command: sacct ({told})"]
    return [f"{short}, and there is no accounting for sacct, so Snakemake could wait for ever: {remedy}"], []
