"""Measurements killed at random moments: their files are old or new, and whole. Longer: TLEE_KILLS=60."""

import json

import pytest
from helpers.kills import command, sweep

from tlee.benchmarks.report import load_report

pytestmark = pytest.mark.full
SHORT = ("--rounds", 2, "--block", 0.05, "--cold", 1, "--sustained", 0.2, "--power", "none", "--threads", 1)


def test_measurements(small_bundle, tmp_path):
    report, page, profile = tmp_path / "r.json", tmp_path / "r.html", tmp_path / "profile.json"
    outputs = ("--json", report, "--page", page, "--profile", profile)

    def sound():
        if report.exists():
            load_report(str(report))
        if page.exists():
            assert page.read_text().rstrip().endswith("</html>")
        if profile.exists():
            assert json.loads(profile.read_text())["graphs"]

    sweep(command("tlee-bench", small_bundle, *SHORT, *outputs), 6, sound, [tmp_path])
