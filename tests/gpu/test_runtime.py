"""The runtime on a real GPU: every backend that computes there, against the CPU, and how long it takes.

python -m pytest tests/gpu -s     # -s shows the tables of times
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import enliven, small_model, write_clip

from tlee.bundle import Bundle
from tlee.export import backbone
from tlee.export.exporter import export_bundle
from tlee.policy import Thresholds, exit_policy
from tlee.runtime import BatchRecognizer, Recognizer
from tlee.runtime.onnx_session import has_provider

TSM = {"backbone": "mobilenetv2_tsm", "width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3}
BACKENDS = ("tensorrt", "cuda", "ort-tensorrt")
BATCH, RUNS, VIDEOS = 4, 20, 5
CLIPS = np.random.default_rng(0).integers(0, 256, (3, 4, 32, 32, 3), np.uint8)
SETTINGS = {
    "never": Thresholds.of(3, 2.0, 2.0, 2.0),
    "layer": Thresholds.of(3, 2.0, [2.0, 0.0, 0.0], 2.0),
    "first layer": Thresholds.of(3, 2.0, [0.0, 2.0, 2.0], 2.0),
    "gate": Thresholds.of(3, 2.0, 2.0, [2.0, 0.0, 0.0]),
    "first frame": Thresholds.of(3, 0.0, 0.0),
}
CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # sums come in another order


def build(bundle: Bundle, target: str, *options: object) -> str:
    """Engines of a bundle, in a folder of their own; the folder."""
    folder = Path(bundle.path).with_name("engines-" + "-".join(str(option).strip("-") for option in options))
    command = [sys.executable, "-m", "tlee.engines.cli", bundle.path, "--target", target, "--precision", "fp32"]
    command += ["--engine-dir", folder, *options]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=1800)
    if target == "rtx" and "does not take the engine" in result.stderr:
        pytest.skip(f"TensorRT-RTX refuses this GPU: {result.stderr.splitlines()[0]}")
    assert result.returncode == 0, result.stderr
    return str(folder)


@pytest.fixture(scope="module", params=["small", "shifted"])
def bundle(target, request, tmp_path_factory, small_checkpoint):
    """Whose answers depend on every frame; without and with a state."""
    model = enliven(small_model() if request.param == "small" else small_model(model=TSM))
    path = tmp_path_factory.mktemp(request.param) / "small.tlee"
    return export_bundle(model, path, small_checkpoint, verified=False)


@pytest.fixture(scope="module", params=BACKENDS)
def place(request, bundle, target):
    """A backend on the GPU: how to load recognisers there, for one video and for several."""
    name = request.param
    if name != "tensorrt":
        if not has_provider(name):
            pytest.skip(f"this ONNX Runtime has no {name}")
        return SimpleNamespace(one={"backend": name}, several={"backend": name}, exit_graphs=("fused", "separate"))
    folders = [build(bundle, target, *options) for options in ([], ["--batch", BATCH])]
    one, several = ({"backend": name, "engine_dir": folder} for folder in folders)
    return SimpleNamespace(one=one, several=several, exit_graphs=("fused",))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return [*CLIPS, write_clip(tmp_path_factory.mktemp("clips") / "a.mp4")]


@pytest.fixture(scope="module")
def expected(bundle, clips):
    with Recognizer.load(bundle, backend="cpu", threads=1) as recognizer:
        return list(results(recognizer, clips))


def set_thresholds(recognizer, thresholds):
    bundle = recognizer.bundle
    recognizer.policy = exit_policy(bundle.manifest["model"]["gate"], bundle.frames.length, thresholds)


def results(recognizer, clips):
    for thresholds in SETTINGS.values():
        set_thresholds(recognizer, thresholds)
        for clip in clips:
            yield recognizer.recognize(clip, trace=True)


def check_results(got, expected):
    for result, want in zip(got, expected, strict=True):
        assert [(s.frame, s.exit, s.action, s.reason) for s in result.trace] == [
            (s.frame, s.exit, s.action, s.reason) for s in want.trace
        ]
        for step, other in zip(result.trace, want.trace):
            np.testing.assert_allclose(step.logits, other.logits, **CLOSE)
            np.testing.assert_allclose(step.z, other.z, **CLOSE)
            assert step.confidence == pytest.approx(other.confidence, abs=1e-3)
            assert step.score is None or step.score == pytest.approx(other.score, abs=1e-3)


@pytest.mark.parametrize("speculate", [False, True])
@pytest.mark.parametrize("prefetch", [False, True])
def test_every_step_is_the_cpus(bundle, place, clips, expected, speculate, prefetch):
    for exit_graphs in place.exit_graphs:
        options = {"exit_graphs": exit_graphs, "speculate": speculate, "prefetch": prefetch, **place.one}
        with Recognizer.load(bundle, **options) as recognizer:
            check_results(results(recognizer, clips), expected)


def test_a_split_in_vain_changes_no_answer(bundle, place, clips, expected, monkeypatch):
    with Recognizer.load(bundle, **place.one) as recognizer:
        if place.one["backend"] == "tensorrt":
            monkeypatch.setattr(recognizer._backend, "should_speculate", lambda *_: True, raising=False)
        for _ in range(5):
            check_results(results(recognizer, clips), expected)


def test_separate_engines_answer_the_same(bundle, target, clips, expected):
    folder = build(bundle, target, "--exit-graphs", "separate")
    with Recognizer.load(bundle, backend="tensorrt", engine_dir=folder) as recognizer:
        check_results(results(recognizer, clips), expected)


@pytest.mark.parametrize("prefetch", [False, True])
def test_several_videos_at_once_are_answered_as_one(bundle, place, clips, expected, prefetch):
    for i, thresholds in enumerate(SETTINGS.values()):
        options = {"thresholds": thresholds, "prefetch": prefetch, **place.several}
        with BatchRecognizer.load(bundle, BATCH, **options) as recognizer:
            answers = list(recognizer.recognize(3 * clips))
        for got, want in zip(answers, 3 * expected[i * len(clips) : (i + 1) * len(clips)], strict=True):
            assert (got.exit_frame, got.exit_layer, got.reason) == (want.exit_frame, want.exit_layer, want.reason)
            assert got.confidence == pytest.approx(want.confidence, abs=1e-3)
    with Recognizer.load(bundle, **place.several) as recognizer:  # engines for several take one, too
        check_results(results(recognizer, clips), expected)


def test_threads_use_one_recogniser_by_turns_and_their_own_at_once(bundle, place, clips, expected):
    together = threading.Barrier(3)

    def work():
        with Recognizer.load(bundle, **place.one) as own:
            together.wait()
            for _ in range(3):
                check_results(results(own, clips), expected)

    with ThreadPoolExecutor(1) as other, Recognizer.load(bundle, **place.one) as shared:
        check_results(results(shared, clips), expected)
        other.submit(lambda: check_results(results(shared, clips), expected)).result()
        check_results(results(shared, clips), expected)
        other.submit(shared.close).result()
    with ThreadPoolExecutor(3) as pool:
        for answer in [pool.submit(work) for _ in range(3)]:
            answer.result()


ENDS = {
    "global": ("recognizer = load()", 0),
    "other thread": ("box = []; t = threading.Thread(target=lambda: box.append(load())); t.start(); t.join()", 0),
    "daemon": (
        "go = threading.Event()\n"
        "def work():\n"
        "    recognizer = load(prefetch=False)\n"
        "    while True:\n"
        "        recognizer.recognize(clip)\n"
        "        go.set()\n"
        "threading.Thread(target=work, daemon=True).start()\n"
        "go.wait()",
        0,
    ),
    "error": ("recognizer = load(); sys.exit(3)", 3),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_closes_nothing_ends_as_it_should(bundle, place, end):
    code, status = ENDS[end]
    start = (
        "import sys, threading\n"
        "import numpy as np\n"
        "from tlee.runtime import Recognizer\n"
        "clip = np.zeros((4, 32, 32, 3), np.uint8)\n"
        "def load(**options):\n"
        f"    recognizer = Recognizer.load({bundle.path!r}, **dict({place.one!r}, **options))\n"
        "    recognizer.recognize(clip)\n"
        "    return recognizer\n"
    )
    ended = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stdout) == (status, ""), ended.stderr
    # ONNX Runtime's providers have something to say at times, and a daemon thread is told that it is closed.
    if place.one["backend"] == "tensorrt" and end != "daemon":
        assert ended.stderr == ""


# -- times


@pytest.mark.parametrize("name", ["small", "mobilenetv2", "resnet50"])
def test_times(name, target, tmp_path_factory, small_checkpoint):
    """Prints what each graph takes and what a frame takes as a whole; all frames run to the tail."""
    folder = tmp_path_factory.mktemp("times")
    if name == "small":
        bundle = export_bundle(enliven(small_model()), folder / "small.tlee", small_checkpoint, verified=False)
    else:
        backbone.write(name, folder)
        bundle = Bundle.open(folder / f"{name}.tlee")
    places = [{"backend": "tensorrt", "engine_dir": build(bundle, target)}]
    places += [{"backend": provider} for provider in BACKENDS[1:] if has_provider(provider)]
    for options in places:
        for line in table(bundle, options):
            print(line)


def table(bundle, options):
    plain = {"thresholds": Thresholds.of(bundle.exits, 2.0, 2.0, 2.0), **options}
    with Recognizer.load(bundle, speculate=False, prefetch=False, **plain) as recognizer:
        graphs = graph_times(recognizer)
        yield f"\n{bundle.name}, {recognizer.backend}: milliseconds, medians"
        for graph, milliseconds in graphs.items():
            yield f"  {graph:<28} {milliseconds:9.3f}"
    computing = sum(graphs.values())
    yield f"  {'sum':<28} {computing:9.3f}"
    yield f"  {'a frame to the tail':<28} {'device':>9} {'wall':>9} {'host share':>11}"
    for speculate in (False, True):
        for prefetch in (False, True):
            with Recognizer.load(bundle, speculate=speculate, prefetch=prefetch, **plain) as recognizer:
                device, wall = frame_times(recognizer)
            how = f"speculate {'yes' if speculate else 'no'}, prefetch {'yes' if prefetch else 'no'}"
            yield f"  {how:<28} {device:9.3f} {wall:9.3f} {max(0.0, 1 - computing / wall):11.1%}"
            assert min(device, wall) > 0


def graph_times(recognizer):
    """Of each graph on a frame's way to the tail, by the clock of what computes: of several runs in a row, so that it
    is not waiting for the host."""
    chain, backend, bundle, times = recognizer._chain, recognizer._backend, recognizer.bundle, {}
    shape = bundle.manifest["segments"]["split0"]["inputs"][0]["shape"][1:]
    run = backend.run

    def timed(graph, *inputs, **options):
        samples = []
        for _ in range(5):
            backend.mark()
            for _ in range(RUNS):
                outputs = run(graph, *inputs, **options)
            backend.fetch([])
            backend.wait()
            samples.append(backend.milliseconds() / RUNS)
        times[graph] = statistics.median(samples)
        return outputs

    with backend:
        chain.begin()
        x = chain.load(np.zeros(shape, np.float32))
        backend.run = timed
        try:
            previous = None
            for b in range(bundle.exits):
                x = chain.split(b, x)
                previous = chain.exit(b, x, previous, frame=0, gated=False).z
        finally:
            del backend.run
        chain.begin()
    return times


def frame_times(recognizer):
    """Milliseconds of a frame: by the clock of what computes, from its first split to its last answer, and in all."""
    bundle = recognizer.bundle
    height, width = bundle.manifest["segments"]["split0"]["inputs"][0]["shape"][1:3]
    clip = np.random.default_rng(0).integers(0, 256, (bundle.frames.length, height, width, 3), np.uint8)
    frames, walls = [], []
    for video in range(VIDEOS + 2):
        start = time.perf_counter()
        result = recognizer.recognize(clip)
        wall = 1000 * (time.perf_counter() - start)
        if video >= 2:  # the first ones warm it up
            frames += [frame.milliseconds for frame in result.frames[:-1]]  # the last one stops at its first exit
            walls.append(wall / (len(result.frames) - 1))
    return statistics.median(frames), statistics.median(walls)
