"""What DVC takes for a study of many runs, and what it would take with a file for every checkpoint.

    python benchmarks/versioning.py [--runs N] [--size KB] [--json FILE]

In a scratch repository, with a folder beside it as its remote, lie results as a study leaves them: every run is at a
selected point, with 60 checkpoints, and measured; names are real, sizes those of the digits, contents random. The
stage's command makes nothing, so what is timed is DVC's and tasktrace's own work, on files that are still in memory.
Everything comes to lie on the disk five times, some 1.6 GB for 500 runs; TMPDIR says where.
"""

import argparse
import base64
import dataclasses
import json
import math
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import save_file

from tasktrace.config import Run, Study
from tasktrace.config.study import resolved
from tasktrace.files import digest, file_digest, write_json
from tasktrace.provenance import machine
from tasktrace.training.finished import TRAJECTORY, Finished, keep_finished

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = ("workflow", "config", "src/tasktrace")
FILES = ("Snakefile", "dvc.yaml", ".dvcignore", ".gitignore", ".dvc/config", ".dvc/.gitignore")
SETTING = "digits"
CHECKPOINTS = 60
RAN = "ran.txt"
IDLE_SECONDS = 10.0
"""What ``dvc repro`` with nothing to do may take."""

TENSORS = ("encoder.0", "encoder.3", "encoder.7", "heads.digits1")
"""Each has a weight and a bias, here of one size."""

MEASURED = {"factors.parquet": 20_000, ".measure/journal": 100_000}
"""Bytes of what measuring leaves in a run's folder, beside its record."""

FIGURES = {
    f"figures/{SETTING}/fig_{figure}.{ending}": size
    for figure in ("a1", "a2", "a3", "a4")
    for ending, size in {"csv": 60_000, "pdf": 30_000, "png": 140_000}.items()
}
PAGES = {
    f"figures/{SETTING}/tab_a1.csv": 1_500,
    f"figures/{SETTING}/tab_a1.html": 3_500,
    f"report/{SETTING}.html": 25_000,
    f"metrics/{SETTING}.json": 2_000,
    f"plots/transfer/{SETTING}.csv": 500,
    f"plots/experiments/{SETTING}.csv": 20,
}
TABLES = {
    "auxiliary.csv": 150,
    "baseline.csv": 240,
    "correlations.csv": 100,
    "curves.parquet": 50_000,
    "deltas.csv": 26_000,
    "factor_curves.parquet": 150_000,
    "methods.csv": 4_200,
    "separation.csv": 1_600,
    "shares.csv": 340,
    "table_a1.csv": 2_000,
    "transfer.csv": 2_700,
}
TABLES_OF_RUNS = {"factors.parquet": 20_000, "points.parquet": 350, "runs.csv": 90}
"""Bytes for every run."""

_AUTHOR = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost")

_RANDOM = np.random.default_rng(0)


@dataclasses.dataclass(frozen=True)
class Step:
    """A command that was timed.

    Attributes:
        what: What it does.
        files: How many files it is about.
        seconds: Until its end.
        cpu_seconds: Of processors, all its processes and threads together.
        bound: What the seconds should not exceed, where something is promised.
    """

    what: str
    files: int
    seconds: float
    cpu_seconds: float
    bound: float | None = None


def main() -> None:
    """Time a study from its first ``dvc repro`` to a clone that has it, then two ways to keep the same checkpoints."""
    given = _parser().parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _isolate(folder / "dvc")
        study = time_study(folder, given.runs, given.size)
        ways = compare_ways(folder, given.runs)
    if given.json:
        steps = {name: list(map(dataclasses.asdict, own)) for name, own in {"a study": study, **ways}.items()}
        sizes = {"runs": given.runs, "checkpoints": CHECKPOINTS, "kilobytes": given.size}
        given.json.write_text(json.dumps({**sizes, **steps}, indent=2) + "\n", encoding="utf-8")


# 1. A study


