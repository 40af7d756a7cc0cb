"""Every link of the documents leads somewhere: to a file and a heading that are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from conftest import ROOT
from helpers.documents import DOCUMENTS, tokens

PICTURES = (".svg", ".png", ".jpg")


def links(document: str) -> list[str]:
    """The targets of links and pictures."""
    inline = [child for token in tokens(document) for child in token.children or []]
    found = [child.attrGet(name) for child in inline for name in ("href", "src") if child.attrGet(name)]
    return [str(target) for target in found]


@cache
def anchors(document: str) -> set[str]:
    """What a code host calls the headings: lower case, without marks, blanks as hyphens, a number behind repeated ones;
    and anchors in HTML."""
    every = tokens(document)
    found: set[str] = set()
    for heading, inline in zip(every, every[1:]):
        if heading.type == "heading_open":
            parts = (child.content for child in inline.children or [] if child.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", "".join(parts).lower()).replace(" ", "-")
            names = [slug, *(f"{slug}-{i}" for i in range(1, 1 + len(found)))]
            found.add(next(name for name in names if name not in found))
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', (ROOT / document).read_text(encoding="utf-8")))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    for link in links(document):
        target = urlsplit(link)
        if target.scheme:
            assert target.scheme in ("https", "http", "mailto") and (target.netloc or target.path), link
            continue
        path = (ROOT / document).parent / unquote(target.path) if target.path else ROOT / document
        assert path.exists() and path.resolve().is_relative_to(ROOT), f"{document}: {link}: no such file"
        if target.fragment and path.suffix == ".md":
            assert target.fragment in anchors(str(path.resolve().relative_to(ROOT))), f"{document}: {link}: no heading"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_pictures_are_files_with_something_in_them(document):
    for link in links(document):
        if Path(urlsplit(link).path).suffix in PICTURES and not urlsplit(link).scheme:
            assert ((ROOT / document).parent / link).stat().st_size > 500, link


def test_every_document_is_reached_from_the_readme():
    seen, waiting = set(), ["README.md"]
    while waiting:
        document = waiting.pop()
        if document not in seen:
            seen.add(document)
            paths = [((ROOT / document).parent / urlsplit(link).path).resolve() for link in links(document)]
            waiting += [str(path.relative_to(ROOT)) for path in paths if path.suffix == ".md" and path.exists()]
    assert seen >= set(DOCUMENTS), f"no way to {sorted(set(DOCUMENTS) - seen)}"
