"""How long Snakemake takes to build the full study's job graph, and how that grows with the number of jobs.

    python benchmarks/graph.py [--seeds N [N ...]]

More seeds make a larger study of the same shape. Only a dry run: nothing is trained, and no data is needed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Plan the study with ever more seeds, in a folder where nothing has run."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 6, 12])
    given = parser.parse_args()
    print("| seeds | jobs | seconds | ms a job | peak memory (MB) |")
    print("| --- | --- | --- | --- | --- |")
    for seeds in given.seeds:
        jobs, seconds, memory = plan(seeds)
        print(f"| {seeds} | {jobs:,} | {seconds:.1f} | {1000 * seconds / jobs:.1f} | {memory:.0f} |", flush=True)


def plan(seeds: int) -> tuple[int, float, float]:
    """Jobs, seconds and MB of a dry run of everything with so many seeds."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("workflow", "config"):
            shutil.copytree(PROJECT / part, folder / part)
        shutil.copy(PROJECT / "Snakefile", folder)
        (folder / "seeds.yaml").write_text(json.dumps({"seeds": list(range(seeds))}))
        command = ["snakemake", "-n", "all", "--scheduler", "greedy", "--configfile", "config/full.yaml", "seeds.yaml"]
        start = time.perf_counter()
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            output = run.stdout.read() if run.stdout else ""
            _, status, used = os.wait4(run.pid, 0)
            run.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
    total = re.search(r"^total +(\d+)$", output, flags=re.MULTILINE)
    if run.returncode or total is None:
        raise SystemExit(output)
    return int(total[1]), seconds, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
