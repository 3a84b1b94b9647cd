"""Published numbers beside ours, as a page and as CSV."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from tasktrace.analysis.beside import published_beside
from tasktrace.figures.page import html_table, page, scrolled
from tasktrace.files import write_text
from tasktrace.rows import write_table

_TEXT = """Numbers of the papers' tables that something run here can be compared with: of study A Table 1, of study B
Tables 1, 2, A3, Δm of A4 to A7, and A10 and A11. Within: ours, of three seeds or more, is no further from the published
one than the tolerance, which is two standard deviations over seeds (of ours, and of the published number where the
paper states one; added as squares), or the toy problem's own; where neither is known, or the published number's unit is
not, there is no verdict. A reduced run (fewer samples, epochs, seeds, or another network) is not expected to agree."""

_HEADS = [
    "setting",
    "what",
    "quantity",
    "unit",
    "ours",
    "published",
    "difference",
    "tolerance",
    "within",
    "seeds",
    "note",
]


def draw_published(folders: Sequence[Path], out: Path) -> None:
    """Write the page and, beside it, the CSV.

    Args:
        folders: A folder of tables for each setting and small study.
        out: The page.
    """
    table = published_beside(folders)
    write_table(out.with_suffix(".csv"), table)
    parts = [f"<p>{escape(_TEXT)}</p>", f"<p>{escape(_count(table['within'].tolist()))}</p>"]
    for (study, place), own in table.groupby(["study", "place"], sort=False):
        cells = [_cells(row) for row in own.to_dict("records")]
        parts.append(f"<h2>Study {escape(str(study))}, {escape(str(place))}</h2>")
        parts.append(scrolled(html_table(_HEADS, cells)))
    write_text(out, page("Published numbers beside ours", "\n".join(parts)))


def _count(within: list[Any]) -> str:
    compared = [bool(value) for value in within if isinstance(value, bool)]
    return f"{len(within)} numbers; {sum(compared)} of the {len(compared)} that have a tolerance are within it."


def _cells(row: dict[Any, Any]) -> list[str]:
    within = row["within"]
    verdict = "–" if not isinstance(within, bool) else "yes" if within else "<b>no</b>"
    seeds = row["seeds"]
    return [
        escape(row["setting"]),
        escape(row["what"]),
        escape(row["quantity"]),
        escape(row["unit"]),
        _spread(row["ours"], row["ours_std"]),
        _spread(row["published"], row["published_std"]),
        _number(row["difference"]),
        _number(row["tolerance"]),
        verdict,
        f"{seeds:.0f}" if seeds > 0 else "–",
        escape(row["note"]) if isinstance(row["note"], str) else "",
    ]


def _spread(value: float, deviation: float) -> str:
    return _number(value) if math.isnan(deviation) else f"{_number(value)} ± {_number(deviation)}"


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}".replace("-", "−")
