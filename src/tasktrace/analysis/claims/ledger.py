"""The ledger: every claim against the tables of everything that has been run, as CSV and Markdown."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasktrace.analysis.claims import (
    a_conflict,
    a_factors,
    a_methods,
    a_transfer,
    b_corruption,
    b_invariance,
    b_optimizers,
    b_similarity,
    b_toy,
)
from tasktrace.analysis.claims.base import (
    MIN_SEEDS,
    Claim,
    Finding,
    Tables,
    Verdict,
    undecided,
)
from tasktrace.files import write_text
from tasktrace.rows import write_table

CLAIMS: tuple[Claim, ...] = (
    *a_transfer.CLAIMS,
    *a_factors.CLAIMS,
    *a_methods.CLAIMS,
    *a_conflict.CLAIMS,
    *b_toy.CLAIMS,
    *b_optimizers.CLAIMS,
    *b_invariance.CLAIMS,
    *b_similarity.CLAIMS,
    *b_corruption.CLAIMS,
)
"""In the papers' order."""

STUDIES = {
    "A": "Study A: Can Optimization Trajectories Explain Multi-Task Transfer?",
    "B": "Study B: Examining Common Paradigms in Multi-Task Learning",
}
"""The papers' titles."""

RULES = f"""A verdict is about the setting that it stands beside: *supported* or *contradicted* where its numbers pass
or fail the threshold, which is the paper's own or a standard rule, fixed in the code and fitted to no verdict, though
not chosen blindly (see the documentation's limitations); *undecided* where something is missing. n counts seeds, or
cases where nothing is drawn. Nothing that depends on chance is decided by fewer than {MIN_SEEDS} seeds. Where a claim
makes several comparisons, its threshold says how they are taken together; over all claims and settings there is no
correction, so a few of the verdicts may be chance."""
"""How the ledger is to be read."""

HEADS = ["setting", "verdict", "numbers", "n", "what is missing"]
"""What stands above the entries of a claim."""

COLUMNS = [
    "id",
    "study",
    "place",
    "statement",
    "paper_settings",
    "statistic",
    "threshold",
    "setting",
    "verdict",
    "numbers",
    "n",
    "comparisons",
    "missing",
]


@dataclass(frozen=True)
class Entry:
    """A line of the ledger.

    Attributes:
        claim: The claim.
        setting: The setting that speaks; empty where none does.
        finding: What it says.
    """

    claim: Claim
    setting: str
    finding: Finding


def ledger(folders: Sequence[Path]) -> list[Entry]:
    """What tables say of every claim.

    Args:
        folders: A folder of tables for each setting and small study that has been run.

    Returns:
        The entries in the order of the claims, then of the folders; a claim of which no setting speaks has one that
        says what it needs.

    Raises:
        DamagedFileError: A table is not what was written.
    """
    entries = []
    for claim in CLAIMS:
        found = [(folder.name, Tables(folder).ask(claim.check)) for folder in folders]
        spoken = [Entry(claim, setting, finding) for setting, finding in found if finding is not None]
        entries += spoken or [Entry(claim, "", undecided("", 0, f"a run of a setting with {claim.needs}"))]
    return entries


def write_ledger(entries: list[Entry], out: Path) -> None:
    """Write the ledger.

    Args:
        entries: Its lines.
        out: Its path without ending: ``.csv`` and ``.md`` are written.
    """
    write_table(out.with_suffix(".csv"), pd.DataFrame([_row(entry) for entry in entries], columns=COLUMNS))
    write_text(out.with_suffix(".md"), _markdown(entries))


def _row(entry: Entry) -> dict[str, object]:
    claim, finding = entry.claim, entry.finding
    return {
        "id": claim.id,
        "study": claim.study,
        "place": claim.place,
        "statement": claim.statement,
        "paper_settings": claim.settings,
        "statistic": claim.statistic,
        "threshold": claim.threshold,
        "setting": entry.setting,
        "verdict": finding.verdict.value,
        "numbers": finding.numbers,
        "n": finding.n,
        "comparisons": finding.comparisons,
        "missing": finding.missing,
    }


def summary(entries: list[Entry]) -> str:
    """How many claims and verdicts there are, in words."""
    counts = Counter(entry.finding.verdict for entry in entries)
    claims = len({entry.claim.id for entry in entries})
    verdicts = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict)
    return f"{claims} claims, {len(entries)} verdicts: {verdicts}."


def by_claim(entries: list[Entry], study: str) -> list[list[Entry]]:
    """A study's entries, claim by claim."""
    own = [entry for entry in entries if entry.claim.study == study]
    ids = list(dict.fromkeys(entry.claim.id for entry in own))
    return [[entry for entry in own if entry.claim.id == name] for name in ids]


def _markdown(entries: list[Entry]) -> str:
    lines = ["# The claims of both papers", "", RULES, "", summary(entries), ""]
    lines += ["| claim | | verdicts |", "| --- | --- | --- |"]
    lines += [_overview(group) for study in STUDIES for group in by_claim(entries, study)]
    lines.append("")
    for study, title in STUDIES.items():
        lines += [f"## {title}", ""]
        for group in by_claim(entries, study):
            claim = group[0].claim
            lines += [f"### {claim.id}", "", claim.said, "", claim.decided, ""]
            lines += [f"| {' | '.join(HEADS)} |", "| --- " * len(HEADS) + "|"]
            lines += [_markdown_row(entry) for entry in group]
            lines.append("")
    return "\n".join(lines)


def _overview(group: list[Entry]) -> str:
    claim = group[0].claim
    verdicts = [f"{entry.setting or 'nothing run'}: {entry.finding.verdict.value}" for entry in group]
    return f"| [{claim.id}](#{claim.id}) | {_escaped(claim.statement)} | {', '.join(verdicts)} |"


def _markdown_row(entry: Entry) -> str:
    finding = entry.finding
    verdict = f"**{finding.verdict.value}**"
    cells = [entry.setting or "–", verdict, finding.numbers or "–", _n(finding), finding.missing]
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _n(finding: Finding) -> str:
    return f"{finding.n}" if finding.n else "–"
