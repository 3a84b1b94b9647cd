"""What packing short runs saves: the same runs with a job each, in groups, and several to a process.

    python benchmarks/packing.py [--runs N] [--epochs N] [--profile slurm]

Without a profile the jobs run one after the other on this machine, where groups make no difference. With one they are
submitted to its cluster, and what counts beside the time until all is done is how long allocations were held, as
squeue reports it. Ratios are to a job for every run.
"""

import argparse
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent
RUNS_PER_JOB = 4


def main() -> None:
    """Time every way of packing in a project of its own, the prepared data made beforehand."""
    given = _parser().parse_args()
    ways = {"a job for every run": (1, False), f"{RUNS_PER_JOB} runs a process": (RUNS_PER_JOB, False)}
    if given.profile:
        ways[f"groups of {RUNS_PER_JOB} jobs"] = (1, True)
    ways["all runs in one process"] = (given.runs, False)
    print("| | jobs | until done (s) | ratio | allocated (s) | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    first: tuple[float, float] | None = None
    for name, (runs_per_job, grouped) in ways.items():
        jobs, wall, allocated = measure(given, runs_per_job, grouped)
        first = first or (wall, allocated)
        ratios = (f"{old / new:.1f}" if new else "" for old, new in zip(first, (wall, allocated), strict=True))
        print(f"| {name} | {jobs} | {wall:.0f} | {next(ratios)} | {allocated or '':.4} | {next(ratios)} |", flush=True)


def measure(given: argparse.Namespace, runs_per_job: int, grouped: bool) -> tuple[int, float, float]:
    """Jobs, seconds until all runs are done, and seconds of allocations (0 without a cluster)."""
    with tempfile.TemporaryDirectory() as name:
        project = Path(name)
        records = _project(project, given, runs_per_job)
        _snakemake(project, "--cores", "1", "data/prepared/digits.json")
        command = [*records, *(["--profile", given.profile] if given.profile else ["--cores", "1"])]
        if given.profile:
            command += ["--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "10"]
        command += ["--group-components", f"train_digits_alone={RUNS_PER_JOB}"] if grouped else []
        start = time.perf_counter()
        output = _snakemake(project, *command)
        wall = time.perf_counter() - start
        jobs = re.findall(r"has been submitted with SLURM jobid (\d+)", output)
        return len(jobs) or output.count("localrule ") + output.count("\nrule "), wall, sum(map(_allocated, jobs))


def _project(folder: Path, given: argparse.Namespace, runs_per_job: int) -> list[str]:
    """A copy of the workflow with a sweep of so many runs of one task; the runs' records."""
    for name in ("workflow", "config"):
        shutil.copytree(PROJECT / name, folder / name)
    shutil.copy(PROJECT / "Snakefile", folder)
    (folder / "slurm").symlink_to("workflow/profiles/slurm")
    rates = [round(0.001 + 0.0001 * number, 4) for number in range(given.runs)]
    digits: dict[str, Any] = {
        "sweep": {"learning_rates": rates, "batch_sizes": [16], "epochs": given.epochs, "seed": 0},
        "resources": {"mem_mb": 1500, "runs_per_job": runs_per_job},
    }
    path = folder / "config/settings/digits.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **digits}))
    return [f"results/runs/digits/stl.digits1/adam/lr{rate}_bs16/seed0/run.json" for rate in rates]


def _snakemake(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["snakemake", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def _allocated(job: str) -> float:
    """Seconds for which a job of SLURM held its allocation."""
    elapsed = subprocess.run(
        ["squeue", "-h", "-t", "all", "-j", job, "-o", "%M"], capture_output=True, text=True, check=True
    )
    parts = [int(part) for part in re.split("[-:]", elapsed.stdout.strip())]
    return float(sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--profile")
    return parser


if __name__ == "__main__":
    main()
