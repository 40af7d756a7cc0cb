"""Pages of HTML that need nothing else: no script, no font, no picture from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

CSS = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --soft: #5c6470; --line: #c9ced6; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #e6e8eb; --soft: #a2a9b4; --line: #474d57; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.2rem; margin: 2.5rem 0 0.3rem; }
p, dl { margin: 0.4rem 0; max-width: 50rem; } .soft, th { color: var(--soft); }
.lead { font-size: 1.1rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; } dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
figure, .wide { margin: 0.6rem 0; overflow-x: auto; }
svg { height: auto; max-width: 100%; } svg text { font-family: system-ui, sans-serif !important; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th { font-weight: 500; } th, td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.7rem; text-align: right; }
th:first-child, td:first-child { padding-left: 0; text-align: left; } td.text, th.text { text-align: left; }
summary { cursor: pointer; }
"""


def document(title: str, parts: Iterable[str]) -> str:
    """A page of parts that are HTML, in the style of all reports."""
    head = f'<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
    head += '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    head += f"<style>{CSS}</style>\n"
    page = '<!DOCTYPE html>\n<html lang="en">\n<head>\n{}</head>\n<body>\n{}</body>\n</html>\n'
    return page.format(head, "".join(parts))


def html_table(rows: Sequence[Sequence[str]], text: int = 1) -> str:
    """The first row is the head; so many columns are text, the others numbers."""

    def line(cells: Iterable[str], tag: str) -> str:
        kinds = [' class="text"' if i < text else "" for i in range(len(rows[0]))]
        texts = [f"<{tag}{kind}>{escape(cell)}</{tag}>" for cell, kind in zip(cells, kinds)]
        return "<tr>{}</tr>\n".format("".join(texts))

    body = "".join(line(row, "td") for row in rows[1:])
    table = '<div class="wide"><table><thead>{}</thead><tbody>\n{}</tbody></table></div>'
    return table.format(line(rows[0], "th"), body)
