"""The table of backbones, made for one of them."""

import subprocess
import sys

import pytest

from tlee.benchmarks.development.splits import BEGIN, END, HEAD


@pytest.mark.full  # exports at full size
def test_the_table_goes_between_the_markers_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n", encoding="utf-8")
    # A process of its own, since it shares one thread pool among all its sessions.
    command = [
        sys.executable,
        "-m",
        "tlee.benchmarks.development.splits",
        "--runs",
        "1",
        "--write",
        str(page),
        "mobilenetv2",
    ]
    subprocess.run(command, check=True, capture_output=True)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}| backbone |") and text.endswith(f"{END}after\n") and "old" not in text
    cells = text.splitlines()[4].strip("| ").split(" | ")
    assert len(cells) == len(HEAD) and cells[0] == "mobilenetv2"
    assert cells[HEAD.index("GMACs to each exit")] == "0.076 / 0.121 / 0.164 / 0.299"
    assert cells[HEAD.index("maps")] == "24 x 56² / 64 x 14² / 96 x 14² / 1280 x 7²"
    assert all(float(number) > 0 for number in cells[HEAD.index("ms")].split(" / "))
