"""Measurements killed at random moments: their files are old or new, and whole. Longer: TLEE_KILLS=60."""

import json

import pytest
from helpers.kills import command, sweep

from tlee.reports.measurement import load

pytestmark = pytest.mark.full
SHORT = ("--rounds", 2, "--block", 0.05, "--cold", 1, "--sustained", 0.2, "--power", "none", "--threads", 1)


def test_measurements(small_bundle, tmp_path):
    report, profile = tmp_path / "r.json", tmp_path / "profile.json"
    outputs = ("--json", report, "--profile", profile)

    def sound():
        if report.exists():
            load(str(report))
        if profile.exists():
            assert json.loads(profile.read_text())["graphs"]

    sweep(command("tlee-bench", small_bundle, *SHORT, *outputs), 6, sound, [tmp_path])
