"""`snakemake --profile slurm` on a real cluster: the same results, whatever becomes of jobs, nodes and controllers."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

FAST = ("--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10")
"""The first look at a job after 5 s instead of 40; the rest is the profile's."""

LITTLE = {"train": 200, "validation": 60, "test": 60}

RATES = ("0.001", "0.002", "0.003", "0.004")


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of a project's sweep, as one looks at it from outside."""

    folder: Path

    @property
    def epoch(self):
        """How many epochs are finished; 0 where nothing is known."""
        progress = self.folder / ".resume/progress.json"
        return json.loads(progress.read_text())["epoch"] if progress.exists() else 0

    @property
    def is_done(self):
        return (self.folder / "run.json").exists()

    @property
    def process(self):
        """The process that trains it."""
        return int((self.folder / ".resume/lock").read_text().split()[0])

    @property
    def job(self):
        """SLURM's number for the job that trains it."""
        environment = Path(f"/proc/{self.process}/environ").read_text().split("\0")
        return next(entry.partition("=")[2] for entry in environment if entry.startswith("SLURM_JOB_ID="))

    @property
    def log(self):
        return (self.folder / ".resume/train.log").read_text()

    def record(self):
        return json.loads((self.folder / "run.json").read_text())


def runs_of(project):
    """The sweep of the digits alone: four runs of seconds to a minute."""
    return [Run(project / f"results/runs/digits/stl.digits1/adam/lr{rate}_bs16/seed0") for rate in RATES]


def records_of(project):
    return [str(run.folder.relative_to(project) / "run.json") for run in runs_of(project)]


def results(project):
    """The bytes of all trajectories, factors, checkpoints and figures' numbers, by path."""
    paths = [
        *project.glob("results/runs/**/*.parquet"),
        *project.glob("checkpoints/**/*.safetensors"),
        *project.glob("results/figures/*/*.csv"),
    ]
    return {str(path.relative_to(project)): path.read_bytes() for path in paths}


def wait_until(true, what, seconds):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.1)


def ended_well(process, project, seconds=400):
    status = process.wait(timeout=seconds)
    assert status == 0, (project / "output").read_text()


def submitted(project):
    """SLURM's numbers for the jobs that Snakemake submitted."""
    return re.findall(r"has been submitted with SLURM jobid (\d+)", (project / "output").read_text())


@pytest.fixture
def sweep(make_project):
    """A function that makes a project whose sweep lasts long enough to be interrupted, a job for every run."""

    def make(name, epochs=700, **resources):
        return make_project(
            name,
            data=LITTLE,
            sweep={"learning_rates": [float(rate) for rate in RATES], "batch_sizes": [16], "epochs": epochs, "seed": 0},
            resources={"mem_mb": 1500, "minutes": {"train": 30}, "runs_per_job": 1, **resources},
        )

    return make


def test_the_literal_command_works_in_a_fresh_clone(tmp_path, snakemake):
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git repository")
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", REPOSITORY, clone], check=True)
    ended_well(snakemake(clone, "--profile", "slurm", "-n", "all", "--quiet", "rules"), clone)
    assert "Using profile slurm" in (clone / "output").read_text()
    assert str((clone / "slurm").readlink()) == "workflow/profiles/slurm"


def test_the_demo_on_the_cluster_has_the_results_of_the_demo_here(make_project, snakemake, slurm):
    small = {"training": {"epochs": 4, "checkpoint_every": 1}, "data": LITTLE}
    there, here = make_project("there", **small), make_project("here", **small)
    chosen = {"CPU_PARTITION": "scavenge", "GPU_PARTITION": "gpu", "GPU_TYPE": "tesla"}
    environment = {f"TASKTRACE_{name}": value for name, value in chosen.items()}
    remote = snakemake(there, "--profile", "slurm", "demo", *FAST, **environment)
    ended_well(snakemake(here, "--cores", "1", "demo"), here)
    ended_well(remote, there)
    assert len(submitted(there)) >= 10
    asked = {
        tuple(re.findall(r" (?:Partition|TresPerJob)=(\S+)", slurm.ask("scontrol", "show", "job", job)))
        for job in submitted(there)
    }
    assert asked == {("scavenge",), ("gpu", "gres:gpu:tesla:1")}
    assert len(results(here)) > 20
    assert results(there) == results(here)


def test_interrupted_jobs_continue_and_end_with_the_bytes_of_uninterrupted_ones(sweep, snakemake, slurm):
    """A job at its time limit, a requeued one, a killed process, and a node that goes down."""
    there, here = sweep("there"), sweep("here")
    remote = snakemake(there, "--profile", "slurm", *records_of(there), *FAST)
    local = snakemake(here, "--cores", "1", *records_of(here))
    waiting = runs_of(there)
    for interrupt in (_reach_time_limit, _requeue, _kill, _lose_node):
        wait_until(lambda: any(run.epoch >= 20 for run in waiting), "a run under way", 200)
        run = next(run for run in waiting if run.epoch >= 20)
        waiting.remove(run)
        interrupt(run, slurm)
    ended_well(remote, there)
    ended_well(local, here)
    for run in runs_of(there):
        assert run.record()["attempts"] == 2, run.log
        assert run.log.count("continuing from epoch") == 1
    assert results(there) == results(here)
    # Two of them came back through SLURM's own queue, and two as another try of Snakemake's.
    assert len(submitted(there)) == 1 + len(RATES) + 2


