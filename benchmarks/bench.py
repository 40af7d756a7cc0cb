"""One measurement from beginning to end: a bundle on this device, as raw samples. `tlee-report` evaluates them."""

import contextlib
import datetime
import os
from time import perf_counter, sleep
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from tlee.benchmarks import environment
from tlee.benchmarks.blocks import rotated, with_energy
from tlee.benchmarks.cold import time_cold_starts
from tlee.benchmarks.graphs import MeasuredGraph, measured_graphs
from tlee.benchmarks.modes import Mode, chosen_modes, plain_mode
from tlee.benchmarks.videos import UnreadableVideo, Video
from tlee.bundle import Bundle
from tlee.errors import InputError
from tlee.files import sha256_of
from tlee.manifest import MANIFEST
from tlee.power.recorder import Recorder
from tlee.power.sources import open_source
from tlee.runtime.backends import BackendConfig, BackendHandle, open_backend

FORMAT = 2  # of the file
BLOCK = 1.0  # seconds, at least
# Of a block's seconds, those of a graph's, whose runs are all alike; with power it has to be sampled a few times.
GRAPH, GRAPH_WITH_POWER = 0.2, 0.5
SAMPLES = 6  # of power within a block, for its energy
IDLE_SAMPLES = 10  # of power before anything runs
LIBRARIES = ("numpy", "cv2", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "jtop", "pynvml")
Json = Dict[str, Any]


class Plan(NamedTuple):
    """What is measured."""

    modes: Sequence[str]  # of `tlee.modes`
    points: Sequence[Optional[str]]  # operating points, None for the bundle's own thresholds
    plain: Optional[Bundle] = None  # a bundle without exits, for the plain backbone
    rounds: int = 10  # blocks of each mode and graph
    block: Optional[float] = None  # its seconds; None for `BLOCK`, or with power as long as its sampling needs
    cold: int = 5  # starts of new processes
    sustained: float = 10.0  # seconds of the first mode without a pause
    power: str = "auto"  # of `tlee.power.sources`


