"""The stages train what they say, on what they say."""

import math

import pytest
import torch
from conftest import SMALL, small_model
from torch.nn import functional

from tlee.training.config import StageConfig
from tlee.training.stages import STAGES, StageModule, branches_loss, exit_outputs, fixed_exits

ALL = [0, 1, 2]


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (4, 4, 32, 32, 3), generator=generator).float()
    return frames, functional.one_hot(torch.tensor([0, 1, 2, 1]), 3).float()


def loss_of(model, stage, **settings):
    """As published, unless the settings say otherwise."""
    return StageModule(model, StageConfig(**{"stage": stage, "epochs": 1, "alone": False, **settings}))(*batch())


def logits_of(model, chosen):
    """By (frame, exit), z carried through the chosen exits."""
    features = model.features(batch()[0], chosen)
    return {(s.frame, s.exit): model.classifier(s.z) for s in exit_outputs(model, features, chosen)}


def test_z_is_carried_from_exit_to_exit():
    model = small_model()
    features = model.features(batch()[0], ALL)
    previous = None
    for state in exit_outputs(model, features, ALL):
        feature = features[state.exit][:, state.frame]
        expected = feature if state.frame == 0 else torch.maximum(feature, previous)
        torch.testing.assert_close(state.z, expected)
        assert (state.previous is None) if previous is None else torch.equal(state.previous, previous)
        previous = state.z


@pytest.mark.parametrize(("stage", "scored"), [("backbone", [2]), ("branches", [0, 1]), ("joint", ALL)])
def test_the_loss_is_the_mean_over_frames_and_scored_exits(stage, scored):
    model, labels = small_model(), batch()[1]
    logits = logits_of(model, scored if stage == "backbone" else ALL)
    losses = [functional.cross_entropy(value, labels).item() for (_, b), value in logits.items() if b in scored]
    assert len(losses) == 4 * len(scored)
    assert loss_of(model, stage).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def own_logits(model):
    """By (frame, exit): of each exit's own feature, and, from the second frame on, of the maximum of its own so far."""
    features = model.features(batch()[0], ALL)
    alone = {(t, b): model.classifier(features[b][:, t]) for b in ALL for t in range(4)}
    reused = {(t, b): model.classifier(features[b][:, : t + 1].amax(1)) for b in ALL for t in range(1, 4)}
    return alone, reused


@pytest.mark.parametrize(("stage", "scored"), [("backbone", [2]), ("branches", [0, 1]), ("joint", ALL)])
def test_exits_learn_alone_from_a_frame_and_from_their_own_frames_so_far(stage, scored):
    model, labels = small_model(), batch()[1]
    values = [value for part in own_logits(model) for (_, b), value in part.items() if b in scored]
    assert len(values) == 7 * len(scored)
    losses = [functional.cross_entropy(value, labels).item() for value in values]
    assert loss_of(model, stage, alone=True).item() == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_a_silent_branch_cannot_hide_behind_what_others_hand_on():
    model, published, alone = small_model(), [], []
    with torch.no_grad():
        model.branches[1].project.weight.zero_()
        model.branches[1].project.bias.fill_(-100.0)  # below every other feature: the maximum never takes it
    for found, how in ((published, False), (alone, True)):
        model.zero_grad()
        loss_of(model, "branches", alone=how).backward()
        found.append(model.branches[1].project.bias.grad.abs().sum().item())
    assert alone[0] > 3 * published[0]  # published, the first frame alone teaches it


@pytest.mark.parametrize("stage", ["branches", "joint"])
def test_branches_imitate_the_last_exit_of_their_frame(stage):
    model, labels = small_model(), batch()[1]
    logits, teacher = logits_of(model, ALL), logits_of(model, [2])
    losses = []
    for (t, b), value in logits.items():
        loss = functional.cross_entropy(value, labels)
        if b < 2:
            wanted, said = (teacher[t, 2] / 3).softmax(1), (value / 3).softmax(1)
            loss = 0.4 * loss + 0.6 * 9 * (wanted * (wanted / said).log()).sum(1).mean()
        losses += [loss.item()] if b < 2 or stage == "joint" else []
    assert loss_of(model, stage, distill=0.6, temperature=3).item() == pytest.approx(
        sum(losses) / len(losses), rel=1e-5
    )


