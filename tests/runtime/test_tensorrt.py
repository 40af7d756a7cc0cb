"""TensorRT engines in the runtime, on doubles that do what was queued only when something waits for it."""

import re
import shutil
import sys

import numpy as np
import pytest
from conftest import SMALL, Clock, enliven, small_model, write_clip

from tlee.engines.store import EngineStore
from tlee.errors import EngineError, UsageError
from tlee.export.exporter import export_bundle
from tlee.files import sha256
from tlee.policy import Thresholds, exit_policy
from tlee.runtime import BatchRecognizer, Recognizer
from tlee.runtime.tensorrt_backend import TensorRTBackend

PLATFORMS = [
    ("8.2", "nano", "pycuda"),
    ("10", "desktop", "pycuda"),
    ("10", "orin", "cuda_python"),
    pytest.param(("8.6", "orin", "pycuda"), marks=pytest.mark.full, id="8.6-orin-pycuda"),  # as 8.2, for the runtime
]
CLIPS = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)
LEAVES_EARLY = Thresholds.of(3, 2.0, [0.0, 2.0, 2.0], 2.0)
SETTINGS = {
    "never": NEVER,
    "layer": Thresholds.of(3, 2.0, [2.0, 0.0, 0.0], 2.0),
    "first layer": LEAVES_EARLY,
    "gate": Thresholds.of(3, 2.0, 2.0, [2.0, 0.0, 0.0]),
    "first frame": Thresholds.of(3, 0.0, 0.0),
}
FRAME, LOGITS, ANSWERS = 4 * 32 * 32 * 3, 4 * 3, 256 + 4  # bytes

EVERY_STEP = [(PLATFORMS[0], "separate"), (PLATFORMS[1], "fused"), (PLATFORMS[2], "separate")]
EVERY_STEP += [(("8.6", "orin", "pycuda"), exit_graphs) for exit_graphs in ("fused", "separate")]
platforms = pytest.mark.parametrize("platform", PLATFORMS, ids="-".join)
# One whose GPU shares the memory, and one whose does not.
both_memories = pytest.mark.parametrize("platform", PLATFORMS[:2], ids="-".join)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return [CLIPS[0], CLIPS[1].astype(np.float32), write_clip(tmp_path_factory.mktemp("clips") / "a.mp4")]


@pytest.fixture(scope="module", params=["lively", "shifted"])
def case(request, clips):
    """A bundle, and what the CPU answers."""
    bundle = request.getfixturevalue(request.param)
    with Recognizer.load(bundle, backend="cpu", threads=1) as recognizer:
        expected = list(results(recognizer, clips))
    assert {want.reason for want in expected} == {"first frame confident", "gate", "last frame"}
    assert {frame.exit_layer for want in expected for frame in want.frames} == {0, 1, 2}
    return bundle, expected


def set_thresholds(recognizer, thresholds):
    recognizer.policy = exit_policy(recognizer.bundle.manifest["model"]["gate"], 4, thresholds)


def results(recognizer, clips):
    """Of each setting and clip; each clip follows one that stopped elsewhere."""
    for thresholds in SETTINGS.values():
        set_thresholds(recognizer, thresholds)
        for clip in clips:
            yield recognizer.recognize(clip, trace=True)


def check_results(got, expected):
    for result, want in zip(got, expected, strict=True):
        check_trace(result.trace, want.trace)
        assert (result.label, result.exit_frame, result.exit_layer, result.reason, result.macs) == (
            (want.label, want.exit_frame, want.exit_layer, want.reason, want.macs)
        )
        frames, wanted = ([(f.video_frame, f.exit_layer, f.reason) for f in r.frames] for r in (result, want))
        assert frames == wanted


