"""The pre-flight: what this machine lacks for the study, and where to put it."""

import os
import shutil
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tasktrace.cluster.filesystem import lock_reach
from tasktrace.cluster.preflight import cluster_faults
from tasktrace.cluster.profile import read_profile
from tasktrace.cluster.study_jobs import requests_of
from tasktrace.config import Study
from tasktrace.errors import DamagedFileError, DataError
from tasktrace.places import prepared_path
from tasktrace.planning.checkpoint_sizes import all_checkpoints_bytes, empty_model
from tasktrace.provenance import machine
from tasktrace.settings.prepared import read_prepared
from tasktrace.settings.raw import raw_state


def check(study: Study, profile: str | None = None) -> None:
    """Print what is there and what is not.

    Args:
        study: The study to be run.
        profile: Name or folder of the Snakemake profile whose cluster is to be asked; None for this machine alone.

    Raises:
        DataError: A raw file is altered, prepared data is damaged, or the disk is too small: runs would fail; or the
            cluster would refuse a job.
        ConfigError: There is no such profile, or it cannot be read.
    """
    console = Console(soft_wrap=True, highlight=False)
    _print_machine(console, study.root)
    faults = [fault for name in study.settings for fault in _check_setting(console, study, name)]
    faults += _check_disk(console, study)
    if profile is not None:
        faults += _check_cluster(console, study, profile)
    if faults:
        raise DataError("\n".join(["this study cannot run here yet:", *faults]))
    console.print("[bold]ready[/bold]: what is not here yet will be made or downloaded by the run")


def _print_machine(console: Console, root: Path) -> None:
    import torch

    facts = machine(root)
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    console.print(f"[bold]device[/bold]    {', '.join(gpus) or 'no GPU: training runs on the CPU'}")
    console.print(f"[bold]processor[/bold] {escape(facts['processor'])}, {os.cpu_count()} cores")
    console.print(f"[bold]versions[/bold]  Python {facts['python']}, {versions}")


def _check_setting(console: Console, study: Study, name: str) -> list[str]:
    """Print one setting's line; what stops it from running."""
    prepared = study.root / prepared_path(name)
    faults: list[str] = []
    try:
        if prepared.exists():
            read_prepared(prepared, study.data_spec(name))
            state = f"prepared in {prepared}"
        else:
            state, faults = raw_state(study, name)
    except DamagedFileError as error:
        state, faults = "damaged", [str(error)]
    except DataError as error:
        # Prepared from another spec is no fault: the workflow prepares it anew. An altered raw file is.
        if prepared.exists():
            state = "prepared with other options; will be prepared anew"
        else:
            state, faults = "altered raw file", [str(error)]
    console.print(f"[bold]{name}[/bold]: {escape(state)}")
    return faults


def _check_cluster(console: Console, study: Study, name: str) -> list[str]:
    """Print what the cluster has; what it would refuse."""

    def say(line: str) -> None:
        console.print(f"[bold]cluster[/bold]   {escape(line)}")

    profile = read_profile(name)
    unreached = lock_reach(study.root)
    if unreached is not None:
        say(f"warning: {unreached}")
    return cluster_faults(profile, requests_of(study), say)


def _check_disk(console: Console, study: Study) -> list[str]:
    needed = sum(all_checkpoints_bytes(study, name) for name in study.settings)
    largest = max((_jacobian_bytes(study, name), name) for name in study.settings)
    console.print(
        f"[bold]memory[/bold]    {largest[0] / 1e6:.1f} MB for the largest Jacobian ({largest[1]}); "
        "training: {jacobian: chunked} does without it"
    )
    free = shutil.disk_usage(study.root).free
    console.print(
        f"[bold]disk[/bold]      {free / 1e9:.1f} GB free; all checkpoints of the study take {needed / 1e9:.1f} GB"
    )
    return (
        [f"not enough disk: {needed / 1e9:.1f} GB for checkpoints, {free / 1e9:.1f} GB free"] if needed > free else []
    )


def _jacobian_bytes(study: Study, name: str) -> int:
    """Memory of the Jacobian of a setting's largest group, for methods that need every task's gradient."""
    from tasktrace.training.updates.jacobian import jacobian_bytes

    arm = max([*study.arms(name), *study.grid_arms(name)], key=lambda arm: len(arm.tasks))
    encoder = empty_model(study.run_spec(study.sweep_runs(arm)[0])).encoder
    return jacobian_bytes(len(arm.tasks), sum(parameter.numel() for parameter in encoder.parameters()))
