import pytest

from tasktrace.cluster.accounts import user_name
from tasktrace.cluster.orphans import jobs_in, orphans, parse_jobs
from tasktrace.cluster.slurm import ClusterError

RUN = "0b9d6c3e-6f2f-4a43-9c5c-0d3e3d8f6a11"


def lines(folder, *jobs):
    """What squeue prints of jobs as (number, state, name, comment)."""
    return "".join(f"{number}|{state}|1:02|{name}|{comment}|{folder}\n" for number, state, name, comment in jobs)


TRAINING = ("24", "RUNNING", RUN, "rule_train_wildcards_digits_mtl")
WAITING = ("31", "PENDING", f"study_{RUN}", "group_train_digits")
MINE = ("25_2", "RUNNING", "interactive", "(null)")


def test_jobs_are_read_from_what_squeue_printed(captured):
    jobs = parse_jobs(captured("mixed", "jobs").replace("|", "\x1f"))
    assert [(job.number, job.state, job.is_snakemakes) for job in jobs] == [
        ("25_2", "PENDING", False),
        ("25_3", "PENDING", False),
        ("24", "RUNNING", True),
        ("25_1", "RUNNING", False),
    ]
    assert str(jobs[2]) == "24 RUNNING 0:01 train_wildcards_digits_mtl"
    assert {job.folder for job in jobs} == {"/home/someone/project"}


def test_only_jobs_of_the_folder_are_found(commands, tmp_path):
    printed = commands()
    other = f"{tmp_path}/project2"
    here = lines(tmp_path / "project", TRAINING, MINE)
    (printed / "jobs.txt").write_text(here + lines(other, TRAINING) + lines(f"{tmp_path}/project/below", WAITING))
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to("project")
    assert [job.number for job in jobs_in(tmp_path / "project")] == ["24", "25_2"]
    assert [job.number for job in jobs_in(tmp_path / "link")] == ["24", "25_2"]


def test_only_the_users_own_jobs_are_asked_for_wherever_they_are(commands, tmp_path):
    printed = commands(squeue='echo "$@" > asked')
    jobs_in(tmp_path)
    asked = (printed / "asked").read_text().split()
    assert {f"--user={user_name()}", "--all", "--array"} <= set(asked)


def test_jobs_are_said_and_left_alone_unless_told(commands, tmp_path):
    printed = commands(scancel='echo "$@" >> cancelled')
    (printed / "jobs.txt").write_text(lines(tmp_path, TRAINING, WAITING, MINE))
    said = []
    assert [job.number for job in orphans(tmp_path, said.append)] == ["24", "31"]
    assert said == [
        "24 RUNNING 1:02 train_wildcards_digits_mtl",
        "31 PENDING 1:02 group_train_digits",
        "25_2 RUNNING 1:02 not Snakemake's: left alone",
        "`tasktrace orphans --cancel` ends them; a Snakemake that still runs here counts on them: end it first",
    ]
    assert not (printed / "cancelled").exists()


def test_where_there_is_nothing_it_is_said(commands, tmp_path):
    printed = commands(scancel="touch cancelled")
    (printed / "jobs.txt").write_text(lines(tmp_path, MINE))
    said = []
    assert orphans(tmp_path, said.append, cancel=True) == []
    assert said[-1] == f"no jobs of Snakemake's in {tmp_path}"
    assert not (printed / "cancelled").exists()


def test_cancelled_jobs_are_waited_for(commands, tmp_path):
    printed = commands(scancel='echo "$@" >> cancelled; sed -i "s/RUNNING/COMPLETING/; /PENDING/d" jobs.txt')
    (printed / "jobs.txt").write_text(lines(tmp_path, TRAINING, WAITING, MINE))
    with pytest.raises(ClusterError) as caught:
        orphans(tmp_path, lambda line: None, cancel=True, patience=0.2)
    assert (printed / "cancelled").read_text() == "24 31\n"
    assert str(caught.value).startswith(f"{tmp_path}: still there after 0.2 s: 24 (COMPLETING); wait for them")


def test_why_a_job_was_not_cancelled_is_said(commands, tmp_path):
    printed = commands(scancel="echo 'scancel: error: Kill job error on job id 24: Access denied' >&2; exit 1")
    (printed / "jobs.txt").write_text(lines(tmp_path, TRAINING))
    with pytest.raises(ClusterError, match=r"24 \(RUNNING\); `scancel 24` failed: .*Access denied; wait for them"):
        orphans(tmp_path, lambda line: None, cancel=True, patience=0.2)


def test_many_jobs_are_cancelled_in_parts(commands, tmp_path):
    printed = commands(scancel='echo "$@" >> cancelled; : > jobs.txt')
    jobs = [(str(number), *TRAINING[1:]) for number in range(450)]
    (printed / "jobs.txt").write_text(lines(tmp_path, *jobs))
    said = []
    orphans(tmp_path, said.append, cancel=True, patience=2)
    cancelled = (printed / "cancelled").read_text()
    assert [len(line.split()) for line in cancelled.splitlines()] == [200, 200, 50]
    assert cancelled.split() == [str(number) for number in range(450)]
    assert said[-1].startswith("ended 450 jobs; now `snakemake --unlock`")


def test_new_jobs_betray_a_snakemake_that_still_runs(commands, tmp_path):
    printed = commands(scancel="cp more.txt jobs.txt")
    (printed / "jobs.txt").write_text(lines(tmp_path, TRAINING))
    (printed / "more.txt").write_text(lines(tmp_path, WAITING))
    with pytest.raises(ClusterError, match=r"new jobs appear .*31 \(PENDING\): a Snakemake still runs in this folder"):
        orphans(tmp_path, lambda line: None, cancel=True, patience=5)


def test_a_cluster_that_does_not_answer_is_no_empty_one(commands, tmp_path):
    commands(squeue="echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(ClusterError, match="Unable to contact slurm controller"):
        orphans(tmp_path, lambda line: None)
