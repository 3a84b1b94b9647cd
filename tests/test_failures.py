"""What Snakemake does after a job has failed."""

import subprocess

import pytest

RULES = """
import time
from pathlib import Path
from tasktrace.failures import mark_failures

BEGAN = time.time()
LONG = "long/" + "/".join(["folder" * 20] * 3)

rule figure:
    input:
        f"{LONG}/table"
    output:
        "figure"
    shell:
        "cp {input} {output}"

rule table:
    output:
        f"{LONG}/table"
    params:
        value=config["value"],
    shell:
        "test ! -e failing && echo {params.value} > {output}"

rule other:
    output:
        "other"
    shell:
        "touch {output}"

onerror:
    mark_failures(Path(), since=BEGAN)
"""


@pytest.fixture
def snakemake(tmp_path):
    """A function that calls Snakemake for a figure made of a table of some value; what it says, and its exit status."""
    (tmp_path / "Snakefile").write_text(RULES)

    def call(value, *more):
        command = ["snakemake", "figure", "other", "--cores", "1", "--config", f"value={value}", *more]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr, done.returncode

    return call


def test_after_a_failed_job_what_depends_on_it_is_stale_and_nothing_else(snakemake, tmp_path):
    assert snakemake(1)[1] == 0
    (tmp_path / "failing").touch()
    assert snakemake(2)[1] == 1
    assert (tmp_path / "figure").read_text() == "1\n"
    (tmp_path / "failing").unlink()
    said, status = snakemake(2)
    assert (status, (tmp_path / "figure").read_text()) == (0, "2\n")
    assert "rule table" in said
    assert "rule other" not in said
    assert "Nothing to be done" in snakemake(2)[0]


def test_a_table_that_its_user_deleted_is_not_taken_for_failed(snakemake, tmp_path):
    assert snakemake(1)[1] == 0
    (table,) = (tmp_path / "long").rglob("table")
    table.unlink()
    (tmp_path / "other").unlink()
    (tmp_path / "other").mkdir()
    snakemake(1, "--forcerun", "other")
    assert "rule table" not in snakemake(1, "-n")[0]