def check_trace(trace, expected):
    assert [(s.frame, s.exit, s.action, s.reason) for s in trace] == [
        (s.frame, s.exit, s.action, s.reason) for s in expected
    ]
    for step, want in zip(trace, expected):
        np.testing.assert_allclose(step.logits, want.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(step.z, want.z, rtol=1e-4, atol=1e-5)
        assert step.confidence == pytest.approx(want.confidence, abs=1e-5)
        assert (step.score is None) == (want.score is None)
        assert step.score is None or step.score == pytest.approx(want.score, abs=1e-5)


def on_tensorrt(bundle, made, **options):
    return Recognizer.load(bundle, backend="tensorrt", engine_dir=made.folder, **options)


@pytest.mark.parametrize(
    ("platform", "exit_graphs"),
    [
        (PLATFORMS[0], "fused"),
        (PLATFORMS[1], "separate"),
        (PLATFORMS[2], "fused"),
        *(pytest.param(*values, marks=pytest.mark.full) for values in EVERY_STEP),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_every_step_is_the_cpus(engines, case, monkeypatch, clips, platform, exit_graphs):
    bundle, expected = case
    made = engines(bundle, *platform, exit_graphs=exit_graphs)
    for speculate, prefetch in ((False, False), (True, True)):
        with on_tensorrt(bundle, made, speculate=speculate, prefetch=prefetch) as recognizer:
            monkeypatch.setattr(
                TensorRTBackend, "should_speculate", lambda *_: True
            )  # also where the next split is not wanted
            check_results(results(recognizer, clips), expected)


@both_memories
def test_engines_for_several_videos_answer_one_and_several(engines, case, clips, platform):
    bundle, expected = case
    made = engines(bundle, *platform, batch=3)
    with on_tensorrt(bundle, made) as recognizer:
        check_results(results(recognizer, clips), expected)
    for i, thresholds in enumerate(SETTINGS.values()):
        options = {"backend": "tensorrt", "engine_dir": made.folder, "prefetch": i % 2 == 0}
        with BatchRecognizer.load(bundle, 3, thresholds=thresholds, **options) as recognizer:
            for got, want in zip(recognizer.recognize(clips), expected[i * len(clips) :]):
                assert (got.exit_frame, got.exit_layer, got.reason) == (want.exit_frame, want.exit_layer, want.reason)
                assert got.confidence == pytest.approx(want.confidence, abs=1e-5)


@platforms
@pytest.mark.parametrize("exit_graphs", ["fused", "separate"])
def test_frames_go_up_and_answers_come_down_and_nothing_else(engines, lively, platform, exit_graphs):
    made = engines(lively, *platform, exit_graphs=exit_graphs)
    with on_tensorrt(lively, made, thresholds=NEVER, speculate=False) as recognizer:
        decisions = len(recognizer.recognize(CLIPS[0], trace=True).trace)  # temperatures and such go up once
        made.device.counts.clear()
        recognizer.recognize(CLIPS[1])
    assert decisions == 10
    counts, copied = made.device.counts, platform[1] == "desktop"
    assert counts["htod"] == 4 * copied and counts["htod bytes"] == 4 * copied * FRAME
    assert counts["dtoh"] == decisions * copied + 1 and counts["dtod"] == 0
    assert counts["dtoh bytes"] <= decisions * copied * ANSWERS + LOGITS


@platforms
@pytest.mark.parametrize("speculate", [False, True])
def test_the_host_waits_once_per_decision(engines, lively, platform, speculate):
    made = engines(lively, *platform)
    with on_tensorrt(lively, made, speculate=speculate, prefetch=False) as recognizer:
        for thresholds in SETTINGS.values():
            set_thresholds(recognizer, thresholds)
            result = recognizer.recognize(CLIPS[0], trace=True)
            made.device.counts.clear()
            recognizer.recognize(CLIPS[0])
            waits = len(result.trace) + 1  # for the logits
            assert made.device.counts["synchronize"] == waits


@both_memories
def test_milliseconds_are_the_devices(engines, lively, monkeypatch, platform):
    made, clock = engines(lively, *platform, milliseconds=5.0), Clock().drive(monkeypatch)
    with on_tensorrt(lively, made, thresholds=LEAVES_EARLY, prefetch=False) as recognizer:
        frame = TensorRTBackend.frame
        monkeypatch.setattr(TensorRTBackend, "frame", lambda *a: clock.pause(0.02) or frame(*a))  # slow to read
        times = [f.milliseconds for f in recognizer.recognize(CLIPS[0]).frames]
        set_thresholds(recognizer, NEVER)
        deep = [f.milliseconds for f in recognizer.recognize(CLIPS[0]).frames]
    assert times == pytest.approx([10.0] * 4)  # a split and an exit
    assert deep == pytest.approx([30.0] * 3 + [10.0])  # in the last frame the first exit answers


# -- speculation


def queued_ahead(recognizer, device, monkeypatch):
    """Of each decision of a video, the runs that were queued before the host waited and were not for that decision."""
    ahead, wait = [], TensorRTBackend.wait

    def counting(backend):
        ahead.append(device.counts["run"])
        return wait(backend)

    device.counts.clear()
    with monkeypatch.context() as patched:
        patched.setattr(TensorRTBackend, "wait", counting)
        recognizer.recognize(CLIPS[0])
    return [runs - 2 * (i + 1) for i, runs in enumerate(ahead)], device.counts["run"]


@both_memories
def test_a_split_is_queued_ahead_where_it_was_mostly_wanted(engines, lively, monkeypatch, platform):
    made = engines(lively, *platform)
    with on_tensorrt(lively, made, thresholds=NEVER) as recognizer:
        for _ in range(120):
            recognizer.recognize(CLIPS[0])
        # Ahead of exits 0 and 1, not of the tail nor of the last frame, which ends at its first exit.
        assert queued_ahead(recognizer, made.device, monkeypatch) == (3 * [1, 1, 0] + [0], 20)
        set_thresholds(recognizer, LEAVES_EARLY)
        assert queued_ahead(recognizer, made.device, monkeypatch)[1] == 8 + 3  # in vain
        for _ in range(120):
            recognizer.recognize(CLIPS[0])
        assert queued_ahead(recognizer, made.device, monkeypatch) == ([0, 0, 0, 0], 8)


def test_a_split_that_costs_more_than_waiting_is_not_queued_on_a_guess(engines, lively):
    made = engines(lively, milliseconds=20.0)
    with on_tensorrt(lively, made) as recognizer:
        backend = recognizer._backend
        assert all(cost >= 19.99 for cost in backend._costs.values())
        assert (
            not backend.should_speculate("split1", 0.5)
            and not backend.should_speculate("split1", 0.0)
            and backend.should_speculate("split1", 1.0)
        )


def test_without_speculation_nothing_is_queued_ahead(engines, lively, monkeypatch):
    made = engines(lively)
    with on_tensorrt(lively, made, thresholds=NEVER, speculate=False) as recognizer:
        monkeypatch.setattr(TensorRTBackend, "should_speculate", lambda *_: True)
        assert queued_ahead(recognizer, made.device, monkeypatch) == ([0] * 10, 20)


def test_speculation_fills_the_time_that_the_host_decides_in(engines, lively, monkeypatch):
    made, clock, wait = engines(lively, milliseconds=10.0), Clock().drive(monkeypatch), TensorRTBackend.wait

    def slow(backend):
        numbers = wait(backend)
        clock.pause(0.02)
        return numbers

    def taken(speculate):
        with on_tensorrt(lively, made, thresholds=NEVER, speculate=speculate) as recognizer:
            return recognizer.recognize(CLIPS[0]).frames[0].milliseconds

    monkeypatch.setattr(TensorRTBackend, "wait", slow)
    monkeypatch.setattr(TensorRTBackend, "should_speculate", lambda *_: True)
    assert taken(False) - taken(True) == pytest.approx(2 * 10)  # two splits, beside the host instead of after it


def test_a_state_that_came_of_a_split_in_vain_is_not_handed_on(engines, monkeypatch, tmp_path, small_checkpoint):
    frames = {"count": 8, "resize": 36}
    model = enliven(small_model(model={**SMALL["model"], "backbone": "mobilenetv2_tsm"}, frames=frames))
    bundle = export_bundle(model, tmp_path / "long.tlee", small_checkpoint, verified=False)
    clip = np.random.default_rng(0).integers(0, 256, (2, 8, 32, 32, 3), np.uint8)[1]
    clip[::3] //= 8
    made, waited = engines(bundle), []
    cpu = Recognizer.load(bundle, backend="cpu", thresholds=NEVER, threads=1)
    with cpu, on_tensorrt(bundle, made) as recognizer:
        monkeypatch.setattr(TensorRTBackend, "should_speculate", lambda *_: True)
        for step in [step for step in cpu.recognize(clip, trace=True).trace if step.exit == 0]:
            thresholds = Thresholds.of(3, 2.0, [step.confidence - 1e-3, 2.0, 2.0], 2.0)
            for each in (cpu, recognizer):
                each.policy = exit_policy(bundle.manifest["model"]["gate"], 8, thresholds)
            want = cpu.recognize(clip, trace=True)
            check_trace(recognizer.recognize(clip, trace=True).trace, want.trace)
            deep = [frame.exit_layer for frame in want.frames]
            waited += [len(early) for early in re.findall("(?<=2)0+(?=2)", "".join(map(str, deep)))]
    # The state was kept while so many frames in a row left early, each with a split in vain that began from it.
    assert min(waited) == 1 and max(waited) >= 2


# -- which engines are taken, and why not


@pytest.fixture
def home(lively, engines, tmp_path, monkeypatch):
    """A copy of the bundle with engines for a Nano beside it, where the runtime looks by itself."""
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)  # not installed
    path = shutil.copytree(lively.path, tmp_path / "small.tlee")
    shutil.copytree(engines(lively).folder, path / "engines")
    return path


def test_by_itself_the_runtime_takes_engines_that_fit(home, engines, lively):
    with Recognizer.load(home, backend="cpu") as recognizer:
        expected = recognizer.recognize(CLIPS[0])
    with Recognizer.load(home) as recognizer:
        assert (recognizer.backend, recognizer.notes) == ("TensorRT 8.2.1.8 on NVIDIA Tegra X1", [])
        assert recognizer.recognize(CLIPS[0]).confidence == pytest.approx(expected.confidence, abs=1e-5)
    separate = engines(lively, exit_graphs="separate").folder
    with Recognizer.load(home, engine_dir=separate) as recognizer:  # whatever fused exits are asked for
        assert recognizer.recognize(CLIPS[0]).confidence == pytest.approx(expected.confidence, abs=1e-5)


def missing(load, home):
    load("8.2", "nano")
    shutil.rmtree(home / "engines")


def of_another_board(load, home):
    load("8.2", "desktop")


def of_another_tensorrt(load, home):
    load("8.6", "nano")


def altered(load, home):
    load("8.2", "nano")
    (file,) = (home / "engines").glob("*/split1.*.engine")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def one_is_gone(load, home):
    load("8.2", "nano")
    (file,) = (home / "engines").glob("*/split1.*.engine")
    file.unlink()


def damaged_record(load, home):
    load("8.2", "nano")
    (file,) = (home / "engines").glob("*/engines.json")
    file.write_text("{")


def no_engine(load, home):
    load("8.2", "nano")
    (file,) = (home / "engines").glob("*/split1.*.engine")
    store = EngineStore(str(file.parent))
    store.entries[file.name].update(sha256=sha256(b"no engine"), bytes=len(b"no engine"))
    store.activate("small", store.active["small"])
    file.write_bytes(b"no engine")


def no_tensorrt(load, home):
    load(None, "nano")


def no_gpu(load, home):
    load("8.2", "none")


def no_cuda(load, home):
    with pytest.raises(ImportError):
        load("8.2", "nano", cuda=None)


BUILD = r"build them here with tlee-build .*small\.tlee"
ONLY = r", only for tensorrt-8\.2\.1\.8-nvidia-tegra-x1-5\.3"
REFUSED = [
    (missing, EngineError, rf"/engines: no engines of small for TensorRT 8\.2\.1\.8.* on this device; {BUILD}"),
    (of_another_board, EngineError, rf"no engines of small .*{ONLY}; {BUILD}"),
    (of_another_tensorrt, EngineError, rf"no engines of small .*{ONLY}; {BUILD}"),
    (altered, EngineError, r"split1\.fp32\.\w+\.engine: altered; build it again with tlee-build"),
    (one_is_gone, EngineError, r"split1\.fp32\.\w+\.engine: missing; build it again with tlee-build"),
    (damaged_record, EngineError, rf"x1-5\.3: engines of another machine or user, or damaged; {BUILD}"),
    (no_engine, EngineError, r"TensorRT 8\.2\.1\.8: does not take the engine: .*; build it again here"),
    (no_tensorrt, UsageError, r"tensorrt: not installed; it comes with JetPack"),
    (no_gpu, UsageError, r"GPU: CUDA finds none \(.*no CUDA-capable device.*\); look whether"),
    (no_cuda, UsageError, r"CUDA: neither PyCUDA nor cuda-python is installed; pip install"),
]


@pytest.mark.parametrize(("change", "kind", "line"), REFUSED, ids=[case[0].__name__ for case in REFUSED])
def test_engines_that_do_not_fit_are_one_line_and_the_cpu_takes_over(load, home, change, kind, line):
    change(load, home)
    with pytest.raises(kind, match=line) as refused:
        Recognizer.load(home, backend="tensorrt")
    said = str(refused.value)
    assert "\n" not in said
    with Recognizer.load(home) as recognizer:
        assert recognizer.backend == "ONNX Runtime, CPU"
        assert recognizer.notes == ([] if change is missing else [f"not on TensorRT: {said}"])
        recognizer.recognize(CLIPS[0])


def test_engines_of_another_export_are_refused(engines, lively, shifted):
    made = engines(shifted)  # of the same name
    line = rf"(split|exit)\d\.fp32\.\w+\.engine: built from another export of the bundle; {BUILD}"
    with pytest.raises(EngineError, match=line):
        on_tensorrt(lively, made)


def test_engines_for_fewer_videos_and_options_that_are_the_builds_are_refused(engines, lively):
    made = engines(lively)
    options = {"backend": "tensorrt", "engine_dir": made.folder}
    with pytest.raises(UsageError, match="built for 1 at once, 4 asked for; build with tlee-build --batch 4"):
        BatchRecognizer.load(lively, 4, **options)
    with pytest.raises(UsageError, match="--precision fp16: engines compute in the precision .* give it to tlee-build"):
        Recognizer.load(lively, precision="fp16", **options)
    made = engines(lively, exit_graphs="separate")
    with pytest.raises(UsageError, match="engines of separate segments take one video at a time; .* --batch 1"):
        BatchRecognizer.load(lively, 1, backend="tensorrt", engine_dir=made.folder)
    assert made.device.retained == 0 and not made.device.stack
