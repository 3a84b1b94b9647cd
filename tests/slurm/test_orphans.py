"""Ending the jobs of a Snakemake that was killed, on a cluster."""

import time

import pytest

from tasktrace.cluster.orphans import jobs_in, orphans

RUN = "0b9d6c3e-6f2f-4a43-9c5c-0d3e3d8f6a11"


@pytest.fixture
def submit(slurm):
    """A function that submits a job as Snakemake does, and gives its number; all end with the test."""

    def run(folder, *options, name=RUN, command="sleep 300"):
        folder.mkdir(exist_ok=True)
        told = ("--parsable", f"--job-name={name}", "--output=/dev/null", f"--chdir={folder}", "--mem=100", *options)
        return slurm.ask("sbatch", *told, f"--wrap={command}")

    yield run
    slurm.cancel_all()


def test_jobs_of_a_folder_are_ended_and_no_others(submit, tmp_path):
    here, other = tmp_path / "project", tmp_path / "project2"
    running = submit(here, "--comment=rule_train_wildcards_digits_a|b")
    held = submit(here, "--hold", "--comment=rule_measure")
    array = submit(here, "--array=1-2%1", "--comment=rule_train")
    mine = submit(here, name="interactive")
    elsewhere = submit(other, "--comment=rule_train")
    wait_for_state(here, running, "RUNNING")
    found = orphans(here, lambda line: None)
    assert {job.number for job in found} == {running, held, f"{array}_1", f"{array}_2"}
    said = []
    orphans(here, said.append, cancel=True, patience=60)
    assert said[-1].startswith("ended 4 jobs")
    assert any(line.startswith(f"{running} RUNNING ") and line.endswith(" train_wildcards_digits_a|b") for line in said)
    assert [job.number for job in jobs_in(here)] == [mine]
    assert [job.number for job in jobs_in(other)] == [elsewhere]


def test_a_job_that_does_not_stop_is_waited_for_until_it_is_killed(submit, tmp_path):
    ready = tmp_path / "ready"
    job = submit(tmp_path, command=f"trap '' TERM; touch {ready}; while :; do sleep 1; done")
    deadline = time.monotonic() + 30
    while not ready.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert [found.number for found in orphans(tmp_path, lambda line: None, cancel=True, patience=90)] == [job]
    assert jobs_in(tmp_path) == []


def wait_for_state(folder, number, state):
    deadline = time.monotonic() + 30
    while (number, state) not in {(job.number, job.state) for job in jobs_in(folder)}:
        assert time.monotonic() < deadline, jobs_in(folder)
        time.sleep(0.2)
