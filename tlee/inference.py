"""The exit rule as a loop: one video through a model's stages until the policy says stop.

The PyTorch model and the runtime's chain both run through `walk`; they differ only in what `stages` is.
"""

import math
from typing import Any, Iterable, Iterator, NamedTuple, Optional

from tlee.errors import SegmentError
from tlee.policy import Action, Decision, ExitPolicy

NOT_A_NUMBER = "the {} at frame {}, exit {} is not a number"


class ExitValues(NamedTuple):
    """What one exit computed. `z` and `logits` stay wherever the stages keep their values; they hold until the next
    exit has answered, no longer."""

    z: Any  # (1, D), after the FRM
    logits: Any  # (1, K)
    confidence: float
    score: Optional[float]  # the gate's, where it was asked for


class Step(NamedTuple):
    """One evaluated exit: where, what it computed, and what the policy made of it."""

    frame: int  # position in processing order
    exit: int  # 0 .. B-1 a branch, B the tail
    values: ExitValues
    decision: Decision


class Stages:
    """A model, as the exit rule sees it: splits and exits over values of a kind of its own."""

    def begin(self) -> None:
        """A new video: forget what splits kept of the last one's frames."""

    def load(self, frame: Any) -> Any:
        """Turn a frame, (H, W, 3) RGB 0-255, into the first split's input."""
        raise NotImplementedError  # abstract

    def split(self, index: int, x: Any) -> Any:
        """Run backbone split `index`."""
        raise NotImplementedError  # abstract

    def exit(
        self, index: int, x: Any, previous: Optional[Any], fuse: bool, gated: bool, temperature: float = 1.0
    ) -> ExitValues:
        """Run exit `index` on the split's output `x`.

        Args:
            previous: the previous exit's z, None at the very first exit.
            fuse: whether the FRM takes `previous` in (every frame but the first).
            gated: whether the gate's score is wanted.
            temperature: of the confidence, see `tlee.policy.Thresholds`.
        """
        raise NotImplementedError  # abstract


def walk(stages: Stages, frames: Iterable[Any], policy: ExitPolicy) -> Iterator[Step]:
    """Yield one `Step` per evaluated exit; the last one answers for the video.

    A split may hand values of its own from frame to frame (temporal shift); a frame that leaves early leaves those
    of the deeper splits as they were.

    Frames are taken from `frames` one at a time, so a lazy iterable decodes only what is needed.
    The z handed on is the previous *exit's*, also inside one frame, as published.

    Raises:
        SegmentError: a confidence or score is NaN or infinite.
    """
    stages.begin()
    previous = None
    for t, frame in enumerate(frames):
        x = stages.load(frame)
        for b in range(policy.exits):
            x = stages.split(b, x)
            if not policy.evaluates(b):
                continue
            temperature = policy.thresholds.temperature[b]
            values = stages.exit(b, x, previous, fuse=t > 0, gated=policy.reads_gate(t), temperature=temperature)
            _check_finite(values, t, b)
            decision = policy.decide(t, b, values.confidence, values.score)
            yield Step(t, b, values, decision)
            if decision.action is Action.VIDEO_DONE:
                return
            previous = values.z
            if decision.action is Action.FRAME_DONE:
                break


def _check_finite(values: ExitValues, t: int, b: int) -> None:
    for name, value in (("confidence", values.confidence), ("gate score", values.score)):
        if value is not None and not math.isfinite(value):
            raise SegmentError(
                "segment {}".format("head" if name == "confidence" else "gate"),
                NOT_A_NUMBER.format(name, t, b),
                "check the input for damage and export the bundle again from a sound checkpoint",
            )