class Bench:
    """Measures a bundle once.

    Args:
        on_progress: is called now and then with what is being measured.

    Attributes:
        interrupted: by the user; the report covers what was measured until then.
        notes: what the user should know of how the backend was chosen.
        unreadable: errors of videos that could not be read and were left out.
    """

    def __init__(
        self,
        bundle: Bundle,
        config: BackendConfig,
        videos: Sequence[Video],
        plan: Plan,
        on_progress: Callable[[str], None],
    ) -> None:
        self._bundle, self._config, self._videos, self._plan = bundle, config, list(videos), plan
        self._on_progress = on_progress
        self.interrupted = False
        self.notes: List[str] = []
        self.unreadable: List[InputError] = []

    def run(self) -> Json:
        """Measure, and return the report, see docs/benchmarks.md.

        Raises:
            UsageError, EngineError, BundleError: the backend does not work here, or a mode cannot be measured.
            InputError: no video can be read; it is the last one of `unreadable`.
        """
        started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        for point in self._plan.points:
            self._bundle.thresholds(point)  # an unknown one is reported now, not after the cold starts
        begun = self._begun = perf_counter()
        busy = environment.background_seconds()
        cold = self._time_cold_starts()  # while nothing else takes memory, of files that nobody has read yet
        source, reason = open_source(self._plan.power)
        block = self._plan.block or max(BLOCK, SAMPLES * source.interval if source else 0)
        graph_block = block * (GRAPH_WITH_POWER if source else GRAPH)
        with Recorder(source, begun, reason) as recorder, self._opened() as (opened, modes):
            idle = self._idle(recorder, IDLE_SAMPLES * source.interval) if source else None
            graphs, sustained = self._measure(opened, modes, block, graph_block)
            backend, libraries = opened.backend, environment.versions(LIBRARIES)
        seconds = perf_counter() - begun
        done, bundle = [mode for mode in modes if mode.blocks], self._bundle
        return {
            "format": FORMAT,
            "program": "tlee-bench",
            "started": started,
            "seconds": seconds,
            "bundle": {
                "name": bundle.name,
                "sha256": sha256_of(os.path.join(bundle.path, MANIFEST)),
                "backbone": bundle.manifest["model"]["backbone"],
                "exits": bundle.exits,
                "frames": bundle.frames.length,
                "size": bundle.frames.crop,
            },
            "environment": dict(
                environment.machine(self._config.threads),
                backend=backend.name,
                exit_graphs=opened.exit_graphs,
                precision=backend.precision,
                sampling=bundle.frames.sampling,
                background_cpu=environment.background_cpu(busy, seconds),
                versions=libraries,
                system=environment.system(),
            ),
            "load": {
                "videos": [video.name for video in self._videos],
                "synthetic": self._videos[0].synthetic,
                "labels": [video.label for video in self._videos],
            },
            "cold": cold,
            "modes": [dict(mode.as_json(), blocks=with_energy(mode.blocks, recorder, begun)) for mode in done],
            "graphs": [dict(graph.as_json(), blocks=with_energy(graph.blocks, recorder, begun)) for graph in graphs],
            "decisions": done[0].decisions_as_json(),
            "sustained": sustained,
            "power": dict(recorder.as_json(), idle=idle),
        }

    def _time_cold_starts(self) -> Optional[List[Dict[str, float]]]:
        """Of the first video that can be read."""
        if not self._plan.cold or self._videos[0].synthetic:
            return None
        self._on_progress("cold start")
        options = {name: value for name, value in self._config._asdict().items() if name != "rows"}
        options.update(point=self._plan.points[0], sampling=self._bundle.frames.sampling)
        while True:
            video = self._videos[0]
            try:
                return time_cold_starts(self._bundle.path, str(video.clip), options, self._plan.cold)
            except InputError as error:
                self._leave_out(video, error)

    def _leave_out(self, video: Video, error: InputError) -> None:
        """Go on without a video. Raises the error if it was the last one."""
        self.unreadable.append(error)
        self._videos.remove(video)
        if not self._videos:
            raise error

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Tuple[BackendHandle, List[Mode]]]:
        """The backend and its modes, closed at the end."""
        plan, content = self._plan, not self._videos[0].synthetic
        self._on_progress("loading")
        with contextlib.ExitStack() as stack:
            opened = open_backend(self._bundle, self._config)
            stack.callback(opened.backend.close)
            self.notes = opened.notes
            modes = chosen_modes(self._bundle, opened, plan.modes, plan.points, content)
            if plan.plain:
                plain = open_backend(plan.plain, self._config)
                stack.callback(plain.backend.close)
                modes.append(plain_mode(plan.plain, plain))
            for mode in modes:
                stack.callback(mode.close)
            yield opened, modes

    def _idle(self, recorder: Recorder, seconds: float) -> Optional[Json]:
        """Power while all is loaded and nothing runs."""
        self._on_progress("power at rest")
        start = perf_counter()
        sleep(seconds)
        end = perf_counter()
        watts = recorder.watts(start, end)
        return None if watts is None else {"start": start - self._begun, "end": end - self._begun, "watts": watts}

    def _measure(
        self, opened: BackendHandle, modes: Sequence[Mode], block: float, graph_block: float
    ) -> Tuple[List[MeasuredGraph], Optional[Json]]:
        """Graphs and the sustained rate; blocks stay with the modes and graphs. A video that turns out to be damaged is
        left out and all is measured anew without it, so that every block is of the same videos."""
        while True:
            graphs: List[MeasuredGraph] = []
            try:
                self._run_rounds(modes, block)
                with opened.backend:
                    graphs += measured_graphs(self._bundle, opened, self._videos)
                    self._run_rounds(graphs, graph_block)
                return graphs, self._sustained(modes[0])
            except UnreadableVideo as found:
                self._leave_out(found.video, found.error)
                for mode in modes:
                    mode.clear()
            except KeyboardInterrupt:
                if not any(mode.blocks for mode in modes):
                    raise
                self.interrupted = True
                return [graph for graph in graphs if graph.blocks], None

    def _run_rounds(self, measured: Sequence[Any], seconds: float) -> None:
        """Let every mode, or every graph, run one block per round."""
        for i in range(self._plan.rounds):
            for one in rotated(measured, i):
                self._on_progress(f"round {i + 1} of {self._plan.rounds}: {one.name}")
                one.blocks.append(one.run_block(self._videos, seconds))

    def _sustained(self, mode: Mode) -> Optional[Json]:
        """When the first mode, without a pause, had answered each video."""
        if not self._plan.sustained:
            return None
        self._on_progress("sustained rate")
        start = now = perf_counter()
        times: List[float] = []
        while now < start + self._plan.sustained:
            mode.recognize(self._videos[len(times) % len(self._videos)])
            now = perf_counter()
            times.append(now - self._begun)
        return {"name": mode.name, "start": start - self._begun, "end": now - self._begun, "times": times}
