"""Train tasks alone and together, and analyse and draw their trajectories; every rule of the workflow is a verb.

A verb imports what it needs when it runs: a figure should start in a second, without torch.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tasktrace import __version__
from tasktrace.config import Run, Study
from tasktrace.config.components import Spec, component_options
from tasktrace.config.declarations import declaration
from tasktrace.config.shown import FIGURES, SIMILARITY_FIGURES, TABLES, figure_options, study_figure
from tasktrace.config.small_studies import SHOWN
from tasktrace.config.study import identity, resolved, run_path
from tasktrace.errors import ConfigError, TasktraceError

_SAME_MODULE = {"b_a2": "b_a1", **dict.fromkeys(SIMILARITY_FIGURES, "similarity")}
"""Figures that another one's module draws, with other options."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; the exit status is 1 for an error that the user can put right, 75 where another attempt continues."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.verb(parsed)
    except TasktraceError as error:
        print(f"tasktrace: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _prepare(given: argparse.Namespace) -> None:
    from tasktrace.settings.preparation import prepare

    spec = _study().data_spec(given.setting) if given.spec is None else given.spec
    prepare(spec, given.raw or Path("data/raw") / spec["name"], given.out or _prepared_path(given.setting))


def _train(given: argparse.Namespace) -> None:
    from tasktrace.training.ending import Ending
    from tasktrace.training.job import work_through
    from tasktrace.training.session import Job, run

    paths = [run_path(text) for text in given.runs]
    specs = _run_specs(given, paths)
    jobs = []
    for path, spec in zip(paths, specs, strict=True):
        arm = path.rsplit("/", 2)[0]
        whole = resolved(spec, given.selection or Path("results/selected") / f"{arm}.json")
        prepared = given.data or _prepared_path(whole["setting"])
        jobs.append(Job(path, whole, prepared, **_device(given), save_minutes=given.save_minutes))
    with Ending(given.minutes or None).listening() as ending:
        work_through(jobs, lambda job: run(job, ending))


def _measure(given: argparse.Namespace) -> None:
    from tasktrace.measures.session import MeasureJob, measure
    from tasktrace.training.job import work_through

    paths = [run_path(text) for text in given.runs]
    jobs = [
        MeasureJob(path, spec, given.data or _prepared_path(path.partition("/")[0]), **_device(given))
        for path, spec in zip(paths, _specs(given, paths, Study.measure_spec), strict=True)
    ]
    work_through(jobs, measure)


def _select(given: argparse.Namespace) -> None:
    from tasktrace.analysis.selection import select

    folders, identities = _runs(given, lambda study: study.candidate_runs(study.find_arm(given.arm)))
    select(given.arm, folders, given.out or Path("results/selected") / f"{given.arm}.json", identities)


def _analyse(given: argparse.Namespace) -> None:
    from tasktrace.analysis.tables import analyse

    folders, identities = _runs(given, lambda study: study.selected_runs_of(given.setting))
    options = _study().config["analysis"] if given.options is None else given.options
    analyse(given.setting, folders, options, given.out or _tables(given.setting), identities)


def _factors(given: argparse.Namespace) -> None:
    from tasktrace.analysis.tables import analyse_factors

    folders, identities = _runs(given, lambda study: study.selected_runs_of(given.setting))
    options = _study().factor_options(given.setting) if given.options is None else given.options
    out = given.out or _tables(given.setting)
    chosen = {name: options.pop(name) for name in ("auxiliary", "baseline")}
    analyse_factors(given.setting, folders, options, out, identities, **chosen)


def _experiments(given: argparse.Namespace) -> None:
    from tasktrace.analysis.experiments import analyse_experiments

    folders, identities = _runs(given, lambda study: study.grid_runs_of(given.setting))
    analyse_experiments(given.setting, folders, given.out or _tables(given.setting), identities)


def _similarity(given: argparse.Namespace) -> None:
    from tasktrace.analysis.similarity import analyse_similarity

    folders, identities = _runs(given, lambda study: study.watched_runs_of(given.setting))
    analyse_similarity(given.setting, folders, given.out or _tables(given.setting), identities)


def _corrupt(given: argparse.Namespace) -> None:
    from tasktrace.corruption_transfer.data import write_corrupted
    from tasktrace.settings.prepared import read_prepared

    spec = _study().corruption_spec(given.setting) if given.spec is None else given.spec
    prepared = read_prepared(given.data or _prepared_path(given.setting), spec["data"])
    white = declaration("setting", spec["data"]["name"]).white
    write_corrupted(spec, prepared, white, given.out or _corrupted_path(given.setting))


def _refit(given: argparse.Namespace) -> None:
    from tasktrace.corruption_transfer.job import RefitJob, refit
    from tasktrace.training.job import work_through

    paths = [run_path(text) for text in given.runs]
    jobs = []
    for path, spec in zip(paths, _specs(given, paths, Study.refit_spec), strict=True):
        setting = path.partition("/")[0]
        data, corrupted = given.data or _prepared_path(setting), given.corrupted or _corrupted_path(setting)
        jobs.append(RefitJob(path, spec, data, corrupted=corrupted, **_device(given)))
    work_through(jobs, refit)


def _corruption(given: argparse.Namespace) -> None:
    from tasktrace.analysis.corruption import analyse_corruption

    folders, identities = _runs(given, lambda study: study.refitted_runs_of(given.setting))
    analyse_corruption(given.setting, folders, given.out or _tables(given.setting), identities)


def _run_study(given: argparse.Namespace) -> None:
    module = importlib.import_module(f"tasktrace.studies.{given.study}")
    spec = _study().study_spec(given.study) if given.spec is None else given.spec
    module.run(given.out or _tables(given.study), component_options(spec))


def _figure(given: argparse.Namespace) -> None:
    module = importlib.import_module(f"tasktrace.figures.{_SAME_MODULE.get(given.figure, given.figure)}")
    options = given.options
    if options is None:
        is_small = given.figure in SHOWN
        options = (
            study_figure(_study(), given.figure) if is_small else figure_options(_study(), given.figure, given.setting)
        )
    default = f"{given.figure}.html" if given.figure.startswith("tab_") else f"fig_{given.figure}.png"
    out = given.out or Path("results/figures") / given.setting / default
    module.draw(given.tables or _tables(given.setting), options, out)


def _report(given: argparse.Namespace) -> None:
    from tasktrace.report import write_report

    selected = given.selected or [Path("results/selected") / f"{arm.path}.json" for arm in _study().arms(given.setting)]
    out = given.out or Path("results/report") / f"{given.setting}.html"
    write_report(given.setting, given.tables or _tables(given.setting), selected, out)


def _check(given: argparse.Namespace) -> None:
    from tasktrace.check import check

    check(_configured(given), given.profile)


def _plan(given: argparse.Namespace) -> None:
    from tasktrace.planning.plan import Asked
    from tasktrace.planning.show import show_plan

    asked = Asked(given.setting, given.device, given.threads, given.gpus, given.calibrate, given.fresh)
    show_plan(_configured(given), asked, given.json)


def _orphans(given: argparse.Namespace) -> None:
    from tasktrace.cluster.orphans import orphans

    orphans(Path(), print, cancel=given.cancel)


def _status(given: argparse.Namespace) -> None:
    from tasktrace.status import Asked, show_status

    asked = Asked(settings=tuple(given.setting), by=given.by, everything=given.all, as_json=given.json)
    show_status(_configured(given), asked)


def _configured(given: argparse.Namespace) -> Study:
    """The study that was given, otherwise that of config/."""
    return _study() if given.config is None else Study(given.config)


def _tables(setting: str) -> Path:
    return Path("results/tables") / setting


def _runs(given: argparse.Namespace, choose: Callable[[Study], list[Run]]) -> tuple[list[Path], list[str] | None]:
    """Where the runs are that a verb reads, and what they have to have been trained with.

    They are those that were given, otherwise the study's that ``choose`` names.
    """
    if given.runs is not None:
        return given.runs, given.identities
    study = _study()
    runs = choose(study)
    return [Path("results/runs") / run.path for run in runs], [identity(study.run_spec(run)) for run in runs]


def _run_specs(given: argparse.Namespace, paths: list[str]) -> list[Spec]:
    """The specs of the runs to be trained: those that were given, otherwise the study's."""
    if given.spec is None:
        study = _study()
        return [study.run_spec(study.find_run(path)) for path in paths]
    return _given_specs(given, paths)


def _specs(given: argparse.Namespace, paths: list[str], of: Callable[[Study, str], Spec]) -> list[Spec]:
    """What to do with finished runs: what was given, otherwise what the study says of their settings."""
    if given.spec is None:
        study = _study()
        return [of(study, study.find_run(path).arm.setting) for path in paths]
    return _given_specs(given, paths)


def _given_specs(given: argparse.Namespace, paths: list[str]) -> list[Spec]:
    specs: list[Spec] = given.spec if isinstance(given.spec, list) else [given.spec]
    if len(specs) != len(paths):
        raise ConfigError(f"--spec: expected one spec per run, in a list; found {len(specs)} for {len(paths)} runs")
    return specs


def _device(given: argparse.Namespace) -> dict[str, Any]:
    return {"device": given.device, "threads": given.threads}


def _prepared_path(setting: str) -> Path:
    return Path("data/prepared") / f"{setting}.safetensors"


def _corrupted_path(setting: str) -> Path:
    return Path("data/corrupted") / setting


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text}")
    return number


