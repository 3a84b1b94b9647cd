"""Verbs that show results: figures, pages of tables, the report, the few numbers that DVC compares."""

import argparse
import importlib
import json
from collections.abc import Callable
from pathlib import Path

from tasktrace.cli.arguments import Verbs, read_study
from tasktrace.config.shown import FIGURES, SIMILARITY_FIGURES, TABLES, figure_options, study_figure
from tasktrace.config.small_studies import SHOWN
from tasktrace.config.summary import summary_options
from tasktrace.errors import ConfigError, DataError
from tasktrace.places import TABLES_FOLDER, selection_path, tables_folder

_SAME_MODULE = {"b_a2": "b_a1", **dict.fromkeys(SIMILARITY_FIGURES, "similarity")}
"""Figures that another one's module draws, with other options."""


def add_verbs(verbs: Verbs) -> None:
    """Add the parsers of these verbs."""
    _add_figure(verbs)
    _add_report(verbs)
    _add_metrics(verbs)
    _add_of_all("claims", "check every claim of both papers", Path("results/claims.md"), _claims, verbs)
    _add_of_all("published", "put the papers' numbers beside ours", Path("results/published.html"), _published, verbs)


def _add_figure(verbs: Verbs) -> None:
    parser = verbs.add_parser("figure", help="draw a figure or table of a setting from its tables")
    parser.add_argument("figure", choices=[*FIGURES, *TABLES, *SHOWN])
    parser.add_argument("setting", help="a setting; toy or invariance for the figures of those studies")
    parser.add_argument("--tables", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    parser.add_argument("--options", type=json.loads, help="what to draw as JSON (default: from config/)")
    parser.add_argument("--out", type=Path, help="the PNG, or a table's HTML; other forms lie beside it")
    parser.set_defaults(verb=_figure)


def _figure(given: argparse.Namespace) -> None:
    module = importlib.import_module(f"tasktrace.figures.{_SAME_MODULE.get(given.figure, given.figure)}")
    options = given.options
    if options is None:
        is_small = given.figure in SHOWN
        options = (
            study_figure(read_study(), given.figure)
            if is_small
            else figure_options(read_study(), given.figure, given.setting)
        )
    default = f"{given.figure}.html" if given.figure.startswith("tab_") else f"fig_{given.figure}.png"
    out = given.out or Path("results/figures") / given.setting / default
    module.draw(given.tables or tables_folder(given.setting), options, out)


def _add_report(verbs: Verbs) -> None:
    parser = verbs.add_parser("report", help="write a setting's tables, selected points and runs as one page")
    parser.add_argument("setting")
    parser.add_argument("--tables", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    parser.add_argument("--selected", type=Path, nargs="+", help="selection files (default: from config/)")
    parser.add_argument("--out", type=Path, help="default: results/report/SETTING.html")
    parser.set_defaults(verb=_report)


def _report(given: argparse.Namespace) -> None:
    from tasktrace.report import write_report

    selected = given.selected or [selection_path(arm.path) for arm in read_study().arms(given.setting)]
    out = given.out or Path("results/report") / f"{given.setting}.html"
    write_report(given.setting, given.tables or tables_folder(given.setting), selected, out)


def _add_metrics(verbs: Verbs) -> None:
    parser = verbs.add_parser("metrics", help="sum up a setting's tables in a few numbers and bars, for DVC")
    parser.add_argument("setting")
    parser.add_argument("--tables", type=Path, help="folder of the tables (default: results/tables/SETTING)")
    parser.add_argument("--options", type=json.loads, help="groups and experiments as JSON (default: from config/)")
    parser.add_argument("--out", type=Path, help="default: results/metrics/SETTING.json")
    parser.add_argument(
        "--plots", type=Path, default=Path("results/plots"), help="folder of the bars (default: results/plots)"
    )
    parser.set_defaults(verb=_metrics)


def _metrics(given: argparse.Namespace) -> None:
    from tasktrace.summary import summarise

    options = summary_options(read_study(), given.setting) if given.options is None else given.options
    out = given.out or Path("results/metrics") / f"{given.setting}.json"
    summarise(given.setting, given.tables or tables_folder(given.setting), options, out, given.plots)


def _add_of_all(name: str, what: str, out: Path, make: Callable[[list[Path], Path], None], verbs: Verbs) -> None:
    """Add a verb that makes something of the tables of several settings.

    Args:
        name: The verb.
        what: Its help.
        out: What it writes if not told otherwise; another name has to end alike, since other forms lie beside it.
        make: Given the folders of tables, and what to write.
        verbs: Where to add it.
    """

    def verb(given: argparse.Namespace) -> None:
        if given.out.suffix != out.suffix:
            raise ConfigError(
                f"--out {given.out}: expected a name that ends in {out.suffix}; the other forms lie beside it"
            )
        make(_folders_of_tables(given), given.out)

    parser = verbs.add_parser(name, help=what)
    parser.add_argument(
        "--tables",
        type=Path,
        default=TABLES_FOLDER,
        help="where each setting and small study has a folder of tables (default: %(default)s)",
    )
    parser.add_argument("--settings", nargs="+", metavar="NAME", help="these only (default: all that are there)")
    parser.add_argument("--out", type=Path, default=out, help="other forms lie beside it (default: %(default)s)")
    parser.set_defaults(verb=verb)


def _claims(folders: list[Path], out: Path) -> None:
    from tasktrace.analysis.claims.ledger import ledger, summary, write_ledger
    from tasktrace.figures.ledger_page import draw_ledger

    entries = ledger(folders)
    write_ledger(entries, out)
    draw_ledger(entries, out.with_suffix(".html"))
    print(f"{out}: {summary(entries)}")


def _published(folders: list[Path], out: Path) -> None:
    from tasktrace.figures.tab_published import draw_published

    draw_published(folders, out)
    print(f"{out}, and as CSV beside it")


def _folders_of_tables(given: argparse.Namespace) -> list[Path]:
    """The folders that were asked for, or all of them.

    Raises:
        DataError: There are no such tables.
    """
    there = {path.name: path for path in sorted(given.tables.glob("*")) if any(path.glob("*.csv"))}
    asked = list(there) if given.settings is None else given.settings
    absent = [name for name in asked if name not in there]
    if not there:
        raise DataError(
            f"{given.tables}: no tables of any setting: it is to have a folder with tables for each of them, as "
            "results/tables has; `snakemake --cores 2 all` makes them"
        )
    if absent:
        raise DataError(f"{given.tables}: no tables of {', '.join(absent)}; there are those of {', '.join(there)}")
    return [there[name] for name in asked]
