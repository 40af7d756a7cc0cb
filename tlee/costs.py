"""Cost of a video: multiply-accumulates of the segments that ran for it, or their time or energy on a device.

Convolutions and linear layers count, as everywhere in tlee. The FRM counts at every exit, that of the first frame
included, where there is nothing to reuse yet: so every frame to the tail is the same number for every video.
"""

from typing import Any, List, Mapping, Sequence

from tlee.bundle import Bundle
from tlee.inference import Step


class Costs:
    """Adds up multiply-accumulates, milliseconds or millijoules: `macs` of each segment by its name in a bundle, or of
    each split and each fused exit; `frame`, if given, is the cost of decoding and preparing a frame.

    Attributes:
        splits: of each split alone.
        exits: of each exit without its split: branch or tail with neck, FRM and head.
        frm, gate: 0 where the model has none, and of fused exits, which compute both always.

    Examples:
        >>> costs = Costs({"split0": 70, "split1": 50, "branch0": 8, "tail": 5, "head": 2, "gate": 3})
        >>> costs.full(10)
        1270
        >>> costs.fixed(3, 0)
        240
    """

    def __init__(self, macs: Mapping[str, Any]) -> None:
        count = sum(name.startswith("split") for name in macs)
        self.frm, self.gate = macs.get("frm", 0), macs.get("gate", 0)
        self.splits: List[Any] = [macs[f"split{b}"] for b in range(count)]
        self.splits[0] += macs.get("frame", 0)
        if "exit0" in macs:
            self.exits: List[Any] = [macs[f"exit{b}"] for b in range(count)]
        else:
            features = [f"branch{b}" for b in range(count - 1)] + ["tail"]
            self.exits = [macs[name] + macs.get("neck", 0) + self.frm + macs["head"] for name in features]

    @classmethod
    def of_bundle(cls, bundle: Bundle) -> "Costs":
        """The multiply-accumulates of a bundle's segments."""
        return cls({name: segment.macs for name, segment in bundle.segments.items()})

    def full(self, frames: int) -> Any:
        """Every frame to the tail, no branch and no gate: the full computation that shares refer to."""
        return self.fixed(frames, len(self.exits) - 1)

    def fixed(self, frames: int, exit: int) -> Any:
        """`frames` frames that leave at `exit`, no other exit evaluated."""
        return frames * (sum(self.splits[: exit + 1]) + self.exits[exit])

    def plain(self, frames: int) -> Any:
        """Every frame to the tail without feature reuse."""
        return self.full(frames) - frames * self.frm

    def spent(self, steps: Sequence[Step]) -> Any:
        """The splits, exits and gates that ran in one video's steps."""
        splits = sum(sum(self.splits[: steps[i].exit + 1]) for i in frame_ends(steps))
        exits = sum(self.exits[step.exit] for step in steps)
        return splits + exits + self.gate * sum(step.values.score is not None for step in steps)


def frame_ends(steps: Sequence[Step]) -> List[int]:
    """Index of each frame's last step, in one video's steps."""
    return [i for i in range(len(steps)) if i + 1 == len(steps) or steps[i + 1].frame > steps[i].frame]
