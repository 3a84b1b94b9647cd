"""Verbs that make tables of finished runs, or run the small studies."""

import argparse
import importlib
import json
from pathlib import Path

from tasktrace.cli.arguments import Verbs, add_runs, chosen_runs, read_study, tables_folder
from tasktrace.config.components import component_options


def add_verbs(verbs: Verbs) -> None:
    """Add the parsers of these verbs."""
    _add_select(verbs)
    _add_analyse(verbs)
    _add_factors(verbs)
    _add_experiments(verbs)
    _add_similarity(verbs)
    _add_corruption(verbs)
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
    select(given.arm, folders, given.out or Path("results/selected") / f"{given.arm}.json", identities)


def _add_analyse(verbs: Verbs) -> None:
    parser = add_table_verb(verbs, "analyse", "make a setting's tables from its finished runs")
    parser.add_argument("--options", type=json.loads, help="band, best_checkpoints, grid_points as JSON")
    parser.set_defaults(verb=_analyse)


def _analyse(given: argparse.Namespace) -> None:
    from tasktrace.analysis.tables import analyse

    folders, identities = chosen_runs(given, lambda study: study.selected_runs_of(given.setting))
    options = read_study().config["analysis"] if given.options is None else given.options
    analyse(given.setting, folders, options, given.out or tables_folder(given.setting), identities)


def _add_factors(verbs: Verbs) -> None:
    parser = add_table_verb(verbs, "factors", "make a setting's tables from what was measured of its runs")
    parser.add_argument("--options", type=json.loads, help="analysis, baseline and auxiliary sets as JSON")
    parser.set_defaults(verb=_factors)


def _factors(given: argparse.Namespace) -> None:
    from tasktrace.analysis.tables import analyse_factors

    folders, identities = chosen_runs(given, lambda study: study.selected_runs_of(given.setting))
    options = read_study().factor_options(given.setting) if given.options is None else given.options
    out = given.out or tables_folder(given.setting)
    chosen = {name: options.pop(name) for name in ("auxiliary", "baseline")}
    analyse_factors(given.setting, folders, options, out, identities, **chosen)


def _add_experiments(verbs: Verbs) -> None:
    parser = add_table_verb(verbs, "experiments", "make a setting's tables of study B's grid")
    parser.set_defaults(verb=_experiments)


def _experiments(given: argparse.Namespace) -> None:
    from tasktrace.analysis.experiments import analyse_experiments

    folders, identities = chosen_runs(given, lambda study: study.grid_runs_of(given.setting))
    analyse_experiments(given.setting, folders, given.out or tables_folder(given.setting), identities)


def _add_similarity(verbs: Verbs) -> None:
    parser = add_table_verb(verbs, "similarity", "make the table of a setting's gradient similarity")
    parser.set_defaults(verb=_similarity)


def _similarity(given: argparse.Namespace) -> None:
    from tasktrace.analysis.similarity import analyse_similarity

    folders, identities = chosen_runs(given, lambda study: study.watched_runs_of(given.setting))
    analyse_similarity(given.setting, folders, given.out or tables_folder(given.setting), identities)


def _add_corruption(verbs: Verbs) -> None:
    parser = add_table_verb(verbs, "corruption", "make the tables of a setting's corruption transfer")
    parser.set_defaults(verb=_corruption)


def _corruption(given: argparse.Namespace) -> None:
    from tasktrace.analysis.corruption import analyse_corruption

    folders, identities = chosen_runs(given, lambda study: study.refitted_runs_of(given.setting))
    analyse_corruption(given.setting, folders, given.out or tables_folder(given.setting), identities)


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


def add_table_verb(
    verbs: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, what: str
) -> argparse.ArgumentParser:
    """The parser of a verb that makes a setting's tables from runs."""
    parser = verbs.add_parser(name, help=what)
    parser.add_argument("setting")
    add_runs(parser)
    parser.add_argument("--out", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    return parser
