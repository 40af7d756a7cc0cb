"""The modes that are measured side by side, each ready to recognise."""

from typing import Any, Dict, List, Optional, Sequence

from tlee import modes
from tlee.benchmarks.blocks import Block, repeated, rounded
from tlee.benchmarks.timed import TimedChain
from tlee.benchmarks.videos import Video, reading
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime.backends import BackendHandle
from tlee.runtime.chain import chain_of
from tlee.runtime.recognizer import Recognizer
from tlee.runtime.results import Result

CONTENT = (modes.EARLY, modes.LAYER, modes.FRAME)  # where a video exits depends on what it shows


class Mode:
    """An exit policy on a backend that stays open, and what was measured of it. `mode` is of `tlee.modes`, `point` the
    operating point whose thresholds apply, None for the bundle's own."""

    def __init__(
        self, bundle: Bundle, opened: BackendHandle, mode: str, policy: ExitPolicy, point: Optional[str] = None
    ) -> None:
        self.mode, self.point, self.bundle, self.policy = mode, point, bundle, policy
        self.name = mode if point is None else f"{mode} ({point})"
        self.is_async = opened.backend.is_async  # frames are read while others compute
        self.chain = TimedChain(chain_of(bundle, opened.backend, opened.exit_graphs), bundle.exits, self.is_async)
        chain: Any = self.chain  # all that a recogniser asks of one
        self._recognizer = Recognizer(bundle, chain, policy)
        self.clear()

    def clear(self) -> None:
        """Forget all that was measured."""
        self.blocks: List[Block] = []
        self.results: List[Result] = []  # of the first pass over all videos
        self.decisions: List[List[List[float]]] = []  # of each block, by exit, see `TimedChain`

    def recognize(self, video: Video) -> Result:
        """Raises UnreadableVideo."""
        ahead = self._recognizer.decodes_ahead
        with reading(video):
            return self._recognizer.recognize(self.chain.request(video, self.bundle.frames, ahead))

    def close(self) -> None:
        self._recognizer.close()

    def run_block(self, videos: Sequence[Video], seconds: float) -> Block:
        """Whole passes over all videos, for at least so many seconds."""
        frames = 0

        def one_pass() -> List[float]:
            nonlocal frames
            results = [self.recognize(video) for video in videos]
            frames += sum(len(result.frames) for result in results)
            self.results = self.results or results
            return [result.milliseconds for result in results]

        self.chain.reset()
        block = repeated(one_pass, seconds)
        self.decisions.append(self.chain.decisions)
        runs = len(block["milliseconds"])
        parts = self.chain.parts(block["end"] - block["start"], runs)
        return dict(block, video=list(range(len(videos))) * (runs // len(videos)), frames=frames, parts=parts)

    def as_json(self) -> Dict[str, Any]:
        """The part of the report about this mode, without its blocks."""
        tuned = None
        if self.point is not None and self.mode == modes.EARLY:  # tuning measured all exits, not one direction only
            tuned = self.bundle.manifest["exit_rule"]["operating_points"][self.point]["measured"]["top1"]
        results = [
            {"class": result.class_index, "exits": [f.exit_layer for f in result.frames], "share": result.share}
            for result in self.results
        ]
        facts = {"name": self.name, "mode": self.mode, "point": self.point, "overlapped": self.is_async}
        return dict(facts, results=results, tuned_accuracy=tuned)

    def decisions_as_json(self) -> List[Dict[str, Any]]:
        """Of each exit that answered, milliseconds of its answers by block."""
        by_exit = [[rounded(block[b]) for block in self.decisions if block[b]] for b in range(self.bundle.exits)]
        return [{"exit": b, "milliseconds": times} for b, times in enumerate(by_exit) if times]


def chosen_modes(
    bundle: Bundle, opened: BackendHandle, names: Sequence[str], points: Sequence[Optional[str]], content: bool = True
) -> List[Mode]:
    """Modes of these names, in this order: early exits at every operating point (None for the bundle's own thresholds),
    layer or frame exit only at the first one, and modes without thresholds once. Where the videos show no `content`, no
    mode can be measured that depends on it; one frame and three frames are left out where videos have no more.

    Raises:
        UsageError: no mode is left, or an operating point is unknown.
    """
    made = []
    for name in names:
        if name in CONTENT and not content:
            continue
        for point in points if name == modes.EARLY else points[:1]:
            known = None if name not in CONTENT else point
            policy = _policies(bundle, point).get(name)
            if policy:
                made.append(Mode(bundle, opened, name, policy, known))
    if not made and content:
        raise UsageError("--modes", f"{', '.join(names)} cannot be measured on so few frames", "choose: none")
    if not made:
        problem = f"{', '.join(names)} cannot be measured on noise"
        raise UsageError("--modes", problem, "give videos, or choose: one, three, none, random")
    return made


def plain_mode(bundle: Bundle, opened: BackendHandle) -> Mode:
    """The mode of a bundle without exits, see `tlee-export --plain`. Raises UsageError for one that has some."""
    if bundle.exits > 1:
        raise UsageError(bundle.path, f"has {bundle.exits} exits", "export it with --plain")
    return Mode(bundle, opened, modes.PLAIN, _policies(bundle, None)[modes.NONE])


def _policies(bundle: Bundle, point: Optional[str]) -> Dict[str, ExitPolicy]:
    thresholds: Thresholds = bundle.thresholds(point)
    frames = bundle.frames.length
    policies = modes.policies(bundle.manifest["model"]["gate"], frames, thresholds)
    return dict(policies, **modes.rival_policies(frames, thresholds))
