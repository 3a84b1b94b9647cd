"""The ledger of claims as a page of the report."""

from html import escape
from pathlib import Path

from tasktrace.analysis.claims.ledger import HEADS, RULES, STUDIES, Entry, by_claim, summary
from tasktrace.figures.page import html_table, page, scrolled
from tasktrace.files import write_text


def draw_ledger(entries: list[Entry], out: Path) -> None:
    """Write the page.

    Args:
        entries: The ledger.
        out: The page.
    """
    parts = [f"<p>{escape(RULES.replace('*', ''))}</p>", f"<p>{escape(summary(entries))}</p>"]
    groups = {title: by_claim(entries, study) for study, title in STUDIES.items()}
    for title, own in groups.items():
        parts += [f"<h2>{escape(title)}</h2>", _words(["claim", "", "verdicts"], [_overview(group) for group in own])]
    for title, own in groups.items():
        parts += [f"<h2>{escape(title)}</h2>", *(_section(group) for group in own)]
    write_text(out, page("The claims of both papers", "\n".join(parts)))


def _section(group: list[Entry]) -> str:
    claim = group[0].claim
    text = f'<h3 id="{claim.id}">{escape(claim.id)}</h3>'
    text += f"<p>{escape(claim.said)}</p><p><small>{escape(claim.decided)}</small></p>"
    return text + _words(HEADS, [_cells(entry) for entry in group])


def _words(heads: list[str], rows: list[list[str]]) -> str:
    """A table whose cells are sentences."""
    return f'<div class="words">{scrolled(html_table(heads, rows))}</div>'


def _overview(group: list[Entry]) -> list[str]:
    claim = group[0].claim
    verdicts = [f"{entry.setting or 'nothing run'}: {_verdict(entry)}" for entry in group]
    return [f'<a href="#{claim.id}">{claim.id}</a>', escape(claim.statement), ", ".join(verdicts)]


def _verdict(entry: Entry) -> str:
    verdict = entry.finding.verdict.value
    return f'<span class="{verdict}">{verdict}</span>'


def _cells(entry: Entry) -> list[str]:
    finding = entry.finding
    return [
        escape(entry.setting or "–"),
        _verdict(entry),
        escape(finding.numbers or "–"),
        str(finding.n or "–"),
        escape(finding.missing.replace("`", "")),
    ]