def test_the_teacher_learns_nothing_from_its_pupils():
    model = small_model(model={**SMALL["model"], "frm": "none"})  # so that no feature reaches another exit
    features = {b: value.detach().requires_grad_() for b, value in model.features(batch()[0], ALL).items()}
    branches_loss(model, features, batch()[1], StageConfig(stage="branches", epochs=1, distill=0.5)).backward()
    assert features[0].grad.any() and features[1].grad.any()
    assert features[2].grad is None


def gate_loss_by_hand(model, b_knob):
    labels = batch()[1]
    features = model.features(batch()[0], ALL)
    losses = []
    for state in exit_outputs(model, features, ALL):
        if state.frame in (1, 2):  # of four: the rule reads the gate in neither the first nor the last
            error = functional.cross_entropy(model.classifier(state.z), labels, reduction="none")
            target = (error <= b_knob * math.exp(state.frame / (3 + state.exit))).float()
            score = model.gate(state.z, state.previous).sigmoid().squeeze(1)
            losses.append(functional.binary_cross_entropy(score, target).item())
    assert len(losses) == 6
    return sum(losses) / 6


def test_the_gate_learns_where_the_loss_is_small_enough():
    model = small_model()
    assert loss_of(model, "gate", b_knob=0.9).item() == pytest.approx(gate_loss_by_hand(model, 0.9), rel=1e-4)


def test_all_parts_at_once_learn_from_both_losses():
    model = small_model()
    expected = loss_of(model, "joint").item() + gate_loss_by_hand(model, 0.9)
    assert loss_of(model, "all", b_knob=0.9).item() == pytest.approx(expected, rel=1e-4)


def test_the_gate_does_not_bend_what_it_judges():
    model = small_model()
    gradients = []
    for stage in ("joint", "all"):
        model.zero_grad()
        loss_of(model, stage).backward()
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if not n.startswith("gate")})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("frames", {"backbone", "branches", "classifier"}),
        ("backbone", {"backbone", "classifier"}),
        ("branches", {"branches"}),
        ("joint", {"backbone", "branches", "classifier"}),
        ("gate", {"gate"}),
        ("all", {"backbone", "branches", "classifier", "gate"}),
    ],
)
def test_a_stage_changes_its_parts_and_nothing_else(stage, parts):
    model = small_model().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for part in STAGES[stage].parts(model):
        part.requires_grad_(True).train()
    learning = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(learning, 0.1)
    loss_of(model, stage).backward()
    optimiser.step()
    changed = {n.split(".")[0] for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == parts


@pytest.mark.parametrize(
    ("stage", "heads"),
    [
        ("backbone", {f"classifier.{t}" for t in range(4)}),
        ("gate", {"gate.0", "gate.1"}),  # of the second and third frame; the last one always answers
    ],
)
def test_each_frame_teaches_its_own_heads(stage, heads):
    model = small_model(model={**SMALL["model"], "heads": "per_frame", "gate": "eg"}).requires_grad_(False)
    for part in STAGES[stage].parts(model):
        part.requires_grad_(True).train()
    loss_of(model, stage).backward()
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {".".join(name.split(".")[:2]) for name in learning if not name.startswith("backbone")} == heads
    # Nothing learns in vain, which torch's distributed training refuses.
    assert all(p.grad is not None and p.grad.any() for name, p in learning.items() if name.endswith("weight"))


def test_a_fixed_exit_sees_only_frames_that_left_there():
    model = small_model()
    features = model.features(batch()[0], ALL)
    logits = fixed_exits(model, features)
    assert logits.shape == (4, 3, 4, 3)
    z = torch.maximum(torch.maximum(features[1][:, 0], features[1][:, 1]), features[1][:, 2])
    torch.testing.assert_close(logits[2, 1], model.classifier(z))
