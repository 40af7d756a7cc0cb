"""What each graph of a chain takes for itself, on what it really computes: the costs of a device, for `tlee-tune`."""

import itertools
from time import perf_counter
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np

from tlee.benchmarks.measure import rotated
from tlee.benchmarks.videos import Video
from tlee.bundle import Bundle
from tlee.frames import FrameSpec
from tlee.inference import exit_steps
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime.backend import Backend, ForwardingBackend
from tlee.runtime.backends import BackendHandle
from tlee.runtime.chain import chain_of
from tlee.runtime.clips import clip_request

FRAME = "frame"  # decoding, preparing and uploading one frame


class Block(NamedTuple):
    """Runs of one graph, back to back. Times are of `time.perf_counter`."""

    start: float
    end: float
    milliseconds: List[float]


class Item(NamedTuple):
    """What is measured: a graph, or reading a frame. `once` runs it and returns its milliseconds."""

    name: str
    macs: int
    once: Callable[[], float]
    blocks: List[Block]


def items(bundle: Bundle, opened: BackendHandle, videos: Sequence[Video]) -> List[Item]:
    """The graphs of the chain in its order, on what they compute in the first video, and reading a frame, where the
    videos are files. For use within `with opened.backend`."""
    frames = list(clip_request(videos[0].clip, bundle.frames).frames)
    calls = _calls(bundle, opened, frames)
    found = []
    for name in bundle.chain(opened.exit_graphs):
        if name in calls:  # a model of one frame reads no gate
            found.append(Item(name, bundle.graph(name).macs, _graph_run(opened.backend, name, calls[name]), []))
    if not videos[0].synthetic:
        found.append(Item(FRAME, 0, _frame_read(opened.backend, videos, bundle.frames), []))
    return found


def measure(measured: Sequence[Item], seconds: float, rounds: int, tell: Callable) -> None:
    """Run blocks of all items in turns, which keep them.

    Args:
        seconds: of a block, at least.
        tell: hears the round and the item, before each block.
    """
    for i in range(rounds):
        for item in rotated(measured, i):
            tell(i, item.name)
            times: List[float] = []
            start = now = perf_counter()
            while now < start + seconds or not times:
                times.append(item.once())
                now = perf_counter()
            item.blocks.append(Block(start, now, times))


class _LastInputs(ForwardingBackend):
    """Keeps the inputs of each graph's last run."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.inputs: Dict[str, Tuple[Any, ...]] = {}

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> List[Any]:
        self.inputs[graph] = inputs
        return self._backend.run(graph, *inputs, rows=rows)


def _calls(bundle: Bundle, opened: BackendHandle, frames: List[np.ndarray]) -> Dict[str, Tuple[Any, ...]]:
    """What each graph reads at its last call when every frame goes through every exit."""
    backend = _LastInputs(opened.backend)
    policy = ExitPolicy(bundle.frames.length, Thresholds.never(bundle.exits))
    for _ in exit_steps(chain_of(bundle, backend, opened.exit_graphs, speculate=False), frames, policy):
        pass
    return backend.inputs


def _graph_run(backend: Backend, name: str, inputs: Tuple[Any, ...]) -> Callable[[], float]:
    def once() -> float:
        backend.mark()
        backend.run(name, *inputs)
        backend.fetch([])
        backend.wait()
        return backend.milliseconds()

    return once


def _frame_read(backend: Backend, videos: Sequence[Video], spec: FrameSpec) -> Callable[[], float]:
    def forever() -> Iterator[np.ndarray]:
        for video in itertools.cycle(videos):
            yield from clip_request(video.clip, spec).frames

    frames = forever()

    def once() -> float:
        start = perf_counter()
        backend.frame(next(frames))
        return 1000 * (perf_counter() - start)

    return once
