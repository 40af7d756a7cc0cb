"""The published model's answers on TensorRT engines: doubles of several releases, of boards and of a desktop's GPU."""

import numpy as np
import pytest
from golden.test_golden import bundle, check_run, check_steps, clip, imported, in_runtime  # noqa: F401 - fixtures, too
from golden.traces import TRACES, load_trace

from tlee.engines import process, worker
from tlee.engines.builder import Builder
from tlee.engines.planning import BuildOptions
from tlee.policy import Thresholds
from tlee.runtime import Recognizer

PLATFORMS = [("8.2", "nano", "pycuda"), ("10", "desktop", "pycuda"), ("10", "orin", "cuda_python")]
# That all platforms compute what the CPU does, tests/runtime says of small models; so here one trace, with all that a
# chain may have: a gate, feature reuse and splits with a state.
QUICK = {"golden_mobilenetv2_tsm_gm_afrm": PLATFORMS[1]}


def marks(quick):
    return () if quick else pytest.mark.full


@pytest.fixture(scope="module", params=[pytest.param(t, marks=marks(t in QUICK)) for t in TRACES])
def trace(request):
    return {"file": request.param, **load_trace(request.param)}


@pytest.fixture
def build(load, monkeypatch, tmp_path, bundle):  # noqa: F811
    """Engines of the bundle, built within this process on a platform's doubles."""
    monkeypatch.setattr(process, "run", lambda action, folder, request, *_: worker.ACTIONS[action](folder, request))

    def build(platform):
        load(*platform)
        Builder(bundle, str(tmp_path / "engines"), "tensorrt", None, pytest.fail).build(BuildOptions("fp32"))
        return str(tmp_path / "engines")

    return build


def check_as_published(bundle, folder, trace, clip, settings):  # noqa: F811
    """All of the free run against ONNX Runtime and the trace, and these of the trace's runs."""
    never = Thresholds.of(bundle.exits, 2.0, 2.0, gate=2.0)
    with Recognizer.load(bundle, backend="cpu", threads=1) as recognizer:
        expected = list(in_runtime(recognizer, clip, never))
    with Recognizer.load(bundle, backend="tensorrt", engine_dir=folder) as recognizer:
        got = list(in_runtime(recognizer, clip, never))
        assert [step[:3] for step in got] == [step[:3] for step in expected]
        for (*_, confidence, score, logits, z), (*_, sure, gate, wanted, feature) in zip(got, expected):
            assert (confidence, score) == pytest.approx((sure, gate), abs=1e-5)
            np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(z, feature, rtol=1e-4, atol=1e-4)
        assert len(list(check_steps(got, trace["free_run"][: len(got)]))) == (trace["frames"] - 1) * bundle.exits + 1
        for run in [trace["runs"][setting] for setting in settings]:
            thresholds = Thresholds.of(bundle.exits, run["first_threshold"], run["layer_threshold"])
            check_run(in_runtime(recognizer, clip, thresholds), run)


def test_every_exit_is_taken_as_published(build, bundle, trace, clip):  # noqa: F811
    platform = QUICK.get(trace["file"], PLATFORMS[0])
    check_as_published(bundle, build(platform), trace, clip, [1])


@pytest.mark.full
@pytest.mark.parametrize("platform", PLATFORMS, ids="-".join)
def test_every_exit_is_taken_as_published_on_every_platform(build, bundle, trace, clip, platform):  # noqa: F811
    check_as_published(bundle, build(platform), trace, clip, range(4))
