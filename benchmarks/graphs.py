"""What each graph of a chain takes by itself, on what it really computes: the costs of a device, for `tlee-tune`."""

import itertools
from time import perf_counter
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import numpy as np

from tlee.benchmarks.blocks import Block, repeated
from tlee.benchmarks.videos import Video, reading
from tlee.bundle import Bundle
from tlee.frames import FrameSpec
from tlee.inference import exit_steps
from tlee.policy import ExitPolicy, Thresholds
from tlee.runtime.backend import Backend, ForwardingBackend
from tlee.runtime.backends import BackendHandle
from tlee.runtime.chain import chain_of
from tlee.runtime.clips import clip_request

FRAME = "frame"  # decoding, preparing and uploading one frame


def no_stop(frames: int, exits: int) -> ExitPolicy:
    """Every frame goes through every exit, and none is taken."""
    return ExitPolicy(frames, Thresholds.never(exits))


class MeasuredGraph:
    """A graph, or reading a frame, and what was measured of it; `once` runs it and returns its milliseconds."""

    def __init__(self, name: str, macs: int, once: Callable[[], float]) -> None:
        self.name, self.macs, self._once = name, macs, once
        self.blocks: List[Block] = []

    def run_block(self, _: Sequence[Video], seconds: float) -> Block:
        return repeated(lambda: [self._once()], seconds)

    def as_json(self) -> Dict[str, Any]:
        """The part of the report about this graph, without its blocks."""
        return {"name": self.name, "macs": self.macs}


def measured_graphs(bundle: Bundle, opened: BackendHandle, videos: Sequence[Video]) -> List[MeasuredGraph]:
    """The graphs of the chain in its order, on what they read last when each frame of the first video goes through
    every exit, and reading a frame, where the videos are files. For use within `with opened.backend`."""
    frames, backend = list(_frames(videos[0], bundle.frames)), _LastInputs(opened.backend)
    chain = chain_of(bundle, backend, opened.exit_graphs, speculate=False)
    for _ in exit_steps(chain, frames, no_stop(bundle.frames.length, bundle.exits)):
        pass
    found = [
        MeasuredGraph(name, bundle.graph(name).macs, _graph_run(opened.backend, name, backend.inputs[name]))
        for name in bundle.chain(opened.exit_graphs)
        if name in backend.inputs  # a model of one frame reads no gate
    ]
    if not videos[0].synthetic:
        found.append(MeasuredGraph(FRAME, 0, _frame_read(opened.backend, videos, bundle.frames)))
    return found


class _LastInputs(ForwardingBackend):
    """Keeps the inputs of each graph's last run."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.inputs: Dict[str, Tuple[Any, ...]] = {}

    def run(self, graph: str, *inputs: Any, rows: int = 1) -> List[Any]:
        self.inputs[graph] = inputs
        return self._backend.run(graph, *inputs, rows=rows)


def _frames(video: Video, spec: FrameSpec) -> Iterator[np.ndarray]:
    with reading(video):
        yield from clip_request(video.clip, spec).frames


def _graph_run(backend: Backend, name: str, inputs: Tuple[Any, ...]) -> Callable[[], float]:
    def once() -> float:
        backend.mark()
        backend.run(name, *inputs)
        backend.fetch([])
        backend.wait()
        return backend.milliseconds()

    return once


def _frame_read(backend: Backend, videos: Sequence[Video], spec: FrameSpec) -> Callable[[], float]:
    frames = itertools.chain.from_iterable(_frames(video, spec) for video in itertools.cycle(videos))

    def once() -> float:
        start = perf_counter()
        backend.frame(next(frames))
        return 1000 * (perf_counter() - start)

    return once
