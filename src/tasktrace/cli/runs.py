"""Verbs that work on data and on runs: prepare, train, measure, corrupt, refit."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

from tasktrace.cli.arguments import (
    Verbs,
    add_data_and_device,
    add_run_folders,
    device_of,
    minutes,
    read_study,
)
from tasktrace.config import Run, Study
from tasktrace.config.components import Spec
from tasktrace.config.declarations import declaration
from tasktrace.config.study import resolved, run_path
from tasktrace.errors import ConfigError
from tasktrace.places import corrupted_path, prepared_path, raw_path, selection_path


def add_verbs(verbs: Verbs) -> None:
    """Add the parsers of these verbs."""
    _add_prepare(verbs)
    _add_train(verbs)
    _add_measure(verbs)
    _add_corrupt(verbs)
    _add_refit(verbs)


def _add_prepare(verbs: Verbs) -> None:
    parser = verbs.add_parser("prepare", help="make a setting's prepared data from its raw files")
    parser.add_argument("setting")
    parser.add_argument("--spec", type=json.loads, help="the data's spec as JSON (default: from config/)")
    parser.add_argument("--raw", type=Path, help="folder of the raw files (default: data/raw/MODULE)")
    parser.add_argument("--out", type=Path, help="default: data/prepared/SETTING.safetensors")
    parser.set_defaults(verb=_prepare)


def _prepare(given: argparse.Namespace) -> None:
    from tasktrace.settings.preparation import prepare
    from tasktrace.versioning.fetch import check_raw

    spec = read_study().data_spec(given.setting) if given.spec is None else given.spec
    if given.raw is None:
        check_raw(Path(), spec["name"])
    prepare(spec, given.raw or raw_path(spec["name"]), given.out or prepared_path(given.setting))


def _add_train(verbs: Verbs) -> None:
    parser = verbs.add_parser("train", help="train runs one after the other, or continue them")
    add_run_folders(parser)
    parser.add_argument(
        "--spec", type=json.loads, help="the run's spec as JSON, or the runs' in a list (default: from config/)"
    )
    parser.add_argument("--selection", type=Path, help="selection file of a run at the selected point")
    parser.add_argument("--save-minutes", type=minutes, default=5.0, help="time between resume states (default: 5)")
    parser.add_argument(
        "--minutes", type=minutes, default=0.0, help="until this process is killed: save and end in time (0: no limit)"
    )
    add_data_and_device(parser)
    parser.set_defaults(verb=_train)


def _train(given: argparse.Namespace) -> None:
    from tasktrace.training.ending import Ending
    from tasktrace.training.job import work_through
    from tasktrace.training.session import Job, run

    paths = [run_path(text) for text in given.runs]
    jobs = []
    for path, spec in zip(paths, _specs(given, paths, Study.run_spec), strict=True):
        arm = path.rsplit("/", 2)[0]
        whole = resolved(spec, given.selection or selection_path(arm))
        prepared = given.data or prepared_path(whole["setting"])
        jobs.append(Job(path, whole, prepared, **device_of(given), save_minutes=given.save_minutes))
    with Ending(given.minutes or None).listening() as ending:
        work_through(jobs, lambda job: run(job, ending))


def _add_measure(verbs: Verbs) -> None:
    parser = verbs.add_parser("measure", help="measure the checkpoints of finished runs, or continue that")
    add_run_folders(parser)
    parser.add_argument(
        "--spec", type=json.loads, help="what to measure as JSON, or a list of it by run (default: from config/)"
    )
    add_data_and_device(parser)
    parser.set_defaults(verb=_measure)


def _measure(given: argparse.Namespace) -> None:
    from tasktrace.measures.session import MeasureJob, measure
    from tasktrace.training.job import work_through

    paths = [run_path(text) for text in given.runs]
    jobs = [
        MeasureJob(path, spec, given.data or prepared_path(path.partition("/")[0]), **device_of(given))
        for path, spec in zip(paths, _specs(given, paths, _of_setting(Study.measure_spec)), strict=True)
    ]
    work_through(jobs, measure)


def _add_corrupt(verbs: Verbs) -> None:
    parser = verbs.add_parser("corrupt", help="corrupt a setting's pictures, once for all runs")
    parser.add_argument("setting")
    parser.add_argument("--spec", type=json.loads, help="which corruptions as JSON (default: from config/)")
    parser.add_argument("--data", type=Path, help="the prepared data")
    parser.add_argument("--out", type=Path, help="folder (default: data/corrupted/SETTING)")
    parser.set_defaults(verb=_corrupt)


def _corrupt(given: argparse.Namespace) -> None:
    from tasktrace.corruption_transfer.data import write_corrupted
    from tasktrace.settings.prepared import read_prepared

    spec = read_study().corruption_spec(given.setting) if given.spec is None else given.spec
    prepared = read_prepared(given.data or prepared_path(given.setting), spec["data"])
    white = declaration("setting", spec["data"]["name"]).white
    write_corrupted(spec, prepared, white, given.out or corrupted_path(given.setting))


def _add_refit(verbs: Verbs) -> None:
    parser = verbs.add_parser("refit", help="fit the heads of finished runs to corrupted data, and test them")
    add_run_folders(parser)
    parser.add_argument("--spec", type=json.loads, help="how to fit as JSON, or a list by run (default: from config/)")
    parser.add_argument("--corrupted", type=Path, help="folder of the corrupted pictures")
    add_data_and_device(parser)
    parser.set_defaults(verb=_refit)


def _refit(given: argparse.Namespace) -> None:
    from tasktrace.corruption_transfer.job import RefitJob, refit
    from tasktrace.training.job import work_through

    paths = [run_path(text) for text in given.runs]
    jobs = []
    for path, spec in zip(paths, _specs(given, paths, _of_setting(Study.refit_spec)), strict=True):
        setting = path.partition("/")[0]
        data, corrupted = given.data or prepared_path(setting), given.corrupted or corrupted_path(setting)
        jobs.append(RefitJob(path, spec, data, corrupted=corrupted, **device_of(given)))
    work_through(jobs, refit)


def _specs(given: argparse.Namespace, paths: list[str], of: Callable[[Study, Run], Spec]) -> list[Spec]:
    """What to do with runs: what was given, otherwise what the study says of each.

    Raises:
        ConfigError: Other than one spec per run was given, or the study has no such run.
    """
    if given.spec is None:
        study = read_study()
        return [of(study, study.find_run(path)) for path in paths]
    specs: list[Spec] = given.spec if isinstance(given.spec, list) else [given.spec]
    if len(specs) != len(paths):
        raise ConfigError(f"--spec: expected one spec per run, in a list; found {len(specs)} for {len(paths)} runs")
    return specs


def _of_setting(of: Callable[[Study, str], Spec]) -> Callable[[Study, Run], Spec]:
    """What the study says of a run's setting, as of the run."""
    return lambda study, run: of(study, run.arm.setting)
