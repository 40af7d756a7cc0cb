"""The modes that are measured side by side, each ready to recognise."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from tlee import modes
from tlee.benchmarks.timed import Parts, TimedChain
from tlee.benchmarks.videos import Video
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime.backends import BackendHandle
from tlee.runtime.chain import chain_of
from tlee.runtime.recognizer import Recognizer
from tlee.runtime.results import Result

CONTENT = (modes.EARLY, modes.LAYER, modes.FRAME)  # where a video leaves depends on what it shows


class Block(NamedTuple):
    """Recognitions of one mode, back to back. Times are of `time.perf_counter`.

    Attributes:
        video: of each run, which one.
        milliseconds: of each run.
        parts: mean of a video, see `tlee.benchmarks.timed.PARTS`.
        frames: that were used in all.
        decisions: see `tlee.benchmarks.timed.TimedChain`.
    """

    start: float
    end: float
    video: List[int]
    milliseconds: List[float]
    parts: Parts
    frames: int
    decisions: List[List[float]]


class Mode:
    """A way of answering on a backend that stays open.

    Attributes:
        mode: of `tlee.modes`.
        point: the operating point whose thresholds hold, None for the bundle's own.
        results: of the first pass over all videos.
    """

    def __init__(
        self, bundle: Bundle, opened: BackendHandle, mode: str, policy: ExitPolicy, point: Optional[str] = None
    ) -> None:
        self.mode, self.point, self.bundle, self.policy = mode, point, bundle, policy
        self.name = mode if point is None else f"{mode} ({point})"
        self.beside = opened.backend.is_async
        self.chain = TimedChain(chain_of(bundle, opened.backend, opened.exit_graphs), bundle.exits, self.beside)
        chain: Any = self.chain  # all that a recogniser asks of one
        self._recognizer = Recognizer(bundle, chain, policy, prefetch=self.beside)
        self.blocks: List[Block] = []
        self.results: List[Result] = []

    def recognize(self, video: Video) -> Result:
        return self._recognizer.recognize(self.chain.request(video, self.bundle.frames))

    def close(self) -> None:
        self._recognizer.close()


def chosen_modes(
    bundle: Bundle, opened: BackendHandle, names: Sequence[str], points: Sequence[Optional[str]], content: bool = True
) -> List[Mode]:
    """Modes of one bundle: early exits at every operating point, what leaves in one direction only at the first one,
    and those that know no thresholds once.

    Args:
        names: of `tlee.modes`, in this order.
        points: None for the bundle's own thresholds.
        content: whether the videos show something; without it no mode can be measured that depends on it.

    Raises:
        UsageError: no mode is left, or an operating point is unknown.
    """
    made = []
    for name in names:
        if name in CONTENT and not content or name == modes.PLAIN:
            continue
        for point in points if name == modes.EARLY else points[:1]:
            known = None if name not in CONTENT else point
            made.append(Mode(bundle, opened, name, _policies(bundle, point)[name], known))
    if not made:
        problem = "{} cannot be measured on noise".format(", ".join(names))
        raise UsageError("--modes", problem, "give videos, or choose: none, random")
    return made


def plain_mode(bundle: Bundle, opened: BackendHandle) -> Mode:
    """The mode of a bundle without exits, see `tlee-export --plain`.

    Raises:
        UsageError: it has some.
    """
    if bundle.exits > 1:
        raise UsageError(bundle.path, f"has {bundle.exits} exits", "export it with --plain")
    return Mode(bundle, opened, modes.PLAIN, _policies(bundle, None)[modes.NONE])


def _policies(bundle: Bundle, point: Optional[str]) -> Dict[str, ExitPolicy]:
    thresholds: Thresholds = bundle.thresholds(point)
    policies = modes.policies(bundle.manifest["model"]["gate"], bundle.frames.length, thresholds)
    full = modes.fixed_exits(bundle.frames.length, thresholds)[-1]
    return dict(policies, **{modes.NONE: full})
