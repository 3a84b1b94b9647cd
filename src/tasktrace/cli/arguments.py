"""What several verbs ask for, and what stands for what they are not given."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from tasktrace.config import Run, Study
from tasktrace.config.loading import merged, read_yaml
from tasktrace.config.study import identity
from tasktrace.errors import ConfigError
from tasktrace.places import RUNS

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def read_study() -> Study:
    """The study of config/."""
    return Study.load()


def configured_study(given: argparse.Namespace) -> Study:
    """The study that was given, otherwise that of config/."""
    if given.config is None:
        return read_study()
    if given.config.lstrip().startswith("{"):
        return Study(json.loads(given.config))
    own, shipped = Path(given.config), Path("config/config.yaml")
    if not own.exists():
        raise ConfigError(f"{own}: no such file; --config takes a YAML file to be put on top of {shipped}, or JSON")
    return Study(merged(read_yaml(shipped), read_yaml(own)), where=f"{own} with {shipped}")


def add_config(parser: argparse.ArgumentParser) -> None:
    """What :func:`configured_study` asks for."""
    parser.add_argument(
        "--config", metavar="FILE", help="YAML on top of config/config.yaml, or the whole study as JSON"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Which of the settings."""
    parser.add_argument("--setting", action="append", default=[], metavar="NAME", help="this one only; can be repeated")


def chosen_runs(given: argparse.Namespace, choose: Callable[[Study], list[Run]]) -> tuple[list[Path], list[str] | None]:
    """Where the runs are that a verb reads, and what they have to have been trained with.

    They are those that were given, otherwise the study's that ``choose`` names.
    """
    if given.runs is not None:
        return given.runs, given.identities
    study = read_study()
    runs = choose(study)
    return [RUNS / run.path for run in runs], [identity(study.run_spec(run)) for run in runs]


def add_runs(parser: argparse.ArgumentParser) -> None:
    """What :func:`chosen_runs` asks for."""
    parser.add_argument("--runs", type=Path, nargs="+", help="folders of runs (default: from config/)")
    parser.add_argument("--identities", nargs="+", help="what the runs have to have been trained with")


def add_run_folders(parser: argparse.ArgumentParser) -> None:
    """The runs that a verb works on."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, results/runs/SETTING/GROUP/[METHOD/]OPTIMIZER/POINT/seedN",
    )


def add_data_and_device(parser: argparse.ArgumentParser) -> None:
    """What a verb that works on runs needs beside them."""
    parser.add_argument("--data", type=Path, help="the prepared data")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=positive, default=1, help="threads on a CPU (default: 1)")


def device_of(given: argparse.Namespace) -> dict[str, Any]:
    """What :func:`add_data_and_device` asked for, as a job on a run takes it."""
    return {"device": given.device, "threads": given.threads}


def positive(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return number


def minutes(text: str) -> float:
    """A time of 0 minutes or more."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"expected minutes, 0 or more, found {text}")
    return number
