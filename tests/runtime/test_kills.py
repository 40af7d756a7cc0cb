"""tlee-run killed at random moments: results are whole, and of an interrupted one whole lines."""

import json
import random

import pytest
from conftest import CLIPS
from helpers.kills import SIGNALS, command, killed, sweep

pytestmark = pytest.mark.full


def results(path):
    """Every line is a result."""
    return [json.loads(line)["source"] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("batch", [1, 4])
def test_results_of_files_are_old_or_new_and_whole(small_bundle, tmp_path, batch):
    clips = sorted(map(str, CLIPS.glob("*.mp4"))) * 20
    out = tmp_path / "out" / "r.jsonl"
    out.parent.mkdir()
    run = command("tlee-run", small_bundle, *clips, "--json", out, "--threads", 1, "--batch", batch)

    def sound():
        found = results(out)
        assert found == clips[: len(found)]

    sweep(run, batch, sound, [out.parent])


def test_a_killed_run_leaves_the_old_results(small_bundle, clip, tmp_path):
    out = tmp_path / "r.jsonl"
    out.write_text('{"source": "before"}\n')
    run = command("tlee-run", small_bundle, *[clip] * 2000, "--json", out, "--threads", 1)
    for number in SIGNALS:
        ended = killed(run, number, after=random.Random(0).uniform(0.1, 2))
        assert ended.status != 0
        if number.name == "SIGKILL":
            assert results(out) == ["before"]
    assert set(results(out)) <= {"before", str(clip)}
