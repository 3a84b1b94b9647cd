"""A tiny study in a folder of its own, tried, trained and measured once, and what was expected of it."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from torch.utils.flop_counter import FlopCounterMode

from tasktrace.analysis.selection import select
from tasktrace.config import Run, Study, arms
from tasktrace.config.study import resolved
from tasktrace.measures.session import MeasureJob, measure
from tasktrace.planning.calibration import Calibration, calibrate
from tasktrace.planning.device import Device, planned_device
from tasktrace.planning.jobs import MEASURE, SELECTED, SWEEP, Job
from tasktrace.planning.timings import Known, Timings
from tasktrace.planning.trials.bench import Bench
from tasktrace.planning.trials.measuring import try_measuring
from tasktrace.planning.trials.stopwatch import Stopwatch
from tasktrace.planning.trials.training import try_training
from tasktrace.planning.workload import jobs_of_setting
from tasktrace.settings.preparation import prepare
from tasktrace.training.device import configure
from tasktrace.training.session import Job as TrainJob
from tasktrace.training.session import run

REPOSITORY = Path(__file__).resolve().parents[2]
ON_RUNS = (SWEEP, SELECTED, MEASURE)

_FLOPS = 1e6
"""Operations that clocks that count them show as a second."""


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was):
    """After every test that trains."""


@pytest.fixture(scope="session")
def cpu() -> Device:
    return planned_device("cpu", 1, [])


@contextmanager
def _work_counted() -> Iterator[None]:
    """A context in which clocks show the operations counted so far, and nothing is repeated to know what it takes."""
    with pytest.MonkeyPatch.context() as patch, FlopCounterMode(display=False) as counter:
        reads = itertools.count()
        # What has no counted operation takes what reading the clock does, not nothing.
        patch.setattr(time, "perf_counter", lambda: (counter.get_total_flops() + next(reads)) / _FLOPS)
        patch.setattr(Stopwatch, "typical", lambda self, work, enough=0.0: self.seconds(work))
        yield


@pytest.fixture
def work_counted() -> Iterator[None]:
    """Clocks that count operations: no machine's speed or load moves them."""
    with _work_counted():
        yield


@dataclass(frozen=True)
class Finished:
    """The tiny study, trained and measured.

    Attributes:
        study: It.
        before: Its jobs before anything was done.
        expected: What trials found then.
    """

    study: Study
    before: list[Job]
    expected: Calibration


@dataclass(frozen=True)
class Counted:
    """The tiny study by clocks that count operations.

    Attributes:
        study: It, trained and measured.
        trials: What trials found before.
    """

    study: Study
    trials: Timings


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
    """The tiny study after all of its runs, and what trials said of them; no test changes it."""
    study = _prepared(tmp_path_factory.mktemp("planning") / "finished")
    jobs = jobs_on_runs(study)
    expected = calibrate(study, jobs, cpu, Timings(), fresh=False)
    _train(study, jobs)
    return Finished(study, jobs, expected)


@pytest.fixture(scope="session")
def counted(tmp_path_factory, jobs_on_runs) -> Counted:
    """The tiny study, tried, trained and measured by clocks that count operations; no test changes it."""
    folder = tmp_path_factory.mktemp("planning")
    study = _prepared(folder / "counted")
    jobs = jobs_on_runs(study)
    with _work_counted():
        bench = Bench.of(_data(study), study.data_spec("digits"), configure("cpu", 1), folder)
        trials = _try(jobs, bench)
        _train(study, jobs)
    return Counted(study, trials)


@pytest.fixture
def copied(finished, tmp_path) -> Study:
    """A copy of the finished study, to be changed."""
    shutil.copytree(finished.study.root, tmp_path / "copy")
    return Study.load(tmp_path / "copy")


def _prepared(folder: Path) -> Study:
    study = _tiny(folder)
    prepare(study.data_spec("digits"), study.root, _data(study))
    return study


def _try(jobs: list[Job], bench: Bench) -> Timings:
    trials = {"train": try_training, "measure": try_measuring}
    shapes = {shape.key: shape for job in jobs for item in job.items for shape in item.shapes}
    return Timings(
        {key: Known(trials[own.activity](bench, *own.example.values())["rates"]) for key, own in shapes.items()}
    )


def _train(study: Study, jobs: list[Job]) -> None:
    """Train and measure everything."""
    runs = [(job.stage, item.run) for job in jobs for item in job.items]
    for stage in ON_RUNS:
        for own in (own for in_stage, own in runs if in_stage == stage):
            _measure(study, own) if stage == MEASURE else _train_one(study, own)


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
