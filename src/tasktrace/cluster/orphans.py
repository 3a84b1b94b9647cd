"""Jobs that a killed Snakemake left on the cluster: they go on, and a new Snakemake would start them once more."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tasktrace.cluster.accounts import user_name
from tasktrace.cluster.slurm import ClusterError, ask, columns, rows

_AT_ONCE = 200
"""Jobs of one ``scancel``: a command's line has an end."""

_SNAKEMAKES_NAME = re.compile(r"(\S+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What Snakemake calls all jobs of one of its own runs."""


@dataclass(frozen=True)
class Job:
    """A job that is queued, running or ending.

    Attributes:
        number: SLURM's number of it, with that within its array, if any.
        state: Such as ``PENDING``, ``RUNNING``, ``COMPLETING``.
        elapsed: The time that it has run for.
        name: Its name.
        comment: Snakemake's says rule and wildcards.
        folder: Its working directory.
    """

    number: str
    state: str
    elapsed: str
    name: str
    comment: str
    folder: str

    @property
    def is_snakemakes(self) -> bool:
        """Whether Snakemake submitted it: a job that a person submitted from the same folder is none of ours."""
        return self.comment.startswith("rule_") or _SNAKEMAKES_NAME.fullmatch(self.name) is not None

    def __str__(self) -> str:
        return f"{self.number} {self.state} {self.elapsed} {self.comment.removeprefix('rule_')}"


def orphans(root: Path, say: Callable[[str], None], cancel: bool = False, patience: float = 180) -> list[Job]:
    """Say which of Snakemake's jobs are at work in a project's folder, and end them if asked to.

    A job that a person submitted from that folder is said too, and left alone; jobs of other folders and of other users
    are not looked at.

    Args:
        root: The project's folder.
        say: Is given every line about a job.
        cancel: End the jobs, and wait until they are gone.
        patience: Seconds to wait for that; one that does not stop itself is killed after the cluster's ``KillWait``.

    Returns:
        The jobs that there were.

    Raises:
        ClusterError: SLURM does not answer, or after ``patience`` there still are jobs.
    """
    found = jobs_in(root)
    for job in found:
        say(str(job) if job.is_snakemakes else f"{job.number} {job.state} {job.elapsed} not Snakemake's: left alone")
    own = [job for job in found if job.is_snakemakes]
    if not own:
        say(f"no jobs of Snakemake's in {root.resolve()}")
    elif cancel:
        _end(own, root, patience)
        say(f"ended {len(own)} job{'s' * (len(own) > 1)}; now `snakemake --unlock`, then start Snakemake again")
    else:
        say("`tasktrace orphans --cancel` ends them; a Snakemake that still runs here counts on them: end it first")
    return own


def jobs_in(root: Path) -> list[Job]:
    """The user's jobs whose working directory is ``root``, in the order of ``squeue``.

    Raises:
        ClusterError: SLURM does not answer.
    """
    about = columns("%i", "%T", "%M", "%j", "%k", "%Z")
    listed = ask("squeue", "--noheader", "--array", "--all", f"--user={user_name()}", about)
    folder = str(root.resolve())
    return [job for job in parse_jobs(listed) if job.folder == folder]


def parse_jobs(text: str) -> list[Job]:
    """The jobs of what ``squeue`` prints of number, state, time, name, comment and working directory."""
    return [Job(*row) for row in rows(text)]


def _end(jobs: list[Job], root: Path, patience: float) -> None:
    """Cancel jobs and wait until they are gone.

    Raises:
        ClusterError: Some are not, or there are new ones.
    """
    numbers = [job.number for job in jobs]
    refusals = [_cancel(numbers[start : start + _AT_ONCE]) for start in range(0, len(numbers), _AT_ONCE)]
    until = time.monotonic() + patience
    left = jobs
    while left and time.monotonic() < until:
        time.sleep(min(1.0, patience))
        left = [job for job in jobs_in(root) if job.is_snakemakes]
        if any(job.number not in numbers for job in left):
            raise ClusterError(
                f"{root.resolve()}: new jobs appear while the old ones are ended, {_listed(left)}: a Snakemake still "
                "runs in this folder, perhaps on another machine; end it first"
            )
    if left:
        said = "".join(f"; {refusal}" for refusal in refusals if refusal)
        raise ClusterError(
            f"{root.resolve()}: still there after {patience:g} s: {_listed(left)}{said}; wait for them, or ask the "
            "cluster's administrator to end them, before Snakemake is started again"
        )


def _cancel(numbers: list[str]) -> str:
    """Why ``scancel`` complains, if it does: a job that has just ended by itself is no reason to stop."""
    try:
        ask("scancel", *numbers)
    except ClusterError as error:
        return str(error)
    return ""


def _listed(jobs: list[Job]) -> str:
    return ", ".join(f"{job.number} ({job.state})" for job in jobs)