def _minutes(text: str) -> float:
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"expected minutes, 0 or more, found {text}")
    return number


def _study() -> Study:
    return Study.load()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tasktrace", description=__doc__.partition("\n")[0])
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(title="verbs", required=True, metavar="VERB")

    prepare = verbs.add_parser("prepare", help="make a setting's prepared data from its raw files")
    prepare.add_argument("setting")
    prepare.add_argument("--spec", type=json.loads, help="the data's spec as JSON (default: from config/)")
    prepare.add_argument("--raw", type=Path, help="folder of the raw files (default: data/raw/MODULE)")
    prepare.add_argument("--out", type=Path, help="default: data/prepared/SETTING.safetensors")
    prepare.set_defaults(verb=_prepare)

    train = verbs.add_parser("train", help="train runs one after the other, or continue them")
    _add_run_folders(train)
    train.add_argument(
        "--spec", type=json.loads, help="the run's spec as JSON, or the runs' in a list (default: from config/)"
    )
    train.add_argument("--selection", type=Path, help="selection file of a run at the selected point")
    train.add_argument("--save-minutes", type=_minutes, default=5.0, help="time between resume states (default: 5)")
    train.add_argument(
        "--minutes", type=_minutes, default=0.0, help="until this process is killed: save and end in time (0: no limit)"
    )
    _add_data_and_device(train)
    train.set_defaults(verb=_train)

    measure = verbs.add_parser("measure", help="measure the checkpoints of finished runs, or continue that")
    _add_run_folders(measure)
    measure.add_argument(
        "--spec", type=json.loads, help="what to measure as JSON, or a list of it by run (default: from config/)"
    )
    _add_data_and_device(measure)
    measure.set_defaults(verb=_measure)

    select = verbs.add_parser("select", help="choose an arm's learning rate and batch size by validation")
    select.add_argument("arm", help="SETTING/GROUP/[METHOD/]OPTIMIZER")
    _add_runs(select)
    select.add_argument("--out", type=Path, help="default: results/selected/ARM.json")
    select.set_defaults(verb=_select)

    analyse = _add_table_verb(verbs, "analyse", "make a setting's tables from its finished runs")
    analyse.add_argument("--options", type=json.loads, help="band, best_checkpoints, grid_points as JSON")
    analyse.set_defaults(verb=_analyse)

    factors = _add_table_verb(verbs, "factors", "make a setting's tables from what was measured of its runs")
    factors.add_argument("--options", type=json.loads, help="analysis, baseline and auxiliary sets as JSON")
    factors.set_defaults(verb=_factors)

    experiments = _add_table_verb(verbs, "experiments", "make a setting's tables of study B's grid")
    experiments.set_defaults(verb=_experiments)

    similarity = _add_table_verb(verbs, "similarity", "make the table of a setting's gradient similarity")
    similarity.set_defaults(verb=_similarity)

    corrupt = verbs.add_parser("corrupt", help="corrupt a setting's pictures, once for all runs")
    corrupt.add_argument("setting")
    corrupt.add_argument("--spec", type=json.loads, help="which corruptions as JSON (default: from config/)")
    corrupt.add_argument("--data", type=Path, help="the prepared data")
    corrupt.add_argument("--out", type=Path, help="folder (default: data/corrupted/SETTING)")
    corrupt.set_defaults(verb=_corrupt)

    refit = verbs.add_parser("refit", help="fit the heads of finished runs to corrupted data, and test them")
    _add_run_folders(refit)
    refit.add_argument("--spec", type=json.loads, help="how to fit as JSON, or a list by run (default: from config/)")
    refit.add_argument("--corrupted", type=Path, help="folder of the corrupted pictures")
    _add_data_and_device(refit)
    refit.set_defaults(verb=_refit)

    corruption = _add_table_verb(verbs, "corruption", "make the tables of a setting's corruption transfer")
    corruption.set_defaults(verb=_corruption)

    study = verbs.add_parser("study", help="run one of study B's small studies without data")
    study.add_argument("study", choices=["toy", "invariance"])
    study.add_argument("--spec", type=json.loads, help="its options as JSON (default: from config/)")
    study.add_argument("--out", type=Path, help="folder of the tables (default: results/tables/STUDY)")
    study.set_defaults(verb=_run_study)

    figure = verbs.add_parser("figure", help="draw a figure or table of a setting from its tables")
    figure.add_argument("figure", choices=[*FIGURES, *TABLES, *SHOWN])
    figure.add_argument("setting", help="a setting; toy or invariance for the figures of those studies")
    figure.add_argument("--tables", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    figure.add_argument("--options", type=json.loads, help="what to draw as JSON (default: from config/)")
    figure.add_argument("--out", type=Path, help="the PNG, or a table's HTML; other forms lie beside it")
    figure.set_defaults(verb=_figure)

    report = verbs.add_parser("report", help="write a setting's tables, selected points and runs as one page")
    report.add_argument("setting")
    report.add_argument("--tables", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    report.add_argument("--selected", type=Path, nargs="+", help="selection files (default: from config/)")
    report.add_argument("--out", type=Path, help="default: results/report/SETTING.html")
    report.set_defaults(verb=_report)

    check = verbs.add_parser("check", help="say what this machine lacks for the study, and where to put it")
    check.add_argument("--profile", help="also what the cluster of this Snakemake profile would refuse, such as slurm")
    _add_config(check)
    check.set_defaults(verb=_check)

    orphans = verbs.add_parser("orphans", help="list the jobs on SLURM that a killed Snakemake left in this folder")
    orphans.add_argument("--cancel", action="store_true", help="end them, and wait until they have gone")
    orphans.set_defaults(verb=_orphans)

    plan = verbs.add_parser("plan", help="say what the study takes: jobs, time, memory, disk, before any of it runs")
    _add_settings(plan)
    plan.add_argument(
        "--gpus", type=_positive, default=1, help="devices to plan with, a job on each at a time (default: 1)"
    )
    plan.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, or the name of a GPU that runs were trained on"
    )
    plan.add_argument("--threads", type=_positive, default=1, help="threads of a job on a CPU (default: 1)")
    plan.add_argument("--calibrate", action="store_true", help="try here what no finished run tells: minutes")
    plan.add_argument("--fresh", action="store_true", help="with --calibrate: try again what was tried before")
    plan.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    _add_config(plan)
    plan.set_defaults(verb=_plan)

    status = verbs.add_parser(
        "status", help="say which runs are done, under way, waiting, failed, and how long it takes"
    )
    _add_settings(status)
    status.add_argument(
        "--by", choices=["method", "seed", "group", "optimizer"], default="method", help="the tables' rows"
    )
    status.add_argument("--all", action="store_true", help="list every failed, stopped and diverged run")
    status.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    _add_config(status)
    status.set_defaults(verb=_status)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    """What :func:`_configured` asks for."""
    parser.add_argument("--config", type=json.loads, help="the study as JSON (default: config/config.yaml)")


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--setting", action="append", default=[], metavar="NAME", help="this one only; can be repeated")


def _add_table_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str
) -> argparse.ArgumentParser:
    """The parser of a verb that makes a setting's tables from runs."""
    parser = verbs.add_parser(name, help=what)
    parser.add_argument("setting")
    _add_runs(parser)
    parser.add_argument("--out", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    return parser


def _add_run_folders(parser: argparse.ArgumentParser) -> None:
    """The runs that a verb works on."""
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="a run's folder, results/runs/SETTING/GROUP/[METHOD/]OPTIMIZER/POINT/seedN",
    )


def _add_data_and_device(parser: argparse.ArgumentParser) -> None:
    """What a verb that works on runs needs beside them."""
    parser.add_argument("--data", type=Path, help="the prepared data")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=_positive, default=1, help="threads on a CPU (default: 1)")


def _add_runs(parser: argparse.ArgumentParser) -> None:
    """What :func:`_runs` asks for."""
    parser.add_argument("--runs", type=Path, nargs="+", help="folders of runs (default: from config/)")
    parser.add_argument("--identities", nargs="+", help="what the runs have to have been trained with")
