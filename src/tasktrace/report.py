"""A setting's tables, selected points and runs as one page for the Snakemake report."""

import json
from pathlib import Path

import pandas as pd

from tasktrace.analysis.tables import table
from tasktrace.figures.page import page
from tasktrace.files import write_text

_TRANSFER = """G is the mean test metric over the epochs of best validation metric; delta is G together less G alone,
mean over seeds, in the metric's units (a fraction for accuracy); significant where the intervals of mean and so many
standard deviations as the study's band do not overlap."""

_SEPARATION = """Both curves as a function of the full training loss. first_loss: the highest loss at which the bands
over seeds do not overlap; lasting_loss: the loss from which they stay apart to final_loss, the lowest that all seeds
of both curves reach; the ratios are over final_loss; apart is the share of the common grid of log losses with separate
bands."""

_SELECTED = """Learning rate and batch size with the best validation metric in the sweep, which runs on one seed."""

_RUNS = """Every run at its selected point: outcome, time by activity, and where and from which commit it was made."""


def write_report(setting: str, tables: Path, selected: list[Path], out: Path) -> None:
    """Write the page.

    Args:
        setting: The setting's name.
        tables: Folder of its tables.
        selected: Selection files of its arms.
        out: The page.
    """
    sections = [
        _section("Transfer", _TRANSFER, pd.read_csv(table(tables, "transfer.csv"))),
        _section("Separation at equal training loss", _SEPARATION, pd.read_csv(table(tables, "separation.csv"))),
        _section("Selected points", _SELECTED, _selections(selected)),
        _section("Runs", _RUNS, pd.read_csv(table(tables, "runs.csv"))),
    ]
    write_text(out, page(f"tasktrace: {setting}", "".join(sections)))


def _section(title: str, text: str, content: pd.DataFrame) -> str:
    body = content.to_html(index=False, border=0, na_rep="–", float_format="{:.4g}".format, justify="left")
    return f'<h2>{title}</h2>\n<p>{text}</p>\n<div class="scroll">{body}</div>\n'


def _selections(files: list[Path]) -> pd.DataFrame:
    contents = [json.loads(path.read_text(encoding="utf-8")) for path in files]
    return pd.DataFrame(
        {
            "arm": content["arm"],
            **content["point"],
            "score": content["score"],
            "candidates": len(content["candidates"]),
            "diverged": sum(candidate["score"] is None for candidate in content["candidates"]),
        }
        for content in contents
    )
