"""Verbs that look at the study as a whole: check, plan, status, orphans."""

import argparse
from pathlib import Path

from tasktrace.cli.arguments import Verbs, add_config, add_settings, configured_study, positive


def add_verbs(verbs: Verbs) -> None:
    """Add the parsers of these verbs."""
    _add_check(verbs)
    _add_plan(verbs)
    _add_status(verbs)
    _add_orphans(verbs)


def _add_check(verbs: Verbs) -> None:
    parser = verbs.add_parser("check", help="say what this machine lacks for the study, and where to put it")
    parser.add_argument("--profile", help="also what the cluster of this Snakemake profile would refuse, such as slurm")
    add_config(parser)
    parser.set_defaults(verb=_check)


def _check(given: argparse.Namespace) -> None:
    from tasktrace.check import check

    check(configured_study(given), given.profile)


def _add_plan(verbs: Verbs) -> None:
    parser = verbs.add_parser("plan", help="say what the study takes: jobs, time, memory, disk, before any of it runs")
    add_settings(parser)
    parser.add_argument(
        "--gpus", type=positive, default=1, help="devices to plan with, a job on each at a time (default: 1)"
    )
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, or the name of a GPU that runs were trained on"
    )
    parser.add_argument("--threads", type=positive, default=1, help="threads of a job on a CPU (default: 1)")
    parser.add_argument("--calibrate", action="store_true", help="try here what no finished run tells: minutes")
    parser.add_argument("--fresh", action="store_true", help="the same, and again what was tried before")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    add_config(parser)
    parser.set_defaults(verb=_plan)


def _plan(given: argparse.Namespace) -> None:
    from tasktrace.planning.plan import Asked
    from tasktrace.planning.show import show_plan

    asked = Asked(given.setting, given.device, given.threads, given.gpus, given.calibrate or given.fresh, given.fresh)
    show_plan(configured_study(given), asked, given.json)


def _add_status(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "status", help="say which runs are done, under way, waiting, failed, and how long it takes"
    )
    add_settings(parser)
    parser.add_argument(
        "--by", choices=["method", "seed", "group", "optimizer"], default="method", help="the tables' rows"
    )
    parser.add_argument("--all", action="store_true", help="list every failed, stopped and diverged run")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    add_config(parser)
    parser.set_defaults(verb=_status)


def _status(given: argparse.Namespace) -> None:
    from tasktrace.status import Asked, show_status

    asked = Asked(settings=tuple(given.setting), by=given.by, everything=given.all, as_json=given.json)
    show_status(configured_study(given), asked)


def _add_orphans(verbs: Verbs) -> None:
    parser = verbs.add_parser("orphans", help="list the jobs on SLURM that a killed Snakemake left in this folder")
    parser.add_argument("--cancel", action="store_true", help="end them, and wait until they have gone")
    parser.set_defaults(verb=_orphans)


def _orphans(given: argparse.Namespace) -> None:
    from tasktrace.cluster.orphans import orphans

    orphans(Path(), print, cancel=given.cancel)
