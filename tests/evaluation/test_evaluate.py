"""Every mode's answers on real videos, from a checkpoint and from its bundle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tlee.data.labelled.listing import Entry, Listing
from tlee.data.labelled.loader import ClipDataset
from tlee.errors import UsageError
from tlee.evaluation.evaluate import ModeEvaluator, evaluate, fitted
from tlee.evaluation.evaluated import open_model
from tlee.evaluation.results import UNUSED
from tlee.export.exporter import export_bundle
from tlee.inference import NOT_A_NUMBER, SegmentError
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.modes import EARLY, FRAME, LAYER, MODES, NONE, ONE, PLAIN, RANDOM, THREE

ARRAYS = ("frame", "exit", "layers", "macs")


@pytest.fixture(scope="module")
def subject(checkpoint):
    return open_model(checkpoint)


@pytest.fixture(scope="module")
def evaluation(subject, listing):
    return evaluate(subject, listing, batch=4)


def assert_same(one, other):
    assert one.entries == other.entries and list(one.modes) == list(other.modes) == list(MODES)
    assert (one.fixed == other.fixed).all() and (one.fixed_macs == other.fixed_macs).all()
    for mode, answers in one.modes.items():
        for name in ARRAYS:
            assert (getattr(answers, name) == getattr(other.modes[mode], name)).all(), (mode, name)
        assert answers.probabilities == pytest.approx(other.modes[mode].probabilities, abs=1e-4)


def test_a_bundle_answers_as_its_checkpoint(evaluation, bundle, listing):
    assert_same(evaluation, evaluate(open_model(bundle), listing, batch=4))


def test_with_a_temporal_shift_too(tmp_path, lively, listing):
    save_checkpoint(tmp_path / "shift.safetensors", lively(backbone="mobilenetv2_tsm"))
    model = load_checkpoint(tmp_path / "shift.safetensors")
    export_bundle(model, tmp_path / "shift.tlee", tmp_path / "shift.safetensors", verified=False)
    paths = ("shift.safetensors", "shift.tlee")
    assert_same(*(evaluate(open_model(tmp_path / path), listing) for path in paths))


def test_batch_and_workers_change_nothing(evaluation, subject, listing):
    assert_same(evaluation, evaluate(subject, listing, batch=2, workers=1))


def test_modes_leave_where_they_may(evaluation):
    modes = {mode: (a.frame.tolist(), a.exit.tolist(), a.layers) for mode, a in evaluation.modes.items()}
    for mode in (LAYER, NONE, PLAIN):
        assert set(modes[mode][0]) == {3}
    assert set(modes[LAYER][1]) == {0} and len(set(modes[LAYER][2].ravel().tolist())) > 1
    for mode in (NONE, PLAIN):
        assert (modes[mode][2] == 2).all()
    assert set(modes[FRAME][1]) == {2} and set(modes[FRAME][2].ravel().tolist()) == {2, UNUSED}
    assert len(set(modes[EARLY][0])) > 1 and len(set(modes[RANDOM][0])) > 1
    for frames, exits, layers in modes.values():
        used = (layers != UNUSED).sum(1)
        assert (used == np.array(frames) + 1).all()
        assert [row[count - 1] for row, count in zip(layers, used)] == exits


def test_modes_cost_what_they_ran(evaluation, subject):
    costs, full = subject.costs, subject.costs.full(4)
    assert set(evaluation.modes[NONE].macs) == {full} == {evaluation.fixed_macs[-1, -1]}
    assert set(evaluation.modes[PLAIN].macs) == {costs.plain(4)}
    assert evaluation.fixed_macs.tolist() == [[costs.fixed(t + 1, b) for b in range(3)] for t in range(4)]
    frame_exit = evaluation.modes[FRAME]
    gates = np.minimum(frame_exit.frame, 2)  # read in all frames but the first and the last
    assert (frame_exit.macs == (frame_exit.frame + 1) * costs.full(1) + gates * costs.gate).all()
    assert (evaluation.modes[EARLY].macs < full).any()


def test_the_plain_backbone_is_the_mean_over_the_frames(evaluation, subject, listing):
    model = load_checkpoint(subject.path)
    frames = ClipDataset(listing, subject.spec)[(0, 5)].frames
    with torch.inference_mode():
        mean = model.classifier(model.features(frames[None], [2])[2][0]).softmax(1).mean(0)
    assert evaluation.modes[PLAIN].probabilities[5] == pytest.approx(mean.numpy(), abs=1e-5)


def test_fixed_exits_reuse_features_of_their_own_exit_only(evaluation, subject, listing):
    model = load_checkpoint(subject.path)
    frames = ClipDataset(listing, subject.spec)[(0, 2)].frames
    with torch.inference_mode():
        z = model.features(frames[None], range(3))
        for b in range(3):  # maximum is the feature reuse here
            predicted = model.classifier(z[b][0].cummax(0).values).argmax(1)
            assert evaluation.fixed[2, :, b].tolist() == predicted.tolist()
    assert (evaluation.fixed[:, -1, -1] == evaluation.modes[NONE].predicted).all()


@pytest.mark.parametrize(
    "parts",
    [
        {"gate": "none", "frm": "none"},
        pytest.param({"gate": "random", "frm": "add", "branch": "fc"}, marks=pytest.mark.full),
    ],
)
def test_models_without_a_gate_have_all_modes(tmp_path, lively, listing, parts):
    save_checkpoint(tmp_path / "model.safetensors", lively(**parts))
    evaluation = evaluate(open_model(tmp_path / "model.safetensors"), listing)
    assert set(evaluation.modes[FRAME].frame) == {0, 3}  # the first frame's confidence, or nothing
    random = [evaluation.modes[mode].layers.tolist() for mode in (EARLY, RANDOM)]
    assert (random[0] == random[1]) == (parts["gate"] == "random")


def test_one_frame_and_three_frames_are_the_beginning_of_every_frame_to_the_tail(evaluation, subject):
    for mode, frames in ((ONE, 1), (THREE, 3)):
        answers = evaluation.modes[mode]
        assert (answers.frame == frames - 1).all() and (answers.exit == 2).all()
        assert (answers.layers == [2] * frames + [UNUSED] * (4 - frames)).all()
        assert (answers.predicted == evaluation.fixed[:, frames - 1, -1]).all()
        assert set(answers.macs) == {subject.costs.fixed(frames, 2)}


def test_videos_that_cannot_be_read_are_left_out_with_the_reason(evaluation, subject, listing, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    bad = [Entry(tmp_path / name, (0,)) for name in ("bad.mp4", "none.mp4")]
    entries = [bad[0], *listing.entries[:4], bad[1], *listing.entries[4:]]
    other = evaluate(subject, replace(listing, entries=entries), batch=3)
    assert {path: error.problem for path, error in other.unreadable.items()} == {
        tmp_path / "bad.mp4": "not a video that can be decoded, or its end is missing",
        tmp_path / "none.mp4": "no such file or folder",
    }
    assert_same(evaluation, other)
    with pytest.raises(UsageError, match="none of 2 videos gave an answer; the first: .*bad.mp4"):
        evaluate(subject, replace(listing, entries=bad))


def test_a_video_for_which_something_is_not_a_number_is_left_out(subject, listing, monkeypatch):
    answer, count = ModeEvaluator.answer, iter(range(6))

    def sometimes(*arguments):
        if next(count) == 4:
            raise SegmentError("segment head", NOT_A_NUMBER.format("confidence", 0, 1), "check")
        return answer(*arguments)

    monkeypatch.setattr(ModeEvaluator, "answer", sometimes)
    evaluation = evaluate(subject, listing)
    assert list(evaluation.unreadable) == [listing.entries[4].path]
    entries = fitted(listing, subject.labels, subject.path).entries
    assert evaluation.entries == entries[:4] + entries[5:]


def test_classes_are_matched_by_name(evaluation, subject, listing):
    assert listing.classes == ["jump", "run", "walk"] and subject.labels == ["walk", "run", "jump"]
    assert evaluation.classes == subject.labels
    assert [entry.labels for entry in evaluation.entries] == [(2,)] * 2 + [(1,)] * 2 + [(0,)] * 2


def some(classes, *labels):
    return Listing([Entry("a.mp4", own) for own in labels], list(classes), False, [])


def test_fewer_classes_do_if_the_model_knows_them(subject):
    listing = fitted(some(["jump", "walk"], (0, 1), (1,)), subject.labels, subject.path)
    assert listing.classes == subject.labels and [entry.labels for entry in listing.entries] == [(0, 2), (0,)]


def test_without_names_classes_are_matched_by_number(subject, monkeypatch):
    numbers = some(["class 0", "class 1", "class 2"], (2,))
    assert fitted(numbers, subject.labels, subject.path) == replace(numbers, classes=subject.labels)
    monkeypatch.setattr(subject, "labels", numbers.classes)
    assert fitted(some("abc", (1,)), subject.labels, subject.path) == some("abc", (1,))


@pytest.mark.parametrize(
    ("classes", "match"),
    [
        (["jump", "run", "swim"], "no class 'swim' as the videos have, but for instance 'walk'"),
        (["class 0", "class 1"], "3 classes, the videos have 2"),
        (["jump", "run", "swim", "walk"], "no class 'swim'"),
    ],
)
def test_classes_that_do_not_fit_are_refused(subject, classes, match):
    with pytest.raises(UsageError, match=match):
        fitted(some(classes, (0,)), subject.labels, subject.path)