def _reach_time_limit(run, slurm):
    """Freeze the process, which does not know of this limit, until SLURM kills it."""
    slurm.ask("scontrol", "update", f"JobId={run.job}", "TimeLimit=1")
    os.kill(run.process, signal.SIGSTOP)


def _requeue(run, slurm):
    slurm.ask("scontrol", "requeue", run.job)


def _kill(run, _slurm):
    os.kill(run.process, signal.SIGKILL)


def _lose_node(run, slurm):
    process, node = run.process, slurm.ask("squeue", "-h", "-j", run.job, "-o", "%N")
    slurm.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    wait_until(lambda: not Path(f"/proc/{process}").exists(), "the node's job to end", 60)
    # It comes back by itself when it next reports to the controller, or is told to.
    subprocess.run(["scontrol", "update", f"NodeName={node}", "State=RESUME"], capture_output=True)
    wait_until(lambda: "down" not in slurm.ask("sinfo", "-h", "-n", node, "-o", "%T"), "the node to come back", 60)


def test_a_run_ends_itself_before_its_time_limit_and_the_next_attempt_has_more_time(sweep, snakemake):
    project = sweep("short", epochs=300, minutes={"train": 1})
    run = runs_of(project)[0]
    process = snakemake(project, "--profile", "slurm", records_of(project)[0], *FAST)
    wait_until(lambda: run.epoch >= 20, "the run to be under way", 120)
    began = time.monotonic()
    os.kill(run.process, signal.SIGSTOP)
    time.sleep(55 - (time.monotonic() - began))
    os.kill(run.process, signal.SIGCONT)
    ended_well(process, project)
    assert "the time limit of 1 min is near; the next attempt continues" in run.log
    assert run.log.count("continuing from epoch") == 1
    assert re.search(r"resources: .*mem_mb=3000.*runtime=2,", (project / "output").read_text())


def test_no_run_is_trained_twice_when_its_controller_was_killed(sweep, snakemake, slurm):
    project = sweep("orphaned")
    command = ("--profile", "slurm", *records_of(project)[:2], *FAST)
    controller = snakemake(project, *command)
    runs = runs_of(project)[:2]
    wait_until(lambda: all(run.epoch >= 20 for run in runs), "two runs under way", 200)
    controller.kill()
    controller.wait()
    orphans = {run.job for run in runs}
    tasktrace = [str(Path(sys.executable).parent / "tasktrace")]

    def type_(*words):
        return subprocess.run([*tasktrace, *words], cwd=project, env=slurm.environment, capture_output=True, text=True)

    refused = type_("train", str(runs[0].folder))
    assert refused.returncode == 1
    assert f"process {runs[0].process} on" in refused.stderr
    assert "is training this run" in refused.stderr
    listed = type_("orphans")
    assert all(orphan in listed.stdout for orphan in orphans), listed
    locked = snakemake(project, *command)
    assert locked.wait(timeout=120) != 0
    assert "--unlock" in (project / "output").read_text()
    cancelled = type_("orphans", "--cancel")
    assert cancelled.returncode == 0, cancelled.stderr
    assert not slurm.jobs()
    ended_well(snakemake(project, "--unlock"), project)
    ended_well(snakemake(project, *command), project)
    assert [run.record()["attempts"] for run in runs] == [2, 2]


def test_a_group_is_one_job_with_one_gpu_and_trains_no_member_again_when_another_fails(sweep, snakemake, slurm):
    project = sweep("grouped", epochs=3)
    runs = runs_of(project)
    ended_well(snakemake(project, "--cores", "1", "data/prepared/digits.json"), project)
    lock = runs[-1].folder / ".resume/lock"
    lock.mkdir(parents=True)  # what no process can lock
    command = ("--profile", "slurm", *records_of(project), *FAST, "--group-components", "train_digits_alone=4")
    failed = snakemake(project, *command, "--retries", "0")
    assert failed.wait(timeout=200) != 0
    (job,) = submitted(project)
    described = slurm.ask("scontrol", "show", "job", job)
    assert described.endswith("TresPerJob=gres:gpu:1")
    assert "TimeLimit=02:00:00" in described
    trained = [run for run in runs if (run.folder / ".resume/finished.json").exists()]
    assert trained
    lock.rmdir()
    ended_well(snakemake(project, *command), project)
    assert len(submitted(project)) == 1
    assert all(run.is_done for run in runs)
    assert all("finished before; its files are as they were" in run.log for run in trained)
    assert all(run.log.count("epoch 3/3") == 1 for run in runs)


def test_a_failing_jobs_log_is_found_from_the_message(sweep, snakemake):
    project = sweep("broken")
    ended_well(snakemake(project, "--cores", "1", "data/prepared/digits.json"), project)
    prepared = project / "data/prepared/digits.safetensors"
    prepared.write_bytes(prepared.read_bytes()[:-1] + b"\1")
    failed = snakemake(project, "--profile", "slurm", records_of(project)[0], *FAST, "--retries", "0")
    assert failed.wait(timeout=200) != 0
    output = (project / "output").read_text()
    named = set(re.findall(r"log: (logs/train/\S+\.log) ", output))
    assert len(named) == 1, output
    message = (project / named.pop()).read_text().splitlines()[-1]
    assert "digits.safetensors" in message
    assert "damaged" in message
    assert message in output  # show-failed-logs
