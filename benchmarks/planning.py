"""How well trials foretell what jobs take: the demo's digits, tried first and then trained and measured.

    python benchmarks/planning.py [--repeats N]

Expected is what `tasktrace plan --calibrate` says on prepared data, taken what Snakemake notes of the jobs that follow,
one after the other, with the start of their processes. A ratio of 1 is a plan that came true.
"""

import argparse
import csv
import shutil
import subprocess
import tempfile
from pathlib import Path

from measuring import Line, table
from tasktrace.config import Study
from tasktrace.planning.calibration import calibrate
from tasktrace.planning.costing import Costing
from tasktrace.planning.device import planned_device
from tasktrace.planning.jobs import MEASURE, SELECTED, SWEEP, Job
from tasktrace.planning.timings import Timings
from tasktrace.planning.workload import jobs_of_setting

PROJECT = Path(__file__).resolve().parent.parent
SETTING = "digits"
STAGES = {SWEEP: "training, all points", SELECTED: "training, selected points", MEASURE: "measuring"}
BOUND = 1.3


def main() -> None:
    """Plan and do so many times, each in a project of its own, and print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    rounds = [_plan_and_do() for _ in range(parser.parse_args().repeats)]
    lines = []
    for stage, what in STAGES.items():
        expected, taken = zip(*(own[stage] for own in rounds), strict=True)
        ratios = [max(a / b, b / a) for a, b in zip(expected, taken, strict=True)]
        lines.append(Line("the larger of expected and taken over the smaller", what, ratios, list(taken), BOUND))
    print(table(lines))


def _plan_and_do() -> dict[str, tuple[float, float]]:
    """By stage the seconds expected and taken."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        for part in ("workflow", "config"):
            shutil.copytree(PROJECT / part, project / part)
        shutil.copy(PROJECT / "Snakefile", project)
        _snakemake(project, f"data/prepared/{SETTING}.json")
        expected = _expected(Study.load(project))
        _snakemake(project, f"results/figures/{SETTING}/fig_a1.png", f"results/figures/{SETTING}/fig_a3.png")
        return {stage: _compared(project, expected, stage) for stage in STAGES}


def _expected(study: Study) -> list[tuple[Job, float]]:
    jobs = [job for job in jobs_of_setting(study, SETTING) if job.stage in STAGES]
    device = planned_device("cpu", 1, [])
    costing = Costing(device, Timings(), calibrate(study, jobs, device, Timings(), fresh=True).timings)
    return [(job, costing.whole(job).seconds or 0.0) for job in jobs]


def _compared(project: Path, expected: list[tuple[Job, float]], stage: str) -> tuple[float, float]:
    """Seconds expected and taken of the stage's jobs that were done."""
    files = {project / "results/benchmarks" / job.benchmark: own for job, own in expected if job.stage == stage}
    done = {path: own for path, own in files.items() if path.exists()}
    return sum(done.values()), sum(map(_seconds, done))


def _seconds(path: Path) -> float:
    """What Snakemake notes that a job took."""
    with path.open(newline="") as file:
        return float(next(csv.DictReader(file, delimiter="\t"))["s"])


def _snakemake(project: Path, *targets: str) -> None:
    subprocess.run(["snakemake", *targets, "--cores", "1", "--quiet", "all"], cwd=project, check=True)


if __name__ == "__main__":
    main()
