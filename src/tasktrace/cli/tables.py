"""Verbs that make tables of finished runs, or run the small studies."""

import argparse
import importlib
import json
from collections.abc import Callable
from pathlib import Path

from tasktrace.cli.arguments import Verbs, add_runs, chosen_runs, read_study
from tasktrace.config import Run, Study
from tasktrace.config.components import component_options
from tasktrace.places import selection_path, tables_folder


def add_verbs(verbs: Verbs) -> None:
    """Add the parsers of these verbs."""
    _add_select(verbs)
    _add_analyse(verbs)
    _add_factors(verbs)
    _add_tables_of("experiments", "make a setting's tables of study B's grid", Study.grid_runs_of, verbs)
    _add_tables_of("similarity", "make the table of a setting's gradient similarity", Study.watched_runs_of, verbs)
    _add_tables_of("corruption", "make the tables of a setting's corruption transfer", Study.refitted_runs_of, verbs)
    _add_study(verbs)


def _add_select(verbs: Verbs) -> None:
    parser = verbs.add_parser("select", help="choose an arm's learning rate and batch size by validation")
    parser.add_argument("arm", help="SETTING/GROUP/[METHOD/]OPTIMIZER")
    add_runs(parser)
    parser.add_argument("--out", type=Path, help="default: results/selected/ARM.json")
    parser.set_defaults(verb=_select)


def _select(given: argparse.Namespace) -> None:
    from tasktrace.analysis.selection import select

    folders, identities = chosen_runs(given, lambda study: study.candidate_runs(study.find_arm(given.arm)))
    select(given.arm, folders, given.out or selection_path(given.arm), identities)


def _add_analyse(verbs: Verbs) -> None:
    parser = _add_table_verb(verbs, "analyse", "make a setting's tables from its finished runs")
    parser.add_argument("--options", type=json.loads, help="band, best_checkpoints, grid_points as JSON")
    parser.set_defaults(verb=_analyse)


def _analyse(given: argparse.Namespace) -> None:
    from tasktrace.analysis.tables import analyse

    folders, identities = chosen_runs(given, lambda study: study.selected_runs_of(given.setting))
    options = read_study().config["analysis"] if given.options is None else given.options
    analyse(given.setting, folders, options, given.out or tables_folder(given.setting), identities)


def _add_factors(verbs: Verbs) -> None:
    parser = _add_table_verb(verbs, "factors", "make a setting's tables from what was measured of its runs")
    parser.add_argument("--options", type=json.loads, help="analysis, baseline and auxiliary sets as JSON")
    parser.set_defaults(verb=_factors)


def _factors(given: argparse.Namespace) -> None:
    from tasktrace.analysis.tables import analyse_factors

    folders, identities = chosen_runs(given, lambda study: study.selected_runs_of(given.setting))
    options = read_study().factor_options(given.setting) if given.options is None else given.options
    out = given.out or tables_folder(given.setting)
    chosen = {name: options.pop(name) for name in ("auxiliary", "baseline")}
    analyse_factors(given.setting, folders, options, out, identities, **chosen)


def _add_tables_of(name: str, what: str, runs_of: Callable[[Study, str], list[Run]], verbs: Verbs) -> None:
    """Add a verb that gives some of a setting's runs to ``analyse_<name>`` of the analysis of that name."""

    def make(given: argparse.Namespace) -> None:
        analyse = getattr(importlib.import_module(f"tasktrace.analysis.{name}"), f"analyse_{name}")
        folders, identities = chosen_runs(given, lambda study: runs_of(study, given.setting))
        analyse(given.setting, folders, given.out or tables_folder(given.setting), identities)

    _add_table_verb(verbs, name, what).set_defaults(verb=make)


def _add_study(verbs: Verbs) -> None:
    parser = verbs.add_parser("study", help="run one of study B's small studies without data")
    parser.add_argument("study", choices=["toy", "invariance"])
    parser.add_argument("--spec", type=json.loads, help="its options as JSON (default: from config/)")
    parser.add_argument("--out", type=Path, help="folder of the tables (default: results/tables/STUDY)")
    parser.set_defaults(verb=_run_study)


def _run_study(given: argparse.Namespace) -> None:
    module = importlib.import_module(f"tasktrace.studies.{given.study}")
    spec = read_study().study_spec(given.study) if given.spec is None else given.spec
    module.run(given.out or tables_folder(given.study), component_options(spec))


def _add_table_verb(verbs: Verbs, name: str, what: str) -> argparse.ArgumentParser:
    """The parser of a verb that makes a setting's tables from runs."""
    parser = verbs.add_parser(name, help=what)
    parser.add_argument("setting")
    add_runs(parser)
    parser.add_argument("--out", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    return parser
