"""Does a bundle answer as the model it was made from? Runs the whole exit rule through the runtime of devices."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from tlee.activations import Activations, Values, difference
from tlee.bundle import Bundle
from tlee.errors import VerificationError
from tlee.export.segments import SHARED
from tlee.frames import FrameSpec
from tlee.inference import Step, exit_steps
from tlee.models.model import Tlee, TorchStages
from tlee.policy import NEVER, ExitPolicy, Thresholds, exit_policy
from tlee.runtime import Recognizer, TraceStep
from tlee.runtime.chain import Chain
from tlee.runtime.onnx_backend import OnnxBackend
from tlee.runtime.onnx_session import open_session

CLIPS = 4
# Of confidences and gate scores; of z relative to its largest value; of logits too, but where all are below 1 of the
# numbers themselves: softmax sees nothing else, and in an untrained classifier they are what large sums leave over.
TOLERANCE = 1e-4


def verify(model: Tlee, bundle: Bundle, backend: OnnxBackend) -> dict[str, object]:
    """Compare every step of several clips at several thresholds, and every graph's outputs for a batch of videos.

    Returns:
        Numbers of clips, runs and steps compared, and the largest difference, for the manifest.

    Raises:
        VerificationError: another exit, another label, or a difference above the tolerance.
        BundleError: recorded activations are missing.
    """
    stages, chain = TorchStages(model), Chain(bundle, backend)
    recognizer = Recognizer(bundle, chain, ExitPolicy(bundle.frames.length, bundle.thresholds()))
    runs, steps, largest = 0, 0, 0.0
    clips = synthetic_clips(bundle.frames)
    for clip in tqdm(clips, desc="verifying", total=CLIPS, leave=False, disable=None):
        for policy, expected in _runs(stages, clip, bundle):
            if _is_undecided(expected, policy):
                continue
            recognizer.policy = policy
            result = recognizer.recognize(clip, trace=True)
            largest = max(largest, _compare(bundle, expected, result.trace or []))
            runs, steps = runs + 1, steps + len(expected)
    verify_batches(bundle)
    return {"clips": CLIPS, "runs": runs, "steps": steps, "difference": largest, "tolerance": TOLERANCE}


def verify_batches(bundle: Bundle) -> None:
    """Raises VerificationError: a float32 graph gives a batch of recorded samples other outputs than each alone."""
    activations = Activations(bundle)
    for name in (*bundle.segments, *bundle.fused_exits):
        session = open_session(bundle.read(name), batch=None)
        # Inputs and outputs; samples of the same temperature can be one batch.
        batches: dict[bytes, list[tuple[Values, Values]]] = defaultdict(list)
        for inputs, outputs in activations.of(name):
            batches[b"".join(inputs[key].tobytes() for key in SHARED if key in inputs)].append((inputs, outputs))
        for samples in batches.values():
            found = _difference_in_batch(session, samples)
            if not found <= TOLERANCE:
                problem = f"given {len(samples)} videos at once, {name} differs by {found:.1e} from one by one"
                raise _failed(bundle, problem)


def _difference_in_batch(session: Any, samples: list[tuple[Values, Values]]) -> float:
    """The largest of any output and sample; infinite where there is not an answer to each."""
    first, expected = samples[0]
    stacked = {name: np.concatenate([inputs[name] for inputs, _ in samples]) for name in first}
    stacked.update({name: first[name] for name in SHARED if name in first})
    try:
        found = dict(zip(expected, session.run(list(expected), stacked)))
    except Exception:  # ONNX Runtime raises classes of its own that have no public base
        return np.inf
    if any(len(values) != len(samples) for values in found.values()):
        return np.inf
    pairs = [(name, want, found[name][i]) for i, (_, wanted) in enumerate(samples) for name, want in wanted.items()]
    return max(difference(name, want, got) for name, want, got in pairs)


def synthetic_clips(spec: FrameSpec, count: int = CLIPS) -> Iterator[np.ndarray]:
    """Clips of drifting waves and noise, (T, crop, crop, 3) uint8, the same on every call."""
    grid = np.linspace(-1, 1, spec.crop)
    for seed in range(count):
        rng = np.random.default_rng(seed)
        frequency, phase = rng.uniform(1, 9, (3, 2)), rng.uniform(0, 6.28, 3)
        frames = []
        for t in range(spec.length):
            waves = [np.sin(f[0] * grid[:, None] + f[1] * grid + p + 0.4 * t) for f, p in zip(frequency, phase)]
            noise = rng.normal(0, 8 * seed, (spec.crop, spec.crop, 3))
            frames.append(127 + 90 * np.stack(waves, axis=-1) + noise)
        yield np.clip(frames, 0, 255).astype(np.uint8)


def _runs(stages: TorchStages, clip: np.ndarray, bundle: Bundle) -> Iterator[tuple[ExitPolicy, list[Step]]]:
    """Policies with PyTorch's steps: no exit taken, the plain backbone, the bundle's own thresholds, and thresholds
    amid the clip's own confidences and scores."""
    count, exits = bundle.frames.length, bundle.exits
    never = ExitPolicy(count, Thresholds.never(exits))
    free = list(exit_steps(stages, clip, never))
    yield never, free
    layer = _amid([step.values.confidence for step in free])
    gate = _amid([step.values.score for step in free if step.values.score is not None])
    plain = ExitPolicy(count, never.thresholds, frame_exit=False, only=exits - 1)
    own = exit_policy(bundle.manifest["model"]["gate"], count, bundle.thresholds())
    by_layer = ExitPolicy(count, Thresholds.of(exits, NEVER, layer, NEVER))
    by_gate = ExitPolicy(count, Thresholds.of(exits, NEVER, layer, gate, temperature=1.5))
    for policy in (plain, own, by_layer, by_gate):
        yield policy, list(exit_steps(stages, clip, copy.deepcopy(policy)))  # a random one draws anew from its seed


