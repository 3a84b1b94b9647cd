"""Verbs that bring data and results to where they are needed: fetch, archive, restore."""

import argparse
from pathlib import Path

from tasktrace.cli.arguments import Verbs, add_config, configured_study


def add_verbs(verbs: Verbs) -> None:
    """Add the parsers of these verbs."""
    _add_fetch(verbs)
    _add_archive(verbs)
    _add_restore(verbs)


def _add_fetch(verbs: Verbs) -> None:
    parser = verbs.add_parser(
        "fetch", help="fetch settings' raw data from the original sources, and name it in data.dvc"
    )
    parser.add_argument("settings", nargs="+", metavar="SETTING")
    add_config(parser)
    parser.set_defaults(verb=_fetch)


def _fetch(given: argparse.Namespace) -> None:
    from tasktrace.versioning.fetch import fetch

    study = configured_study(given)
    for setting in given.settings:
        fetch(study, setting, print)


def _add_archive(verbs: Verbs) -> None:
    parser = verbs.add_parser("archive", help="give DVC the data and checkpoints that the results were made with")
    parser.add_argument(
        "--trajectories",
        action=argparse.BooleanOptionalAction,
        help="every checkpoint of every run, not its final epochs only (default: as before, at first not)",
    )
    parser.set_defaults(verb=_archive)


def _archive(given: argparse.Namespace) -> None:
    from tasktrace.versioning.archive import archive

    archive(Path(), given.trajectories, print)


def _add_restore(verbs: Verbs) -> None:
    parser = verbs.add_parser("restore", help="make what `dvc pull` brought count as done")
    add_config(parser)
    parser.set_defaults(verb=_restore)


def _restore(given: argparse.Namespace) -> None:
    from tasktrace.versioning.restore import restore

    restore(configured_study(given), print)
