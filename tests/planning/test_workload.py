"""The jobs of a study, against what Snakemake plans, and what of them counts as done."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tasktrace.config import Study
from tasktrace.config.study import identity
from tasktrace.planning.analysis_jobs import jobs_of_no_setting
from tasktrace.planning.jobs import MEASURE, SELECTED, SWEEP
from tasktrace.planning.workload import jobs_of_setting

REPOSITORY = Path(__file__).resolve().parents[2]


def _jobs(study):
    return [job for name in study.config["settings"] for job in jobs_of_setting(study, name)]


def _planned(folder):
    """Jobs per rule that a dry run announces, packs with their rules."""
    scripts = Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    command = ["snakemake", "-n", "all"]
    output = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout
    table = output.split("Job stats:")[-1].split("\n\n")[0]
    planned = Counter()
    for rule, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE):
        planned[re.sub(r"_packed_\d+$", "", rule)] += int(count)
    return planned


def test_on_an_empty_tree_the_jobs_are_those_that_snakemake_plans(project, configure):
    shipped = yaml.safe_load((REPOSITORY / "config/settings/digits.yaml").read_text())["experiments"]
    configure("settings/digits.yaml", experiments=shipped, optimizers=["adam", "sgd"])
    configure("settings/digit_pairs.yaml", auxiliary={"sets": 3}, resources={"runs_per_job": 2})
    methods = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["methods"]
    configure("config.yaml", settings=["digits", "digit_pairs", "digit_traits", "fashion"], methods=methods, demo=[])
    study = Study.load()
    planned = _planned(project)
    jobs = [*_jobs(study), *jobs_of_no_setting(study)]
    assert len(jobs) == planned.pop("total") - planned.pop("all")
    assert Counter(job.rule for job in jobs) == planned
    assert not any(job.is_done for job in jobs)


def test_runs_are_worked_through_as_often_as_there_are(tiny):
    jobs = jobs_of_setting(tiny, "digits")
    runs = Counter(job.stage for job in jobs for _ in job.runs)
    assert runs == {SWEEP: 4, SELECTED: 4, MEASURE: 4}
    assert Counter(job.stage for job in jobs)[SWEEP] == 2


def test_what_was_trained_and_measured_is_done(finished):
    jobs = jobs_of_setting(finished.study, "digits")
    left = {job.rule for job in jobs if not job.is_done}
    made_of_tables = {"figure_a1", "figure_a2", "figure_a3", "table_a1", "report_tables", "metrics"}
    assert left == {"analyse", "factors"} | made_of_tables


def test_a_run_of_another_spec_is_left_and_so_is_what_is_made_of_it(copied):
    path = next(path for path in (copied.root / "results/runs").rglob("selected/seed1/run.json"))
    record = json.loads(path.read_text())
    record["spec"]["epochs"] += 1
    path.write_text(json.dumps(record))
    items = [item for job in jobs_of_setting(copied, "digits") for item in job.runs if not item.is_done]
    assert [item.run.path for item in items] == [path.parent.relative_to(copied.root / "results/runs").as_posix()] * 2
    assert "epoch" in items[0].counts
    assert "epoch" not in items[1].counts


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_record_that_cannot_be_read_is_none(copied, content):
    path = next((copied.root / "results/runs").rglob("selected/seed0/factors.json"))
    path.write_text(content)
    assert sum(not item.is_done for job in jobs_of_setting(copied, "digits") for item in job.runs) == 1


def test_another_measure_leaves_measuring_alone(copied):
    config = yaml.safe_load((copied.root / "config/config.yaml").read_text())
    config["measures"]["fisher"]["draws"] = 2
    (copied.root / "config/config.yaml").write_text(yaml.safe_dump(config))
    study = Study.load(copied.root)
    left = {job.stage for job in jobs_of_setting(study, "digits") if job.runs and not job.is_done}
    assert left == {MEASURE}


def test_a_run_without_a_selected_point_may_come_at_any_batch_size_of_the_sweep(tiny):
    study = Study({**tiny.config, "overrides": {"digits": {"sweep": {"batch_sizes": [16, 32]}}}}, tiny.root)
    items = [item for job in jobs_of_setting(study, "digits") if job.stage == SELECTED for item in job.items]
    sizes = [[shape.depends["batch_size"] for shape in item.shapes] for item in items]
    assert sizes == [[16, 32]] * 4
    chosen = tiny.root / "results/selected" / f"{items[0].run.arm.path}.json"
    assert not chosen.exists()


def test_a_selected_point_settles_the_shape(copied):
    for path in (copied.root / "results/runs").rglob("selected/seed*/run.json"):
        path.unlink()
    study = Study({**copied.config, "overrides": {"digits": {"sweep": {"batch_sizes": [16, 32]}}}}, copied.root)
    items = [item for job in jobs_of_setting(study, "digits") if job.stage == SELECTED for item in job.items]
    assert [len(item.shapes) for item in items] == [1] * 4
    assert not any(item.is_done for item in items)


def test_small_studies_are_done_when_their_files_are_there(tiny, tmp_path):
    study = Study(tiny.config, tiny.root)
    study.root = tmp_path
    assert [job.is_done for job in jobs_of_no_setting(study)] == [False] * 8
    for file in ("tables/toy/hits.csv", "figures/toy/fig_b1.png", "figures/invariance/fig_b_a1.png"):
        path = tmp_path / "results" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [job.rule for job in jobs_of_no_setting(study) if job.is_done] == ["study_toy", "figure_b1"]


def test_records_carry_the_identity_by_which_they_are_told(finished):
    item = next(item for job in jobs_of_setting(finished.study, "digits") for item in job.runs)
    assert identity(item.record["spec"]) == identity(item.spec)
