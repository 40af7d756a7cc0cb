"""The runtime answers as the model does, from files and from arrays, and says what it did."""

import json
import shutil

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import CLIPS, small_model, write_clip

from tlee.bundle import Bundle
from tlee.data.clips import open_clip, read_frames
from tlee.errors import BundleError, InputError, UsageError
from tlee.export.exporter import export_bundle
from tlee.files import sha256
from tlee.inference import exit_steps
from tlee.models.checkpoint import load_checkpoint
from tlee.models.model import TorchStages
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime import BatchRecognizer, Recognizer

NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)
SETTINGS = {
    "no exit taken": NEVER,
    "first frame": Thresholds.of(3, 0.0, 0.0),
    "layer": Thresholds.of(3, 2.0, [2.0, 0.0, 0.0], 2.0),
    "gate": Thresholds.of(3, 2.0, 2.0, [2.0, 0.0, 0.0]),
}


@pytest.fixture(scope="module")
def recognizer(small_bundle):
    return Recognizer.load(small_bundle)


@pytest.fixture
def frames(recognizer, clip):
    with open_clip(str(clip)) as video:
        return np.stack(list(read_frames(video, recognizer.bundle.frames)))


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_step_is_pytorchs(small_bundle, frames, setting):
    thresholds = SETTINGS[setting]
    expected = list(exit_steps(TorchStages(small_model()), frames, ExitPolicy(4, thresholds)))
    trace = Recognizer.load(small_bundle, thresholds=thresholds).recognize(frames, trace=True).trace
    assert [(s.frame, s.exit, s.action, s.reason) for s in trace] == [
        (s.frame, s.exit, s.decision.action.value, s.decision.reason.value) for s in expected
    ]
    for got, want in zip(trace, expected):
        np.testing.assert_allclose(got.logits, want.values.logits[0].numpy(), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got.z, want.values.z[0].numpy(), rtol=1e-4, atol=1e-5)
        assert (got.score is None) == (want.values.score is None)


def test_the_confidence_is_that_at_the_exits_temperature(small_bundle, frames):
    thresholds = Thresholds.of(3, 2.0, 2.0, 2.0, temperature=[0.1, 1.0, 3.0])
    for step in Recognizer.load(small_bundle, thresholds=thresholds).recognize(frames, trace=True).trace:
        powers = np.exp((step.logits - step.logits.max()) / thresholds.temperature[step.exit])
        assert step.confidence == pytest.approx(1 / powers.sum(), abs=1e-6)


def test_each_setting_stops_where_it_should(small_bundle, clip):
    stops = {}
    for setting, thresholds in SETTINGS.items():
        result = Recognizer.load(small_bundle, thresholds=thresholds).recognize(clip)
        stops[setting] = (result.exit_frame, result.exit_layer, result.reason)
    assert stops == {
        "no exit taken": (3, 0, "last frame"),
        "first frame": (0, 0, "first frame confident"),
        "layer": (3, 0, "last frame"),
        "gate": (1, 1, "gate"),
    }


def test_a_file_gives_what_its_frames_give(recognizer, clip, frames):
    from_file, from_frames = recognizer.recognize(clip), recognizer.recognize(frames)
    assert from_file.source == str(clip) and from_frames.source == "frames"
    same = ("label", "confidence", "exit_frame", "exit_layer", "macs")
    assert [getattr(from_file, f) for f in same] == [getattr(from_frames, f) for f in same]
    assert recognizer.recognize(frames.astype(np.float32)).confidence == from_frames.confidence


def test_results_do_not_depend_on_what_was_recognised_before(small_bundle, frames):
    recognizer = Recognizer.load(small_bundle, thresholds=NEVER)
    first = recognizer.recognize(frames, trace=True)
    recognizer.recognize(255 - frames)
    again = recognizer.recognize(frames, trace=True)
    for a, b in zip(first.trace, again.trace):
        assert a.confidence == b.confidence and np.array_equal(a.z, b.z) and np.array_equal(a.logits, b.logits)


def test_the_share_counts_what_ran(small_bundle, clip):
    bundle = Bundle.open(small_bundle)
    macs = {name: s.macs for name, s in bundle.segments.items()}
    full = Recognizer.load(bundle, early_exit=False).recognize(clip)
    every_split = sum(macs[f"split{b}"] for b in range(3))
    assert full.macs == 4 * (every_split + macs["tail"] + macs["head"]) and full.share == 1.0
    assert (full.exit_frame, full.exit_layer, len(full.frames)) == (3, 2, 4)
    first = Recognizer.load(bundle, thresholds=SETTINGS["first frame"]).recognize(clip)
    assert first.macs == macs["split0"] + macs["branch0"] + macs["head"]
    assert first.share == pytest.approx(first.macs / full.macs)
    gate = Recognizer.load(bundle, thresholds=SETTINGS["gate"]).recognize(clip)
    exits = [macs[name] + macs["head"] for name in ("branch0", "branch1", "tail")]
    spent = every_split + sum(exits) + macs["split0"] + macs["split1"] + exits[0] + exits[1] + 2 * macs["gate"]
    assert gate.macs == spent


def test_frames_name_their_place_in_the_video(small_bundle, clip):
    result = Recognizer.load(small_bundle, early_exit=False).recognize(clip)
    # 12 frames in 4 parts: their middles, in coarse order
    assert [frame.video_frame for frame in result.frames] == [7, 1, 4, 10]
    assert all(frame.milliseconds > 0 for frame in result.frames)
    assert sum(frame.milliseconds for frame in result.frames) < result.milliseconds


