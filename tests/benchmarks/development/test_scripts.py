"""Every measurement, made in a small setting: what it writes is complete, and of what it says."""

import importlib
import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import small_model

from tlee.benchmarks.development import decision, files
from tlee.bundle import FUSED, Bundle
from tlee.data.clips import open_clip
from tlee.errors import UsageError
from tlee.export.backbone import write_whole
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend


@pytest.fixture
def measured(tmp_path):
    def run(script: str, *arguments: object, process: bool = False) -> dict:
        module = f"tlee.benchmarks.development.{script}"
        given = [*map(str, arguments), "--json", str(tmp_path / "x.json")]
        if process:
            subprocess.run([sys.executable, "-m", module, *given], check=True, capture_output=True)
        else:
            importlib.import_module(module).command(given)
        content = json.loads((tmp_path / "x.json").read_text())
        assert content["benchmark"] == script and content["machine"]["device"]
        for line in content["results"]:
            assert all(numbers["median"] > 0 for numbers in line["parts"].values())
        return content

    return run


def value_is(line: dict, above: str, below: str) -> bool:
    """Whether a line of one run has the ratio of these parts as its value."""
    one, other = (line["parts"][label]["median"] for label in (above, below))
    return line["value"]["median"] == pytest.approx(one / other)


def test_chain(measured, tmp_path, small_bundle):
    shutil.copytree(small_bundle, tmp_path / "small.tlee")
    write_whole(small_model(), tmp_path / "small.onnx")
    (line,) = measured("chain", "small", "--folder", tmp_path, "--runs", 1)["results"]
    assert line["name"] == "small" and line["goal"] == 1.02
    assert value_is(line, "chain, ms", "one graph, ms")


def test_chain_refuses_a_graph_that_computes_something_else(measured, tmp_path, small_bundle):
    shutil.copytree(small_bundle, tmp_path / "small.tlee")
    write_whole(small_model(seed=1), tmp_path / "small.onnx")
    with pytest.raises(UsageError, match="computes something else"):
        measured("chain", "small", "--folder", tmp_path, "--runs", 1)


def test_overhead(measured, small_bundle, clip):
    content = measured("overhead", small_bundle, clip, "--runs", 3, "--power", "none")
    assert [line["name"] for line in content["results"]] == ["early exits", "no exit"]
    assert all(line["goal"] == 1.02 for line in content["results"])


def test_decision(measured, small_bundle):
    content = measured("decision", small_bundle, "--runs", 2, process=True)
    assert [line["name"] for line in content["results"]] == ["fused exits", "separate segments"]
    assert all(set(line["parts"]) == {"inference, us", "frame, us"} for line in content["results"])
    assert all(np.isfinite(line["value"]["median"]) for line in content["results"])


class Time:
    """In place of the clock: asking takes a microsecond, and nothing else takes any time that is not told to."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 1e-6
        return self.seconds


@pytest.fixture
def spent(monkeypatch):
    monkeypatch.setattr(decision, "now", Time())
    return decision.now


def test_what_sessions_take_is_no_part_of_a_decision(spent):
    class Busy:
        io_binding = None

        def run_with_iobinding(self, binding):
            spent.seconds += 1.0

    clock = decision.Clock()
    session = decision.TimedSession(Busy(), clock)
    start = decision.now()
    for _ in range(10):
        session.run_with_iobinding(None)
    whole = decision.now() - start
    assert clock.calls == 10 and whole == pytest.approx(10.000021)
    assert clock.seconds == pytest.approx(10.00001)
    assert decision._proxy_cost() == pytest.approx(1e-6, rel=0.01)  # of two looks at the clock one is in between


def test_a_decision_costs_what_is_neither_inference_nor_the_measuring_of_it(spent, small_bundle, monkeypatch):
    load = Chain.load

    def slow(chain, frame):
        spent.seconds += 30e-6
        return load(chain, frame)

    run = decision.TimedSession.run_with_iobinding

    def long(session, binding):
        inside = session._run

        def inference(binding):
            spent.seconds += 1.0
            inside(binding)

        session._run = inference
        run(session, binding)
        session._run = inside

    monkeypatch.setattr(Chain, "load", slow)
    monkeypatch.setattr(decision.TimedSession, "run_with_iobinding", long)
    monkeypatch.setattr(decision, "OnnxBackend", lambda *a, shared_pool, **options: OnnxBackend(*a, **options))
    cost = decision.time_decisions(Bundle.open(small_bundle), FUSED, 2, 1)
    assert cost.frame == pytest.approx([(4 * 30 + 1) / 10] * 2)  # four frames, ten decisions
    assert cost.decision == pytest.approx(cost.frame, abs=0.3)
    assert cost.inference == pytest.approx([2e6] * 2, rel=1e-5)  # a split and an exit


def test_files(measured, clip, small_bundle):
    content = measured("files", small_bundle, clip, "--backend", "cpu", "--runs", 1)
    assert [line["name"].split(", ", 1)[1] for line in content["results"]] == [
        "uniform, early exits",
        "uniform, no exit",
        "keyframes, early exits",
        "keyframes, no exit",
    ]
    for line in content["results"]:
        whole, *apart = (line["parts"][what]["median"] for what in ("file, ms", "decoding, ms", "inference, ms"))
        assert line["value"]["median"] == pytest.approx(whole / sum(apart)) and line["goal"] == 1.15
        assert line["parts"]["decoding, %"]["median"] == pytest.approx(100 * apart[0] / sum(apart))


def test_another_state_is_timed_as_its_command_says_itself(clip, small_bundle):
    program = "import json, sys; json.dump({'milliseconds': len(sys.argv)}, open(sys.argv[5], 'w'))"
    command = shlex.join([sys.executable, "-c", program])
    assert (
        files.before(command, str(small_bundle), str(clip), early_exit=True)() == 6
    )  # bundle, twice the clip, --json X
    assert files.before(command, str(small_bundle), str(clip), early_exit=False)() == 7


def test_videos_are_made_with_key_frames_so_far_apart(tmp_path):
    files.make_video(str(tmp_path / "made.mp4"), 60, "64x48")
    with open_clip(str(tmp_path / "made.mp4")) as made:
        assert made.frame_count == 300 and np.flatnonzero(made.depths() == 1).tolist() == [0, 60, 120, 180, 240]


def test_throughput(measured, clip, small_bundle):
    (line,) = measured("throughput", small_bundle, clip, clip, "--batch", 2, "--runs", 1)["results"]
    assert value_is(line, "at once, videos/s", "one at a time, videos/s")


@pytest.mark.full
def test_pytorch(measured, tmp_path, small_bundle, small_checkpoint):
    shutil.copytree(small_bundle, tmp_path / "small.tlee")
    shutil.copy(small_checkpoint, tmp_path / "small.safetensors")
    content = measured("pytorch", "small", "--folder", tmp_path, "--runs", 1)
    (line,) = content["results"]
    assert value_is(line, "PyTorch, ms", "runtime, ms")
    assert "torch" in content["versions"] and "goal" not in line
