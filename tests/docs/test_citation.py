"""What others cite is this version, and the paper."""

import yaml
from conftest import ROOT

import tlee


def test_the_citation_names_this_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == tlee.__version__
    paper = f"https://doi.org/{citation['preferred-citation']['doi']}"
    assert paper in (ROOT / "README.md").read_text(encoding="utf-8")
