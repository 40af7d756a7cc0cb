"""Commands that make a bundle, or read videos for one, killed at random moments. Longer: TLEE_KILLS=60."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.kills import command, sweep

from tlee.bundle import Bundle

pytestmark = pytest.mark.full


@pytest.fixture
def place(bundle_of_all_exits, tmp_path):
    """A folder with a bundle in it, and nothing else."""
    shutil.copytree(bundle_of_all_exits, tmp_path / "copy.tlee")
    return tmp_path


def whole(bundle: Path) -> None:
    Bundle.open(bundle).verify()


def whole_report(folder: Path) -> None:
    """A report is there in full, or not at all."""
    if folder.exists():
        json.loads((folder / "report.json").read_text())
        assert (folder / "index.html").read_text().rstrip().endswith("</html>")


def test_exports(place, small_checkpoint):
    new = place / "new.tlee"
    sweep(
        command("tlee-export", small_checkpoint, "-o", new, "--replace"),
        1,
        lambda: new.exists() and whole(new),
        [place],
    )


@pytest.mark.parametrize(
    ("program", "options"), [("tlee-eval", ()), ("tlee-tune", ()), ("tlee-calibrate", ("--samples", 20))]
)
def test_readers_of_videos(program, options, place, labelled_videos):
    bundle, report = place / "copy.tlee", place / "report"

    def sound():
        whole(bundle)
        whole_report(report)

    arguments = (bundle, "--data", labelled_videos, "-o", report, "--replace", "--workers", 2, *options)
    sweep(command(program, *arguments), 2, sound, [place, report, bundle])
