"""A checkpoint and a bundle answer as the model does when it is really run, exit by exit."""

import numpy as np
import pytest

from tlee.errors import BundleError, CheckpointError, UsageError
from tlee.evaluation.evaluated import EvaluatedBundle, EvaluatedCheckpoint, Recorded, are_names, open_model
from tlee.inference import exit_steps
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.models.model import TorchStages
from tlee.modes import FRAME, LAYER, fixed_exits, policies
from tlee.policy import Action

PARTS = [
    pytest.param({"gate": "gm", "frm": "max"}, marks=pytest.mark.full),
    {"gate": "eg", "frm": "attention", "neck": 24},
    pytest.param({"gate": "none", "frm": "none"}, marks=pytest.mark.full),
    {"gate": "eg", "heads": "per_frame"},
    pytest.param({"gate": "random", "frm": "add", "branch": "fc"}, marks=pytest.mark.full),
    pytest.param({"gate": "gm", "frm": "ema"}, marks=pytest.mark.full),
]


def all_policies(subject):
    arguments = (subject.spec.length, subject.thresholds)
    return [*policies(subject.facts["gate"], *arguments).values(), *fixed_exits(*arguments)]


@pytest.mark.parametrize("parts", PARTS, ids=lambda parts: "-".join(map(str, parts.values())))
def test_recorded_features_exit_as_the_model_itself(tmp_path, lively, clips, parts):
    model, clips = lively(**parts), clips[::2]
    save_checkpoint(tmp_path / "model.safetensors", model)
    subject = open_model(tmp_path / "model.safetensors")
    given = [
        [(s.frame, s.exit, s.decision, s.values, subject.logits(s.values)) for s in exit_steps(stages, frames, policy)]
        for policy in all_policies(subject)
        for stages, frames in subject.clips(clips)
    ]
    wanted = [list(exit_steps(TorchStages(model), clip, policy)) for policy in all_policies(subject) for clip in clips]
    assert len(given) == len(wanted)
    for steps, real in zip(given, wanted):
        assert [step[:3] for step in steps] == [(s.frame, s.exit, s.decision) for s in real]
        for (*_, values, logits), step in zip(steps, real):
            assert values.confidence == pytest.approx(step.values.confidence, abs=1e-5)
            assert values.score == pytest.approx(step.values.score, abs=1e-5)
            assert logits == pytest.approx(step.values.logits[0].numpy(), abs=1e-4)


def test_what_is_compared_takes_exits_of_every_kind(checkpoint, clips):
    subject = open_model(checkpoint)
    ways = policies(subject.facts["gate"], subject.spec.length, subject.thresholds)
    reasons = {}
    for mode, policy in ways.items():
        runs = [list(exit_steps(stages, frames, policy)) for stages, frames in subject.clips(clips[::2])]
        reasons[mode] = {step.decision.reason.value for steps in runs for step in steps}
    assert reasons["early exits"] >= {"first frame confident", "gate", "layer confident", "none"}
    assert reasons[LAYER] >= {"layer confident", "last exit", "last frame", "none"}
    assert reasons[FRAME] >= {"first frame confident", "gate", "last exit"}


def test_only_a_model_without_temporal_shift_is_replayed(checkpoint, tmp_path, lively, clips):
    assert isinstance(next(open_model(checkpoint).clips(clips))[0], Recorded)
    save_checkpoint(tmp_path / "shift.safetensors", lively(backbone="mobilenetv2_tsm"))
    assert isinstance(next(open_model(tmp_path / "shift.safetensors").clips(clips))[0], TorchStages)


def test_checkpoint_and_bundle_say_the_same_about_the_model(checkpoint, bundle):
    ours, theirs = EvaluatedCheckpoint(checkpoint), EvaluatedBundle(bundle)
    assert vars(ours.costs) == vars(theirs.costs)
    differing = {key for key, value in theirs.about().items() if ours.about().get(key) != value}
    assert differing == {"path", "kind", "sha256", "precision"}
    assert ours.labels == theirs.labels == ["walk", "run", "jump"] and are_names(ours.labels)
    assert not are_names(["class 0", "class 1"])


def test_costs_of_a_run_are_those_of_the_recogniser(bundle, clips):
    from tlee.runtime import Recognizer

    subject, recognizer = open_model(bundle), Recognizer.load(bundle)
    for clip, (stages, frames) in zip(clips.numpy(), subject.clips(clips)):
        result = recognizer.recognize(clip)
        steps = list(exit_steps(stages, frames, recognizer.policy))
        assert steps[-1].decision.action is Action.VIDEO_DONE
        assert (steps[-1].frame, steps[-1].exit) == (result.exit_frame, result.exit_layer)
        assert subject.costs.spent(steps) == result.macs
        assert int(np.argmax(subject.logits(steps[-1].values))) == result.class_index


def test_what_is_no_model_or_does_not_go_together_is_refused(checkpoint, bundle, tmp_path):
    config = load_checkpoint(checkpoint).config
    with pytest.raises(UsageError, match="operating points"):
        open_model(checkpoint, point="fast")
    with pytest.raises(UsageError, match="no operating point 'fast'"):
        open_model(bundle, point="fast")
    with pytest.raises(UsageError, match="leave --config out"):
        open_model(bundle, config)
    with pytest.raises(CheckpointError, match="No such file"):
        open_model(tmp_path / "none.safetensors")
    with pytest.raises(BundleError, match="not a bundle"):
        open_model(tmp_path)
