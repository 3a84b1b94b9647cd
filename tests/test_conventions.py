"""What the documents say is there: versions, links, commands, targets."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import tasktrace
from tasktrace.cli import main

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("reproduction/**/*.md"))
)
FENCED = re.compile(r"^```\w*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^ {4}(.*)$", flags=re.MULTILINE)
INLINE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
TARGET = re.compile(r"\b(?:fig|tab)_\w+")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def citation():
    return yaml.safe_load((ROOT / "CITATION.cff").read_text())


def test_there_is_one_version(project, citation):
    released = re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1]
    assert {project["version"], tasktrace.__version__, str(citation["version"])} == {released}


def test_the_citation_is_of_this_project(project, citation):
    assert [citation[key] for key in ("title", "license")] == [project[key] for key in ("name", "license")]
    study_of = {reference["title"]: reference["url"] for reference in citation["references"]}
    readme = (ROOT / "README.md").read_text()
    assert len(study_of) == 2
    assert all(title in readme and f"({url})" in readme for title, url in study_of.items())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    dead = [target for target in LINK.findall(prose(document)) if not leads_somewhere(document, target)]
    assert dead == []


def test_every_document_is_in_the_index():
    linked = set(LINK.findall(prose("docs/README.md")))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - linked == {"README.md"}


def test_named_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named(r"(?<![\w-])make ([a-z]+)") - targets == set()


def test_named_verbs_exist(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    verbs = set(re.findall(r"^ {4}([a-z]+)\b", capsys.readouterr().out, flags=re.MULTILINE))
    assert "train" in verbs
    assert named(r"\btasktrace ([a-z]+)") - verbs == set()


def test_every_figure_and_table_of_the_workflow_is_in_the_guide_and_no_other(copy_repository, tmp_path):
    rules = copy_repository(tmp_path / "copy").snakemake("--list-target-rules").stdout.split()
    guide = "\n".join(code("docs/figures.md"))
    assert set(TARGET.findall(guide)) == {rule for rule in rules if TARGET.fullmatch(rule)}
    assert [path for path in re.findall(r"--configfile (\S+)", guide) if not (ROOT / path).is_file()] == []


def leads_somewhere(document, target):
    """Whether a link leads out, or to a file and, if it names one, a heading there."""
    if re.match(r"https?://", target):
        return True
    path, _, anchor = target.partition("#")
    there = (ROOT / document).parent / path if path else ROOT / document
    return there.exists() and (not anchor or anchor in anchors(there))


def anchors(path):
    """The names that GitHub gives to the headings of a document."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def named(pattern):
    """What the pattern finds in all documents' code."""
    return {found for document in DOCUMENTS for part in code(document) for found in re.findall(pattern, part)}


def code(document):
    """What stands as code in a document, comments left out: blocks, and what stands between backticks."""
    text = visible(document)
    outside = INDENTED.sub("", FENCED.sub("", text))
    return [
        *FENCED.findall(text),
        *INDENTED.findall(FENCED.sub("", text)),
        *(" ".join(part.split()) for part in INLINE.findall(outside)),
    ]


def prose(document):
    """A document without its code."""
    return INLINE.sub("", INDENTED.sub("", FENCED.sub("", visible(document))))


def visible(document):
    return re.sub(r"<!--.*?-->", "", (ROOT / document).read_text(), flags=re.DOTALL)
