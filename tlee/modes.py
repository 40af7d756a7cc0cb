"""The modes that are compared, and their policies."""

from typing import Dict, List

from tlee.policy import ExitPolicy, RandomExit, Thresholds, exit_policy

EARLY = "early exits"
LAYER = "layer exit only"
FRAME = "frame exit only"
RANDOM = "random exit"
ONE = "one frame"
THREE = "three frames"
NONE = "no exit"
PLAIN = "plain backbone"

MODES = {
    EARLY: "The exit rule with its thresholds: a frame may leave at a branch, the video may stop at a frame.",
    LAYER: "Frames leave at a branch as above, but every frame is used; the last one answers at its first exit.",
    FRAME: "Every frame runs to the tail alone; the first frame's confidence or the gate stops the video.",
    RANDOM: "Every exit stops the video, and if not, ends the frame, each with probability one half.",
    ONE: "The first frame in processing order runs to the tail alone and answers: a picture, no video.",
    THREE: "The first three frames in processing order run to the tail alone, reusing features; the third one answers.",
    NONE: "Every frame runs to the tail alone, reusing features; the last one answers.",
    PLAIN: "Every frame runs to the tail alone, reusing nothing; the mean of the frames' class probabilities answers.",
}
RIVALS = (ONE, THREE, NONE)  # what early exits have to beat: no decision is made in these


def policies(gate: str, frames: int, thresholds: Thresholds) -> Dict[str, ExitPolicy]:
    """The policies of all modes with early exits."""
    tail = len(thresholds.layer) - 1
    return {
        EARLY: exit_policy(gate, frames, thresholds),
        LAYER: ExitPolicy(frames, thresholds, frame_exit=False),
        FRAME: ExitPolicy(frames, thresholds, only=tail),
        RANDOM: RandomExit(frames, thresholds, seed=0),
    }


def rival_frames(frames: int) -> Dict[str, int]:
    """How many frames run to the tail in each of `RIVALS`, of videos with so many frames (T). A mode that would be the
    same as no exit is left out.

    Examples:
        >>> rival_frames(10)
        {'one frame': 1, 'three frames': 3, 'no exit': 10}
        >>> rival_frames(3)
        {'one frame': 1, 'no exit': 3}
    """
    fewer = {mode: count for mode, count in ((ONE, 1), (THREE, 3)) if count < frames}
    return {**fewer, NONE: frames}


def rival_policies(frames: int, thresholds: Thresholds) -> Dict[str, ExitPolicy]:
    """The policies of `RIVALS` for videos with so many frames (T)."""
    return {mode: fixed_exits(count, thresholds)[-1] for mode, count in rival_frames(frames).items()}


def fixed_exits(frames: int, thresholds: Thresholds) -> List[ExitPolicy]:
    """For each exit the policy under which all frames leave there, no other exit evaluated; the tail's is NONE."""
    return [ExitPolicy(frames, thresholds, frame_exit=False, only=b) for b in range(len(thresholds.layer))]


def exit_name(exit: int, exits: int) -> str:
    """What an exit is called in reports.

    Examples:
        >>> exit_name(0, 4), exit_name(3, 4)
        ('branch 0', 'tail')
    """
    return "tail" if exit == exits - 1 else f"branch {exit}"
