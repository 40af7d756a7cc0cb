"""The Python reference is what the docstrings say, and leaves nothing public without a word."""

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "docs" / "reference"


@pytest.fixture(scope="module")
def make():
    sys.path.insert(0, str(FOLDER))
    import make

    yield make
    sys.path.remove(str(FOLDER))
    del sys.modules["make"]


@pytest.fixture(scope="module")
def pages(make):
    return make.pages()


def test_the_reference_is_current(pages):
    written = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
    stale = sorted(name for name in {*pages, *written} if pages.get(name) != written.get(name))
    assert not stale, "make reference"


def test_everything_public_is_described(pages):
    """Under each heading stand, beside code, words."""
    for name, page in pages.items():
        sections = re.split(r"^#+ ", re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL), flags=re.M)[1:]
        for section in sections:
            heading, _, text = section.partition("\n")
            assert text.replace("**Fields**", "").strip(" \n-"), f"{name}: {heading}"


def test_every_link_of_the_index_has_its_heading(pages):
    links = re.findall(r"\]\((\w+\.md)#([^)]+)\)", pages["README.md"])
    assert len(links) > 100
    for name, anchor in links:
        assert re.search(rf"^### {anchor.rsplit('-', 1)[0]}$", pages[name], re.MULTILINE | re.IGNORECASE), anchor


def test_what_the_runtime_exports_is_in_the_reference(pages):
    exported = re.search(r"__all__ = \[(.*)\]", (ROOT / "runtime" / "__init__.py").read_text())
    for name in re.findall(r'"(\w+)"', exported[1]):
        assert f"\n### {name}\n" in pages["runtime.md"]
