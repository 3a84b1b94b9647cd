"""A page of tables that stands alone: no script, no other file."""

from html import escape

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 110em; padding: 0 1em; color: #222; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; } p { max-width: 55em; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85em; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3em 0.7em; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { background: #f3f5f7; }
.apart { background: #fbe0d3; }
.theirs { color: #777; }
.words td { white-space: normal; vertical-align: top; }
.supported { color: #0072b2; font-weight: bold; } .contradicted { color: #b34a00; font-weight: bold; }
.undecided { color: #666; }
@media (max-width: 40em) {
  body { margin: 1em auto; }
  .words thead { display: none; } .words tr { display: block; border-bottom: 1px solid #ddd; padding: 0.4em 0; }
  .words td { display: block; border: 0; padding: 0.1em 0; }
}
"""


def page(title: str, body: str) -> str:
    """A page's HTML.

    Args:
        title: Its title and heading, as plain text.
        body: What comes below the heading, as HTML.
    """
    name = escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{name}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{name}</h1>\n{body}</body>\n</html>\n"
    )


def scrolled(content: str) -> str:
    """HTML that scrolls by itself where it is wider than the page."""
    return f'<div class="scroll">{content}</div>\n'


def html_table(heads: list[str], rows: list[list[str]]) -> str:
    """A table's HTML, from headings as plain text and cells as HTML."""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>\n" for row in rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>"
