"""The published model's answers, step by step, in PyTorch and in the runtime on the exported bundle."""

import numpy as np
import pytest
import yaml
from golden.traces import TRACES, load_trace, published_yaml, trace_clip, trace_config, write_published

from tlee.export import cli
from tlee.export.exporter import export_bundle
from tlee.inference import exit_steps
from tlee.models.model import TorchStages
from tlee.models.published import load_published
from tlee.policy import Action, ExitPolicy, Reason, Thresholds, exit_policy
from tlee.runtime import Recognizer

CONFIDENCE = 1e-4


# The largest, and others of a backbone that has one.
FULL = ("golden_vgg16_gm_mp", "golden_efficientnetb3_eg_mp", "golden_resnet34_gm_na", "golden_resnet50_gm_ema")
FULL += ("golden_mobilenetv2_eg_mp", "golden_mobilenetv2_none_none", "golden_bn_inception_eg_mp")


# The runtime's answers on the third are compared with these steps where TensorRT's are, in test_on_tensorrt.py.
RUNTIME = "golden_mobilenetv2_gm_mp"


def quick(names):
    return [pytest.param(name, marks=() if name in names else pytest.mark.full) for name in TRACES]


@pytest.fixture(scope="module", params=quick(set(TRACES) - set(FULL)))
def trace(request):
    return load_trace(request.param)


@pytest.fixture(scope="module")
def imported(trace, tmp_path_factory):
    path = write_published(tmp_path_factory.mktemp("published") / "model_best.pth.tar", trace)
    return load_published(path, trace_config(trace)), path


@pytest.fixture(scope="module")
def model(imported):
    return imported[0]


@pytest.fixture(scope="module")
def bundle(imported, tmp_path_factory):
    model, checkpoint = imported
    # What follows compares it with the trace, which says more than comparing it with the model.
    return export_bundle(model, tmp_path_factory.mktemp("bundle") / "golden.tlee", checkpoint, verified=False)


@pytest.fixture(scope="module")
def recognizer(bundle):
    return Recognizer.load(bundle, threads=1)


@pytest.fixture(scope="module")
def clip(trace):
    return trace_clip(trace)


def in_pytorch(model, clip, thresholds):
    policy = ExitPolicy(len(clip), thresholds)
    for step in exit_steps(TorchStages(model), clip, policy):
        z, logits = step.values.z[0].numpy(), step.values.logits[0].numpy()
        yield step.frame, step.exit, step.decision, step.values.confidence, step.values.score, logits, z


def in_runtime(recognizer, clip, thresholds):
    recognizer.policy = exit_policy(recognizer.bundle.manifest["model"]["gate"], len(clip), thresholds)
    for step in recognizer.recognize(clip, trace=True).trace:
        decision = (Action(step.action), Reason(step.reason))
        yield step.frame, step.exit, decision, step.confidence, step.score, step.logits, step.z


def check_steps(got, expected):
    got = list(got)
    assert [step[:2] for step in got] == [(want["frame"], want["exit"]) for want in expected]
    for (_, _, decision, confidence, score, logits, z), want in zip(got, expected):
        assert confidence == pytest.approx(want["confidence"], abs=CONFIDENCE)
        assert logits.argmax() == want["argmax"]
        np.testing.assert_allclose(logits[:5], want["logits5"], rtol=1e-3, atol=1e-3)
        if "gate" in want and score is not None:
            assert score == pytest.approx(want["gate"], abs=CONFIDENCE)
        if "feature_norm" in want:
            assert np.linalg.norm(z) == pytest.approx(want["feature_norm"], rel=1e-4)
        yield decision, want


def check_run(got, run):
    steps = list(check_steps(got, run["steps"]))
    for (action, reason), want in steps:
        stop = {Action.VIDEO_DONE: "video"}.get(action, "frame" if reason is Reason.CONFIDENT else None)
        assert stop == want.get("stop")
    last = run["steps"][-1]
    assert (last["frame"], last["exit"], last["argmax"]) == (run["exit_frame"], run["exit_branch"], run["label"])


@pytest.mark.parametrize("setting", range(4))
def test_every_exit_is_taken_as_published_in_pytorch(model, trace, clip, setting):
    run = trace["runs"][setting]
    thresholds = Thresholds.of(model.exits, run["first_threshold"], run["layer_threshold"])
    check_run(in_pytorch(model, clip, thresholds), run)


@pytest.mark.parametrize("trace", quick([RUNTIME]), indirect=True, scope="module")
@pytest.mark.parametrize("setting", range(4))
def test_every_exit_is_taken_as_published_in_the_runtime(recognizer, trace, clip, setting):
    run = trace["runs"][setting]
    thresholds = Thresholds.of(recognizer.bundle.exits, run["first_threshold"], run["layer_threshold"])
    check_run(in_runtime(recognizer, clip, thresholds), run)


def never(exits):
    return Thresholds.of(exits, 2.0, 2.0, gate=2.0)


def check_free_run(got, trace, exits):
    # The free run also visits the last frame's deeper exits, which the exit rule never reaches.
    checked = list(check_steps(got, trace["free_run"][: len(got)]))
    assert len(checked) == (trace["frames"] - 1) * exits + 1


def test_without_exits_every_value_is_the_published_one_until_the_last_frame(model, trace, clip):
    check_free_run(list(in_pytorch(model, clip, never(model.exits))), trace, model.exits)


@pytest.mark.parametrize("trace", quick([RUNTIME]), indirect=True, scope="module")
def test_without_exits_every_value_is_the_published_one_in_the_runtime(recognizer, trace, clip):
    exits = recognizer.bundle.exits
    check_free_run(list(in_runtime(recognizer, clip, never(exits))), trace, exits)


@pytest.mark.full  # tests/training/test_published.py exports smaller ones with their files
def test_a_published_checkpoint_and_its_configuration_file_are_all_that_export_needs(tmp_path, capsys):
    trace = load_trace("golden_mobilenetv2_eg_mp")
    checkpoint, config = write_published(tmp_path / "model_best.pth.tar", trace), tmp_path / "published.yml"
    config.write_text(yaml.safe_dump({**published_yaml(trace), "log": "here"}))
    cli.command([str(checkpoint), "--config", str(config), "-o", str(tmp_path / "a.tlee")])
    shown = capsys.readouterr()
    assert shown.err == f"tlee-export: {config}: warning: not known and left out: log\n"
    assert "hmdb51-mobilenetv2: mobilenetv2, 51 classes, 3 exits" in shown.out and "verified: 4 clips" in shown.out
    thresholds = Thresholds.of(3, trace["runs"][1]["first_threshold"], trace["runs"][1]["layer_threshold"])
    exported = Recognizer.load(tmp_path / "a.tlee", thresholds=thresholds)
    check_run(in_runtime(exported, trace_clip(trace), thresholds), trace["runs"][1])
