"""A tiny study in a folder of its own, tried, trained and measured once, and what was expected of it."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tasktrace.analysis.selection import select
from tasktrace.config import Run, Study, arms
from tasktrace.config.study import resolved
from tasktrace.measures.session import MeasureJob, measure
from tasktrace.planning.calibration import Calibration, calibrate
from tasktrace.planning.device import Device, planned_device
from tasktrace.planning.jobs import MEASURE, SELECTED, SWEEP, Job
from tasktrace.planning.timings import Timings
from tasktrace.planning.workload import jobs_of_setting
from tasktrace.settings.preparation import prepare
from tasktrace.training.session import Job as TrainJob
from tasktrace.training.session import run

REPOSITORY = Path(__file__).resolve().parents[2]
ON_RUNS = (SWEEP, SELECTED, MEASURE)


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was):
    """After every test that trains."""


@pytest.fixture(scope="session")
def cpu() -> Device:
    return planned_device("cpu", 1, [])


@dataclass(frozen=True)
class Finished:
    """The tiny study, trained and measured.

    Attributes:
        study: It.
        before: Its jobs before anything was done.
        expected: What trials found then.
        shares: By stage and run the share of a processor that it had.
    """

    study: Study
    before: list[Job]
    expected: Calibration
    shares: dict[tuple[str, str], float]


def _tiny(folder: Path) -> Study:
    """One task alone and one group, two learning rates, two seeds that share a job."""
    for name in ("config", "workflow"):
        shutil.copytree(REPOSITORY / name, folder / name)
    config = yaml.safe_load((folder / "config/config.yaml").read_text())
    config.update(settings=["digits"], demo=[], seeds=[0, 1])
    (folder / "config/config.yaml").write_text(yaml.safe_dump(config))
    path = folder / "config/settings/digits.yaml"
    block = yaml.safe_load(path.read_text())
    del block["groups"]["with_noisy"], block["experiments"]
    block.update(alone=["digits1"], methods=["umtg"], resources={"runs_per_job": 2})
    block["figures"]["a1"]["groups"] = ["with_digits2"]
    block["sweep"].update(epochs=6)
    block["training"].update(epochs=8)
    block["measuring"].update(every=4)
    path.write_text(yaml.safe_dump(block))
    return Study.load(folder)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Study:
    """The tiny study as it stands before anything is done; no test changes it."""
    return _tiny(tmp_path_factory.mktemp("planning") / "tiny")


@pytest.fixture(scope="session")
def jobs_on_runs() -> Callable[[Study], list[Job]]:
    """A function that gives the jobs of a tiny study that train and measure."""
    return lambda study: [job for job in jobs_of_setting(study, "digits") if job.stage in ON_RUNS]


@pytest.fixture(scope="session")
def finished(tmp_path_factory, cpu, jobs_on_runs) -> Finished:
    """The tiny study after all of its runs, which began right after the trials; no test changes it."""
    study = _tiny(tmp_path_factory.mktemp("planning") / "finished")
    prepare(study.data_spec("digits"), study.root, _data(study))
    jobs = jobs_on_runs(study)
    expected = calibrate(study, jobs, cpu, Timings(), fresh=False)
    return Finished(study, jobs, expected, _train(study, jobs))


@pytest.fixture
def copied(finished, tmp_path) -> Study:
    """A copy of the finished study, to be changed."""
    shutil.copytree(finished.study.root, tmp_path / "copy")
    return Study.load(tmp_path / "copy")


def _train(study: Study, jobs: list[Job]) -> dict[tuple[str, str], float]:
    """Train and measure everything; the share of a processor that each had."""
    data, root = _data(study), study.root
    runs = [(job.stage, item.run) for job in jobs for item in job.items]
    # What a process does once is in the start of jobs, of which none is a process here.
    spec = {**study.run_spec(runs[0][1]), "epochs": 1}
    run(TrainJob("digits/warming", spec, data, root.parent / "warming", device="cpu"))
    shares = {}
    for stage in ON_RUNS:
        for own in (own for in_stage, own in runs if in_stage == stage):
            begin, used = time.perf_counter(), time.process_time()
            _measure(study, own) if stage == MEASURE else _train_one(study, own)
            shares[stage, own.path] = (time.process_time() - used) / (time.perf_counter() - begin)
    return shares


def _measure(study: Study, own: Run) -> None:
    measure(MeasureJob(own.path, study.measure_spec("digits"), _data(study), study.root, device="cpu"))


def _train_one(study: Study, own: Run) -> None:
    selection = study.root / "results/selected" / f"{own.arm.path}.json"
    if own.point == arms.SELECTED and not selection.exists():
        sweep = [study.root / "results/runs" / other.path for other in study.candidate_runs(own.arm)]
        select(own.arm.path, sweep, selection)
    spec = resolved(study.run_spec(own), selection)
    run(TrainJob(own.path, spec, _data(study), study.root, device="cpu"))


def _data(study: Study) -> Path:
    return study.root / "data/prepared/digits.safetensors"