def time_study(folder: Path, runs: int, size: int) -> list[Step]:
    """What DVC and the verbs that go with it take for a study of so many runs, with checkpoints of so many kB each."""
    project, clone = folder / "project", folder / "clone"
    _copy_project(project, runs)
    Results(project).write(runs, size)
    _begin(project, folder / "remote")
    print("| | files | seconds | of CPU | at most |\n| --- | --- | --- | --- | --- |", flush=True)
    results, archived = ("dvc.lock",), ("prepared.dvc", "checkpoints.dvc")
    steps = [
        _shown("dvc repro: new results", project, "dvc repro", results),
        _shown("dvc repro: nothing to do", project, "dvc repro", results, IDLE_SECONDS),
        _shown("tasktrace archive", project, "tasktrace archive", archived),
        _shown("tasktrace archive: nothing new", project, "tasktrace archive", archived),
        _shown("tasktrace archive --trajectories", project, "tasktrace archive --trajectories", archived),
        _shown("tasktrace archive: nothing new, trajectories too", project, "tasktrace archive", archived),
        _shown("dvc push", project, "dvc push", results + archived),
    ]
    _run(project, "git", "add", "--all")
    _run(project, "git", *_AUTHOR, "commit", "--quiet", "-m", "Results")
    _run(folder, "git", "clone", "--quiet", str(project), str(clone))
    steps += [
        _shown("a clone: dvc pull", clone, "dvc pull", results + archived),
        _shown("a clone: tasktrace restore", clone, "tasktrace restore", results + archived),
        _shown("a clone: dvc repro after restore", clone, "dvc repro", results),
        _shown("a clone: dvc repro: nothing to do", clone, "dvc repro", results, IDLE_SECONDS),
    ]
    if (clone / RAN).read_text(encoding="utf-8").split() != ["ran"]:
        raise SystemExit(
            "dvc repro ran the stage again though nothing had changed, so its times are not those of nothing"
        )
    return steps


def _shown(what: str, root: Path, command: str, pointers: tuple[str, ...], bound: float | None = None) -> Step:
    """Time a command, and print it with the number of files that the pointer files name by then."""
    seconds, cpu_seconds = _run(root, *command.split())
    step = Step(what, sum(_named(root / pointer) for pointer in pointers), seconds, cpu_seconds, bound)
    mark = "" if bound is None else f"{bound:.0f}" if seconds <= bound else f"{bound:.0f}: above"
    print(f"| {what} | {step.files:,} | {seconds:.1f} | {cpu_seconds:.1f} | {mark} |", flush=True)
    return step


def _named(pointer: Path) -> int:
    """How many files a pointer file names."""
    content = yaml.safe_load(pointer.read_text(encoding="utf-8"))
    outs = content["outs"] if "outs" in content else content["stages"]["study"]["outs"]
    return sum(out.get("nfiles", 1) for out in outs)


def _copy_project(project: Path, runs: int) -> None:
    """The project with a study of at least so many runs, and a stage whose command only says that it ran."""
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    (project / ".dvc").mkdir()
    for name in FILES:
        shutil.copy(PROJECT / name, project / name)
    _change(project / "dvc.yaml", lambda content: content["stages"]["study"].update(cmd=f"echo ran >> {RAN}"))
    _change(project / f"config/settings/{SETTING}.yaml", _of_one_study)
    seeds = max(2, math.ceil(runs / len(Study.load(project).arms(SETTING))))
    wanted = {"settings": [SETTING], "seeds": list(range(seeds))}
    _change(project / "config/config.yaml", lambda content: content.update(wanted))


def _of_one_study(block: dict[str, Any]) -> None:
    del block["experiments"]  # study B's runs keep one checkpoint
    block["training"] = {"epochs": CHECKPOINTS - 1, "checkpoint_every": 1}  # and the initial model's
    block["measuring"]["every"] = 1


def _begin(project: Path, remote: Path) -> None:
    """Make a repository of git and DVC, with a folder as its remote."""
    _run(project, "git", "init", "--quiet")
    _run(project, "dvc", "remote", "add", "--default", "beside", str(remote))