def test_a_folder_of_pictures_is_a_clip(recognizer, clip, tmp_path):
    with open_clip(str(clip)) as video:
        folder = tmp_path / "pictures"
        folder.mkdir()
        for i in range(video.frame_count):
            cv2.imwrite(str(folder / f"{i}.png"), cv2.cvtColor(video.frame(i), cv2.COLOR_RGB2BGR))
    assert recognizer.recognize(folder).confidence == recognizer.recognize(clip).confidence


@pytest.mark.parametrize(("frames", "words"), [(1, "has 1 frame,"), (3, "has 3 frames,")])
def test_a_clip_that_is_too_short_is_recognised_with_a_warning(recognizer, tmp_path, frames, words):
    result = recognizer.recognize(write_clip(tmp_path / "short.mp4", frames=frames))
    assert words in result.warning and "the model reads 4" in result.warning


def test_a_segment_that_gives_nan_is_an_error_of_that_input(tmp_path, small_checkpoint, clip):
    model = small_model()
    model.classifier.bias.data[0] = float("nan")
    bundle = export_bundle(model, tmp_path / "nan.tlee", small_checkpoint, verified=False)
    with pytest.raises(InputError, match=f"{clip}: the confidence at frame 0, exit 0 is not a number"):
        Recognizer.load(bundle).recognize(clip)


def test_a_closed_recogniser_says_so(small_bundle, frames):
    with Recognizer.load(small_bundle) as recognizer:
        recognizer.recognize(frames)
    recognizer.close()
    with pytest.raises(UsageError, match="recogniser: closed; load another one"):
        recognizer.recognize(frames)


def test_wrong_use_is_refused(small_bundle, recognizer):
    with pytest.raises(UsageError, match="backend: 'tpu' is not known"):
        Recognizer.load(small_bundle, backend="tpu")
    with pytest.raises(UsageError, match="for 3 exits"):
        Recognizer.load(small_bundle, thresholds=Thresholds.of(2, 0.5, 0.5))
    with pytest.raises(InputError, match="give uint8 or float32"):
        recognizer.recognize(np.zeros((4, 8, 8, 3), np.uint8))


def with_file(bundle, copy, name, content):
    """A copy of a bundle with another file, whose hash is right."""
    shutil.copytree(bundle, copy)
    (copy / name).write_bytes(content)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][name] = {"size": len(content), "sha256": sha256(content)}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


def test_a_graph_that_fails_while_it_runs_is_one_line(recognizer, small_bundle, capfd):
    backend = recognizer._backend
    with pytest.raises(BundleError) as caught:
        backend.run("split1", backend.value(np.zeros((1, 2, 3, 3), np.float32)))
    assert str(caught.value).startswith(f"{small_bundle}/segments/split1.onnx: ONNX Runtime failed while running it (")
    assert "\n" not in str(caught.value) and capfd.readouterr() == ("", "")


def test_values_of_another_type_than_the_manifest_says_are_one_line(tmp_path, small_bundle):
    graph = onnx.load(small_bundle / "fused_exits" / "exit1.onnx")
    graph.graph.node.append(onnx.helper.make_node("Cast", ["confidence"], ["double"], to=onnx.TensorProto.DOUBLE))
    for node in list(graph.graph.node)[:-1]:
        node.output[:] = ["single" if name == "confidence" else name for name in node.output]
    graph.graph.node[-1].input[0], graph.graph.node[-1].output[0] = "single", "confidence"
    next(v for v in graph.graph.output if v.name == "confidence").type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    with pytest.raises(BundleError, match="exit1.onnx: "):
        Recognizer.load(
            with_file(small_bundle, tmp_path / "a.tlee", "fused_exits/exit1.onnx", graph.SerializeToString())
        )


def test_a_segment_that_is_no_onnx_is_one_line(tmp_path, small_bundle, capfd):
    copy = with_file(small_bundle, tmp_path / "copy.tlee", "fused_exits/exit1.onnx", b"no model")
    with pytest.raises(BundleError, match="exit1.onnx: not a graph that tlee-export writes"):
        Recognizer.load(copy)
    assert capfd.readouterr() == ("", "")


def test_sessions_of_others_go_on_working(recognizer, small_bundle):
    content = Bundle.open(small_bundle).read("tail")
    assert onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).get_inputs()[0].name == "x2"


def test_a_result_is_plain_json(recognizer, clip):
    line = json.loads(json.dumps(recognizer.recognize(clip).as_json(), allow_nan=False))
    assert line["label"] in ("walk", "run", "jump") and line["frames"][0]["video_frame"] == 7
    assert "trace" not in line


def test_shipped_clips_are_recognised_as_the_model_card_says():
    model = load_checkpoint(CLIPS.parent / "digits.safetensors")
    clips = sorted(CLIPS.glob("*.mp4"))
    assert len(clips) == 12
    spec, policy = model.config.frame_spec(), ExitPolicy(10, model.config.thresholds())
    right = 0
    for path in clips:
        with open_clip(str(path)) as video:
            *_, last = exit_steps(TorchStages(model), read_frames(video, spec), policy)
        right += int(last.values.logits.argmax()) == int(path.stem[5])
    assert right >= 10


@pytest.mark.parametrize("load", [Recognizer.load, lambda path, **options: BatchRecognizer.load(path, 2, **options)])
def test_an_option_that_there_is_not_is_a_type_error(small_bundle, load):
    with pytest.raises(TypeError, match="bakend"):
        load(small_bundle, bakend="cpu")
