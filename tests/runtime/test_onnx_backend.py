"""ONNX Runtime on a GPU: answers as on the CPU, and what travels between host and device."""

import gc
import importlib
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from conftest import enliven, small_model

from tlee.bundle import Bundle
from tlee.errors import BundleError, UsageError
from tlee.export.exporter import export_bundle
from tlee.policy import Thresholds
from tlee.runtime import Recognizer
from tlee.runtime.onnx_backend import OnnxBackend
from tlee.runtime.onnx_session import engine_cache

DOUBLE = Path(__file__).parent.parent / "doubles" / "onnxruntime_gpu"
TSM = {"backbone": "mobilenetv2_tsm", "width": 0.35, "input_size": 32, "branches": 2, "crm_num": 1, "classes": 3}
CLIPS = np.random.default_rng(0).integers(0, 256, (2, 4, 32, 32, 3), np.uint8)
FRAME, LOGITS = 4 * 32 * 32 * 3, 4 * 3  # bytes
NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)
LEAVES_EARLY = Thresholds.of(3, 2.0, [0.0, 2.0, 2.0], 2.0)
BACKENDS = ("cuda", "ort-tensorrt")


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """The double, in place of onnxruntime."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(DOUBLE))
    monkeypatch.delitem(sys.modules, "onnxruntime")
    return importlib.import_module("onnxruntime")


@pytest.fixture(scope="module")
def bundles(small_bundle, tmp_path_factory, small_checkpoint):
    path = tmp_path_factory.mktemp("tsm") / "tsm.tlee"
    tsm = export_bundle(enliven(small_model(model=TSM)), path, small_checkpoint, verified=False)
    return {"small": Bundle.open(small_bundle), "tsm": tsm}


def steps(bundle, **options):
    """All that two clips, one after the other, gave."""
    with Recognizer.load(bundle, **options) as recognizer:
        trace = [step for clip in CLIPS for step in recognizer.recognize(clip, trace=True).trace]
    return [(s.frame, s.exit, s.confidence, s.score, s.logits.tolist(), s.z.tolist()) for s in trace]


def error(*arguments, **options):
    with pytest.raises(UsageError) as caught:
        OnnxBackend(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("exit_graphs", ["fused", "separate"])
@pytest.mark.parametrize("kind", ["small", "tsm"])
@pytest.mark.parametrize("thresholds", [NEVER, LEAVES_EARLY], ids=["all exits", "leaves early"])
def test_answers_are_the_cpus(bundles, kind, exit_graphs, thresholds, request):
    expected = steps(bundles[kind], backend="cpu", exit_graphs=exit_graphs, thresholds=thresholds)
    request.getfixturevalue("gpu")
    for backend in BACKENDS:
        assert steps(bundles[kind], backend=backend, exit_graphs=exit_graphs, thresholds=thresholds) == expected


def test_release_1_10_answers_the_same(bundles, gpu):
    expected = steps(bundles["tsm"], backend="cuda", thresholds=NEVER)
    gpu.become_1_10()
    assert steps(bundles["tsm"], backend="cuda", thresholds=NEVER) == expected


@pytest.mark.parametrize("old", [False, True], ids=["update_inplace", "1.10"])
def test_frames_go_up_and_answers_come_down(bundles, gpu, old):
    if old:
        gpu.become_1_10()
    with Recognizer.load(bundles["small"], backend="cuda", thresholds=NEVER) as recognizer:
        decisions = len(recognizer.recognize(CLIPS[1], trace=True).trace)  # temperatures and such go up once
        gpu.uploads.clear(), gpu.downloads.clear()
        recognizer.recognize(CLIPS[1])
    assert gpu.uploads == 4 * [FRAME]
    assert gpu.downloads == decisions * [4, 4] + [LOGITS]


def test_what_is_no_answer_is_not_brought_down(bundles, gpu):
    with Recognizer.load(bundles["small"], backend="cuda", thresholds=NEVER, exit_graphs="separate") as recognizer:
        trace = recognizer.recognize(CLIPS[0], trace=True).trace
        gpu.downloads.clear()
        recognizer.recognize(CLIPS[0])
    scores = sum(step.score is not None for step in trace)
    assert 0 < scores < len(trace) and gpu.downloads == (len(trace) + scores) * [4] + [LOGITS]


@pytest.mark.parametrize("old", [False, True], ids=["update_inplace", "1.10"])
def test_a_frame_holds_until_the_next_but_one(bundles, gpu, old):
    if old:
        gpu.become_1_10()
    backend = OnnxBackend(bundles["small"], threads=1, graphs=["split0"], provider="cuda")
    one, two = (backend.frame(frame) for frame in CLIPS[0][:2])
    assert np.array_equal(backend.array(one)[0], CLIPS[0][0]) and np.array_equal(backend.array(two)[0], CLIPS[0][1])
    assert backend.frame(CLIPS[0][2]) is one and np.array_equal(backend.array(one)[0], CLIPS[0][2])


def test_a_gpu_computes_beside_the_cpu(bundles, gpu):
    names = {}
    for provider in (*BACKENDS, "cpu"):
        backend = OnnxBackend(bundles["small"], graphs=["split0"], provider=provider)
        names[backend.name] = backend.is_async
        assert not backend.should_speculate("split1", 1.0)
    assert names == {"ONNX Runtime, CUDA": True, "ONNX Runtime, TensorRT": True, "ONNX Runtime, CPU": False}


@pytest.mark.parametrize("provider", ["cuda", "cpu"])
def test_several_videos_at_once(bundles, gpu, provider):
    bundle, expected = bundles["small"], []
    single = OnnxBackend(bundle, threads=1, graphs=["split0"])
    for frame in CLIPS[0]:
        expected.append(single.array(single.run("split0", single.frame(frame))[0])[0])
    backend = OnnxBackend(bundle, threads=1, graphs=["split0"], rows=3, provider=provider)
    staged, kept = backend.staging_buffer((3, 32, 32, 3)), backend.empty((3, *expected[0].shape))
    for rows, start in ((3, 0), (2, 2)):  # the second time other frames are in the staged
        staged.array[:rows] = CLIPS[0][start : start + rows]
        backend.send(staged, rows)
        (x,) = backend.run("split0", staged, rows=rows)
        backend.copy_row(x, rows - 1, kept, 0)
        np.testing.assert_allclose(backend.array(x)[:rows], expected[start : start + rows], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(backend.array(kept)[0], expected[start + rows - 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("old", [False, True], ids=["update_inplace", "1.10"])
def test_several_videos_of_which_there_is_one(bundles, gpu, old):
    if old:
        gpu.become_1_10()
    backend, results = OnnxBackend(bundles["small"], threads=1, provider="cuda"), []
    staged, copied = backend.staging_buffer((1, 32, 32, 3)), backend.empty((1, 32, 32, 3))
    for frame in CLIPS[0][:2]:
        staged.array[0] = frame
        backend.copy_row(staged, 0, copied, 0)
        for value in (backend.frame(frame), staged, copied):
            results.append(backend.array(backend.run("split0", value)[0]))
    first, second = results[:3], results[3:]
    assert all(np.array_equal(x, first[0]) for x in first) and all(np.array_equal(x, second[0]) for x in second)
    assert not np.array_equal(first[0], second[0]) and copied.shape == staged.shape
    with pytest.raises(ValueError, match="read-only"):
        copied.array[0] = 0.0


def test_closing_gives_the_gpus_memory_back(bundles, gpu):
    recognizer = Recognizer.load(bundles["tsm"], backend="cuda")
    recognizer.recognize(CLIPS[0])
    before = len(gpu.on_device)
    recognizer.close()
    gc.collect()
    assert len(gpu.on_device) < before
    del recognizer
    gc.collect()
    assert len(gpu.on_device) == 0


def test_without_the_gpu_build_nothing_runs_on_the_cpu_instead(small_bundle):
    assert sys.modules["onnxruntime"] is onnxruntime
    with pytest.raises(UsageError, match="backend cuda: .* without CUDAExecutionProvider; .*onnxruntime-gpu .*Jetson"):
        Recognizer.load(small_bundle, backend="cuda")


@pytest.mark.parametrize("provider", BACKENDS)
def test_a_provider_that_onnxruntime_drops_is_an_error(bundles, gpu, provider, capfd):
    gpu.dropped.add(gpu.TENSORRT if provider == "ort-tensorrt" else gpu.CUDA)
    said = error(bundles["small"], provider=provider)
    assert said.startswith(f"backend {provider}: its libraries cannot be loaded; install CUDA")
    assert ("TensorRT" in said) == (provider == "ort-tensorrt")


def test_what_onnxruntime_says_of_an_option_is_one_line(bundles, gpu):
    gpu.OPTIONS[gpu.CUDA].clear()
    assert 'branch0 cannot be opened on it (Unknown provider option: "' in error(bundles["small"], provider="cuda")


def options_of(backend, graph="split0"):
    return backend._graphs[graph][0].get_provider_options()


def test_memory_is_not_taken_ahead_and_float32_is_float32(bundles, gpu):
    told = options_of(OnnxBackend(bundles["small"], provider="cuda"))
    cuda = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}
    assert told == {gpu.CUDA: {**cuda, "use_tf32": "0"}, gpu.CPU: {}}
    gpu.become_1_10()
    assert options_of(OnnxBackend(bundles["small"], provider="cuda"))[gpu.CUDA] == cuda


def test_engines_are_kept_in_the_users_cache(exported, gpu, tmp_path):
    bundle, folders = Bundle.open(exported), set()
    for precision in ("fp32", "fp16", "int8"):
        backend = OnnxBackend(bundle, precision=precision, provider="ort-tensorrt")
        told = options_of(backend)
        assert list(told) == [gpu.TENSORRT, gpu.CUDA, gpu.CPU]
        folder = told[gpu.TENSORRT]["trt_engine_cache_path"]
        assert told[gpu.TENSORRT] == {
            "device_id": "0",
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": folder,
            **({} if precision == "fp32" else {f"trt_{precision}_enable": "True"}),
        }
        assert Path(folder).is_dir() and Path(folder).parent == tmp_path / "cache" / "tlee" / "ort-tensorrt"
        assert folder == engine_cache(bundle, bundle.segments, precision)
        folders.add(folder)
    assert len(folders) == 3


def test_other_weights_have_other_engines(bundles, gpu, monkeypatch):
    small, names = bundles["small"], ["split0", "head"]
    folder = engine_cache(small, names, "fp32")
    assert engine_cache(bundles["tsm"], names, "fp32") != folder == engine_cache(small, names[::-1], "fp32")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert engine_cache(small, names, "fp32").startswith("/home/somebody/.cache/tlee/ort-tensorrt/")


def test_a_cache_that_cannot_be_written_is_one_line(bundles, gpu, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", os.devnull)
    assert "cannot be written (Not a directory); set XDG_CACHE_HOME" in error(bundles["small"], provider="ort-tensorrt")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("env.cc:327 pthread_create failed, error msg: Resource temporarily unavailable", r"unavailable; .*ulimit -u"),
        ("Exception: std::bad_alloc", "not enough memory; close other programs"),
        ("Invalid rank", r"not a model that ONNX Runtime takes \(Invalid rank\); export again"),
    ],
)
def test_a_system_that_gives_too_little_is_no_fault_of_a_graph(said, told, small_bundle, monkeypatch):
    def failing(*_):
        raise RuntimeError(said)

    monkeypatch.setattr("tlee.runtime.onnx_session.open_session", failing)
    with pytest.raises(BundleError, match=rf"split0.onnx: .*{told}"):
        Recognizer.load(small_bundle, backend="cpu")
