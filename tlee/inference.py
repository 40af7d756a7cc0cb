"""The exit rule as a loop: one video through a model's stages until the policy says stop.

The PyTorch model and the runtime's chain both run through `exit_steps`; they differ only in what `stages` is.
"""

import math
from typing import Any, Iterable, Iterator, NamedTuple, Optional

from tlee.errors import SegmentError
from tlee.policy import Action, Decision, ExitPolicy

NOT_A_NUMBER = "the {} at frame {}, exit {} is not a number"
NOT_A_PROBABILITY = "the {} at frame {}, exit {} is {:g}, not between 0 and 1"
ROUNDING = 1e-3  # beyond 0 and 1, in half precision


class ExitValues(NamedTuple):
    """The results of one exit. `z` and `logits` stay wherever the stages keep their values; they are valid until the
    next exit has answered."""

    z: Any  # (1, D), after the FRM
    logits: Any  # (1, K)
    confidence: float  # largest class probability, 0 to 1
    score: Optional[float]  # the gate's, 0 to 1, where it was asked for


class Step(NamedTuple):
    """One evaluated exit: where, its values, and the policy's decision."""

    frame: int  # position in processing order
    exit: int  # 0 .. B-1 a branch, B the tail
    values: ExitValues
    decision: Decision


class Stages:
    """A model as the exit rule sees it: splits and exits, on values of the model's own type."""

    def begin(self) -> None:
        """A new video: reset the state that splits keep from frame to frame."""

    def load(self, frame: Any) -> Any:
        """Turn a frame, (H, W, 3) RGB 0-255, into the first split's input."""
        raise NotImplementedError  # abstract

    def split(self, index: int, x: Any) -> Any:
        """Run backbone split `index`."""
        raise NotImplementedError  # abstract

    def exit(
        self, index: int, x: Any, previous: Optional[Any], frame: int, gated: bool, temperature: float = 1.0
    ) -> ExitValues:
        """Run exit `index` on the split's output `x`.

        Args:
            previous: the previous exit's z, None at the very first exit.
            frame: its position in processing order. In every frame but the first the FRM takes `previous` in.
            gated: whether the gate's score is wanted.
            temperature: of the confidence, see `tlee.policy.Thresholds`.
        """
        raise NotImplementedError  # abstract


class ExitState:
    """The progress of one video through the exit rule, and what comes next. It runs nothing: `exit_steps` does for one
    video, and `tlee.runtime.batch` for several at once.

    Attributes:
        frame, exit: the split to run next, `exit` of frame `frame`; 0 asks for a new frame.
        previous: the previous *exit's* z, also inside one frame, as published; None at the very first exit.
        done: the last step answers for the video.
    """

    def __init__(self, policy: ExitPolicy) -> None:
        self.policy = policy.of_video()
        self.frame, self.exit, self.done = 0, 0, False
        self.previous: Optional[Any] = None

    @property
    def evaluated(self) -> bool:
        """Whether the exit behind this split answers."""
        return self.policy.evaluates(self.exit)

    @property
    def gated(self) -> bool:
        """Whether the next exit's gate is read."""
        return self.policy.reads_gate(self.frame)

    @property
    def temperature(self) -> float:
        """Of the next exit's confidence."""
        return self.policy.thresholds.temperature[self.exit]

    def go_on(self) -> None:
        """Proceed to the next split of the same frame."""
        self.exit += 1

    def answer(self, values: ExitValues) -> Step:
        """Decide on an exit's values and advance accordingly. Raises as `check_probabilities`."""
        t, b = self.frame, self.exit
        check_probabilities(values, t, b)
        decision = self.policy.decide(t, b, values.confidence, values.score)
        self.previous = values.z
        if decision.action is Action.VIDEO_DONE:
            self.done = True
        elif decision.action is Action.FRAME_DONE:
            self.frame, self.exit = t + 1, 0
        else:
            self.go_on()
        return Step(t, b, values, decision)


def exit_steps(stages: Stages, frames: Iterable[Any], policy: ExitPolicy) -> Iterator[Step]:
    """Yield one `Step` per evaluated exit; the last one answers for the video.

    A split may keep a state from frame to frame (temporal shift); a frame that leaves early does not change that of the
    deeper splits.

    Args:
        frames: (H, W, 3) RGB 0-255 each, in processing order, taken one at a time, so a lazy iterable decodes only what
            is needed.

    Raises:
        SegmentError: a confidence or score is NaN, or not between 0 and 1.
    """
    stages.begin()
    video = ExitState(policy)
    for frame in frames:
        x = stages.load(frame)
        t = video.frame
        while video.frame == t and not video.done:
            x = stages.split(video.exit, x)
            if video.evaluated:
                yield video.answer(stages.exit(video.exit, x, video.previous, t, video.gated, video.temperature))
            else:
                video.go_on()
        if video.done:
            return


def check_probabilities(values: ExitValues, t: int, b: int) -> None:
    """Raises SegmentError: confidence or score of frame `t` and exit `b` is not a probability."""
    for name, value in (("confidence", values.confidence), ("gate score", values.score)):
        if value is not None and not -ROUNDING <= value <= 1 + ROUNDING:
            problem = NOT_A_PROBABILITY if math.isfinite(value) else NOT_A_NUMBER
            segment = f"segment {'head' if name == 'confidence' else 'gate'}"
            remedy = "check the input for damage and export the bundle again from a sound checkpoint"
            raise SegmentError(segment, problem.format(name, t, b, value), remedy)