def _amid(values: list[float]) -> float:
    """The middle of the widest gap in the middle half of `values`: far from a tie, crossed by some."""
    if not values:  # no gate
        return NEVER
    ordered = sorted(values)
    middle = ordered[len(ordered) // 4 : max(len(ordered) * 3 // 4, len(ordered) // 4 + 2)]
    gaps = [(b - a, (a + b) / 2) for a, b in zip(middle, middle[1:])]
    return max(gaps)[1] if gaps else 0.5


def _is_undecided(steps: list[Step], policy: ExitPolicy) -> bool:
    """Whether a value lies so close to its threshold that rounding may decide."""
    first, layer, gate, _ = policy.thresholds
    pairs = []
    for _, b, values, _ in steps:
        pairs += [(values.confidence, first[b]), (values.confidence, layer[b]), (values.score, gate[b])]
    return any(value is not None and abs(value - threshold) <= TOLERANCE for value, threshold in pairs)


def _compare(bundle: Bundle, expected: list[Step], traced: list[TraceStep]) -> float:
    largest = 0.0
    for want, got in zip(expected, traced):
        where = f"frame {want.frame}, exit {want.exit}"
        taken = (want.frame, want.exit, want.decision.action.value, want.decision.reason.value)
        if taken != (got.frame, got.exit, got.action, got.reason):
            raise _failed(bundle, f"at {where} PyTorch says '{want.decision.reason.value}', the bundle '{got.reason}'")
        logits, z = want.values.logits[0].numpy(), want.values.z[0].numpy()
        differences = {"confidence": abs(want.values.confidence - got.confidence)}
        differences["logits"], differences["z"] = _relative(logits, got.logits, 1.0), _relative(z, got.z, 1e-6)
        if want.values.score is not None and got.score is not None:
            differences["gate score"] = abs(want.values.score - got.score)
        worst = max(differences, key=differences.__getitem__)
        if not differences[worst] <= TOLERANCE:
            raise _failed(bundle, f"at {where} the {worst} differs by {differences[worst]:.1e}")
        largest = max(largest, differences[worst])
    if len(expected) != len(traced) or expected[-1].values.logits.argmax() != traced[-1].logits.argmax():
        raise _failed(bundle, "another last exit or label than PyTorch's")
    return largest


def _relative(want: np.ndarray, got: np.ndarray, smallest: float) -> float:
    return float(np.abs(want - got).max() / max(np.abs(want).max(), smallest))


def _failed(bundle: Bundle, what: str) -> VerificationError:
    remedy = "nothing was written; check the checkpoint for extreme weights, or report this with the checkpoint"
    return VerificationError(bundle.name, f"verification failed: {what}", remedy)
