"""The pre-flight against a cluster, and what sbatch says of the jobs that it finds fault with."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tasktrace.cluster.preflight import cluster_faults
from tasktrace.cluster.profile import read_profile
from tasktrace.cluster.requests import Request
from tasktrace.cluster.slurm import read_cluster

PROFILE = Path(__file__).resolve().parents[2] / "workflow/profiles/slurm"


@pytest.fixture
def check(slurm, monkeypatch):
    """A function that gives what the pre-flight finds of a job under the shipped profile, with choices made."""
    for name in [name for name in os.environ if name.startswith("TASKTRACE_")]:
        monkeypatch.delenv(name)
    for folder in slurm.environment.get("PYTHONPATH", "").split(os.pathsep):
        monkeypatch.syspath_prepend(folder)  # where the plugin is, if not in the environment

    def faults(kind="train", choices=None, **resources):
        for name, value in (choices or {}).items():
            monkeypatch.setenv(f"TASKTRACE_{name}", value)
        asked = {"mem_mb": 1500, "runtime": 20, "gpu": 1, "threads": 1, **resources}
        said: list[str] = []
        request = Request(kind, "digits", **asked)
        return cluster_faults(read_profile(str(PROFILE)), [request], said.append), said

    return faults


def test_a_cluster_is_described_as_it_is(slurm):
    cluster = read_cluster()
    assert list(cluster.partitions) == ["cpu", "gpu", "scavenge"]
    assert cluster.default_partition == "cpu"
    assert not cluster.keeps_accounts
    assert [(node.name, node.gpus, node.is_usable) for node in cluster.partitions["gpu"].nodes] == [
        ("node1", {"tesla": 1}, True),
        ("node2", {"tesla": 1}, True),
    ]
    assert cluster.partitions["cpu"].max_minutes == 1440


def test_jobs_that_fit_have_no_fault(check):
    faults, said = check(choices={"GPU_PARTITION": "gpu", "CPU_PARTITION": "cpu", "GPU_TYPE": "tesla"})
    assert faults == []
    assert said[0].startswith("cluster tests: SLURM ")
    assert said[1].startswith("partition gpu: 2 nodes, on one at most 4 CPUs, 6000 MB, 1 tesla GPU; 1440 minutes; ")
    assert not any("warning" in line for line in said)


@pytest.mark.parametrize(
    ("resources", "choices", "options", "fault"),
    [
        ({"mem_mb": 7000}, {}, ["--mem=7000"], "7000 MB are more than any node with such a GPU of partition cpu has"),
        (
            {"threads": 5},
            {},
            ["--cpus-per-task=5"],
            "5 threads are more than any such node of partition cpu has CPUs, 4",
        ),
        ({}, {"GPU_TYPE": "Tesla"}, ["--gpus=Tesla:1"], "no node of partition cpu has a GPU of type 'Tesla'"),
        (
            {},
            {"GPU_PARTITION": "gpus"},
            ["--partition=gpus"],
            "no partition 'gpus'; the cluster has cpu, gpu, scavenge",
        ),
    ],
)
def test_what_is_found_fault_with_is_what_slurm_refuses(slurm, check, resources, choices, options, fault):
    [found] = check(choices=choices, **resources)[0]
    assert found.startswith(f"digits (train): {fault}")
    refused = subprocess.run(["sbatch", "--test-only", *options, "--wrap=true"], capture_output=True, text=True)
    assert refused.returncode != 0


def test_a_job_that_slurm_would_let_wait_for_ever_is_found(slurm, check):
    [found] = check(runtime=1441)[0]
    assert found.startswith("digits (train): 1441 minutes are more than partition cpu lets a job take, 1440 (MaxTime)")
    number = slurm.ask("sbatch", "--parsable", "--output=/dev/null", "--time=1441", "--wrap=true")
    try:
        assert re.fullmatch(r"\d+", number)
    finally:
        slurm.cancel_all()


@pytest.fixture
def changed(slurm):
    """A function that changes a partition for as long as the test takes."""

    def change(name, **facts):
        slurm.ask("scontrol", "update", f"PartitionName={name}", *(f"{key}={value}" for key, value in facts.items()))

    yield change
    change("gpu", State="UP", MaxTime="1-00:00:00", Nodes="node1,node2")


def test_a_partition_that_is_down_is_found(check, changed):
    changed("gpu", State="DOWN")
    [found] = check(choices={"GPU_PARTITION": "gpu"})[0]
    assert found.startswith("digits (train): partition gpu is DOWN: ")


def test_a_partition_whose_time_is_short_is_found(check, changed):
    changed("gpu", MaxTime="00:10:00")
    [found] = check(choices={"GPU_PARTITION": "gpu"})[0]
    assert found.startswith("digits (train): 20 minutes are more than partition gpu lets a job take, 10 (MaxTime)")


def test_an_account_has_no_effect_without_accounting(check):
    faults, said = check(choices={"ACCOUNT": "lab"})
    assert faults == []
    assert said[-1].startswith("warning: slurm_account 'lab' has no effect, since cluster tests keeps no accounting")