def _change(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


class Results:
    """What a study leaves in a project's folder, and what Snakemake notes of it.

    Args:
        project: The folder.
    """

    def __init__(self, project: Path) -> None:
        self._root = project
        self._study = Study.load(project)
        self._machine = machine(project)

    def write(self, runs: int, size: int) -> None:
        """Write results of the study's first runs, with checkpoints of so many kB each."""
        prepared = [f"data/prepared/{SETTING}.{ending}" for ending in ("safetensors", "json")]
        self._files({prepared[0]: 700_000, prepared[1]: 300}, f"prepare/{SETTING}", [])
        for arm in self._study.arms(SETTING):
            selection = {"arm": arm.path, "point": {"learning_rate": 0.002, "batch_size": 16}, "candidates": []}
            write_json(self._root / f"results/selected/{arm.path}.json", selection)
            self._note([f"results/selected/{arm.path}.json"], f"select/{arm.path}", prepared)
        chosen = self._study.selected_runs_of(SETTING)[:runs]
        for run in chosen:
            self._run(run, size, prepared)
        records = [f"results/runs/{run.path}/{name}" for run in chosen for name in ("run.json", "factors.json")]
        tables = TABLES | {name: each * runs for name, each in TABLES_OF_RUNS.items()}
        self._files(
            {f"results/tables/{SETTING}/{name}": size for name, size in tables.items()}, f"analyse/{SETTING}", records
        )
        shown = {f"results/{name}": size for name, size in (FIGURES | PAGES).items()}
        self._files(shown, f"figures/{SETTING}", [f"results/tables/{SETTING}/{name}" for name in tables])

    def _run(self, run: Run, size: int, prepared: list[str]) -> None:
        folder = f"results/runs/{run.path}"
        _random_file(self._root / folder / TRAJECTORY, 7_000)
        selection = self._root / f"results/selected/{run.arm.path}.json"
        record = self._record(run, resolved(self._study.run_spec(run), selection), size)
        write_json(self._root / folder / "run.json", record)
        keep_finished(self._root / folder / ".resume", Finished(record), self._root / folder / TRAJECTORY)
        for name in (".resume/lock", ".resume/train.log", ".measure/lock"):
            (self._root / folder / name).parent.mkdir(exist_ok=True)
            (self._root / folder / name).write_text("1 on host\n", encoding="utf-8")
        for name, length in MEASURED.items():
            _random_file(self._root / folder / name, length)
        measured = {"run": run.path, "spec": self._study.measure_spec(SETTING), **self._machine}
        write_json(self._root / folder / "factors.json", measured)
        trained = [f"{folder}/run.json", f"{folder}/{TRAJECTORY}"]
        self._note(trained, f"train/{run.path}", [*prepared, f"results/selected/{run.arm.path}.json"])
        self._note([f"{folder}/factors.json", f"{folder}/factors.parquet"], f"measure/{run.path}", trained)

    def _record(self, run: Run, spec: dict[str, Any], size: int) -> dict[str, Any]:
        return {
            "run": run.path,
            "outcome": {"status": "finished"},
            "spec": spec,
            "spec_digest": digest(spec),
            "data": digest(SETTING),
            "steps_per_epoch": 37,
            "parameters": 3658,
            "trajectory": file_digest(self._root / "results/runs" / run.path / TRAJECTORY),
            "checkpoints": [self._checkpoints(f"checkpoints/{run.path}.safetensors", size)],
            "seconds": {"setup": 0.1, "save": 0.2, "train": 2.5, "evaluate": 0.3},
            "attempts": 1,
            "threads": 1,
            "device": "cpu",
            **self._machine,
        }

    def _checkpoints(self, path: str, size: int) -> dict[str, Any]:
        """Write a run's packed checkpoints; what its record says of them."""
        epochs = list(range(CHECKPOINTS))
        names = [
            f"epoch{epoch:05d}/{name}.{part}" for epoch in epochs for name in TENSORS for part in ("weight", "bias")
        ]
        values = _RANDOM.standard_normal((len(names), max(1, 1000 * size // (4 * len(names)))), dtype=np.float32)
        file = self._root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(zip(names, values, strict=True)), file)
        return {"path": path, "epochs": epochs, "sha256": file_digest(file), "size": file.stat().st_size}

    def _files(self, sizes: dict[str, int], job: str, inputs: list[str]) -> None:
        for path, size in sizes.items():
            _random_file(self._root / path, size)
        self._note(list(sizes), job, inputs)

    def _note(self, outputs: list[str], job: str, inputs: list[str]) -> None:
        """Write what Snakemake keeps of a job: a benchmark, and for every output a record of what it was made with."""
        note = {
            "rule": job.partition("/")[0],
            "input": inputs,
            "log": [f"logs/{job}.log"],
            "shellcmd": f"tasktrace {job} {' '.join(inputs)} > logs/{job}.log 2>&1",
            "params": [json.dumps(self._study.measure_spec(SETTING))],
            "code": "tasktrace {params} > {log} 2>&1",
            "record_format_version": 6,
            "conda_env": "x" * 240,
            "starttime": _RANDOM.random(),
            "incomplete": False,
            "input_checksums": {path: f"sha256:{_RANDOM.bytes(32).hex()}" for path in inputs},
        }
        folder = self._root / ".snakemake/metadata"
        folder.mkdir(parents=True, exist_ok=True)
        for output in outputs:
            (folder / base64.b64encode(output.encode()).decode()).write_text(json.dumps(note), encoding="utf-8")
        benchmark = self._root / f"results/benchmarks/{job}.tsv"
        benchmark.parent.mkdir(parents=True, exist_ok=True)
        benchmark.write_text(
            f"s\th:m:s\tmax_rss\tmean_load\tcpu_time\n{_RANDOM.random()}\t0:00:00\t137.13\t0.00\t0.48\n"
        )


def _random_file(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_RANDOM.bytes(size))


# 2. A file for every run, or for every checkpoint


def compare_ways(folder: Path, runs: int) -> dict[str, list[Step]]:
    """What DVC alone takes for the same checkpoints of 64 bytes, a file for each or a file for every run."""
    ways = {"a file a checkpoint": (runs * CHECKPOINTS, 64), "a file a run": (runs, 64 * CHECKPOINTS)}
    steps = {way: _time_way(folder / way.replace(" ", "-"), *sizes) for way, sizes in ways.items()}
    print(f"\n| | {' | of CPU | '.join(steps)} | of CPU | ratio | of CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for many, few in zip(*steps.values(), strict=True):
        times = " | ".join(f"{step.seconds:.1f} | {step.cpu_seconds:.1f}" for step in (many, few))
        ratios = f"{many.seconds / few.seconds:.1f} | {many.cpu_seconds / few.cpu_seconds:.1f}"
        print(f"| {many.what}: {many.files:,} files or {few.files:,} | {times} | {ratios} |", flush=True)
    return steps


def _time_way(root: Path, files: int, size: int) -> list[Step]:
    root.mkdir()
    _run(root, "dvc", "init", "--quiet", "--no-scm")
    for number in range(files):
        _random_file(root / f"checkpoints/{number // CHECKPOINTS}/{number}.safetensors", size)
    commands = {"dvc add": ("add", "checkpoints"), "dvc status": ("status",)}
    return [Step(what, files, *_run(root, "dvc", *command)) for what, command in commands.items()]


# Processes


def _isolate(folder: Path) -> None:
    """Let the commands be those of this environment, and DVC read and write nothing of its user's."""
    os.environ["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    os.environ["DVC_NO_ANALYTICS"] = "1"
    for name in ("DVC_SITE_CACHE_DIR", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR"):
        os.environ[name] = str(folder / name.lower())


def _run(root: Path, *command: str) -> tuple[float, float]:
    """Seconds of a command until its end, and of the processors that it took with all that it started."""
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
        output = run.stdout.read() if run.stdout else ""
        _, status, used = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{output}")
    return seconds, used.ru_utime + used.ru_stime


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--size", type=int, default=300, metavar="KB", help="of a run's checkpoints (default: 300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every number to FILE")
    return parser


if __name__ == "__main__":
    main()
