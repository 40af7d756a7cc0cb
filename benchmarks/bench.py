"""One measurement from beginning to end: a bundle on this device, as a report."""

import contextlib
import datetime
import os
from time import perf_counter, sleep
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from tlee.benchmarks import cold, energy, graphs, measure
from tlee.benchmarks.environment import cores, machine, others_seconds, system, versions
from tlee.benchmarks.modes import Mode, chosen_modes, plain_mode
from tlee.benchmarks.report import FORMAT
from tlee.benchmarks.videos import Video
from tlee.bundle import Bundle
from tlee.files import sha256_of
from tlee.manifest import MANIFEST
from tlee.power.recorder import Recorder
from tlee.power.sources import open_source
from tlee.reports import statistics
from tlee.runtime.backends import BackendConfig, BackendHandle, open_backend

BLOCK = 1.0  # seconds, at least
# Part of a block that a graph has, whose runs are all alike; with power it has to be sampled some times meanwhile.
GRAPH, GRAPH_WITH_POWER = 0.2, 0.5
SAMPLES = 6  # of power within a block, for its energy
IDLE_SAMPLES = 10  # of power before anything runs
LIBRARIES = ("numpy", "cv2", "onnxruntime", "tensorrt", "tensorrt_rtx", "pycuda", "jtop", "pynvml")
Part = Dict[str, Any]  # of a report
Tell = Callable[[str], None]  # takes how far the measurement is


class Plan(NamedTuple):
    """What is measured.

    Attributes:
        modes: of `tlee.modes`.
        points: operating points, None for the bundle's own thresholds.
        plain: a bundle without exits, for the plain backbone.
        rounds: blocks of each mode and graph.
        block: seconds of a block; None for `BLOCK`, or with power as long as its sampling needs.
        cold: new processes.
        sustained: seconds of the first mode without a pause.
        power: of `tlee.power.sources`.
    """

    modes: Sequence[str]
    points: Sequence[Optional[str]]
    plain: Optional[Bundle] = None
    rounds: int = 10
    block: Optional[float] = None
    cold: int = 5
    sustained: float = 10.0
    power: str = "auto"


class Bench:
    """Measures a bundle once.

    Args:
        tell: hears how far it is, now and then.

    Attributes:
        interrupted: it was, by the user; the report is of what was measured until then.
        notes: what the user should know of how the backend was chosen.
    """

    def __init__(self, bundle: Bundle, choice: BackendConfig, videos: Sequence[Video], plan: Plan, tell: Tell) -> None:
        self._bundle, self._choice, self._videos, self._plan, self._tell = bundle, choice, videos, plan, tell
        self.interrupted = False
        self.notes: List[str] = []

    def run(self) -> Part:
        """Measure, and give the report, see docs/benchmarks.md.

        Raises:
            UsageError, EngineError, BundleError: the backend does not work here, or a mode cannot be measured.
            InputError: a video cannot be recognised.
        """
        started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        for point in self._plan.points:
            self._bundle.thresholds(point)  # known now, not after the cold starts
        begun, busy = perf_counter(), others_seconds()
        report: Part = {"format": FORMAT, "program": "tlee-bench", "started": started, "bundle": _facts(self._bundle)}
        report["cold"] = self._cold()  # while nothing else takes memory
        source, reason = open_source(self._plan.power)
        block = self._plan.block or max(BLOCK, SAMPLES * source.interval if source else 0)
        with Recorder(source, begun, reason) as recorder, self._opened() as (opened, modes):
            idle = self._idle(recorder, IDLE_SAMPLES * source.interval) if source else None
            items, sustained = self._measured(opened, modes, block, source is not None)
            backend, exit_graphs, libraries = opened.backend, opened.exit_graphs, versions(LIBRARIES)
        seconds = perf_counter() - begun
        others = cores(busy, others_seconds(), seconds)
        watts = idle["watts"] if idle else None
        done = [mode for mode in modes if mode.blocks]
        report["seconds"] = seconds
        report["environment"] = dict(
            _device(self._choice.threads),
            backend=backend.name,
            exit_graphs=exit_graphs,
            precision=backend.precision,
            others=others,
            versions=libraries,
            system=system(),
        )
        report["load"] = _load(self._videos)
        report["modes"] = [self._mode(mode, begun, recorder, watts) for mode in done]
        report["graphs"] = [_graph(item, recorder, watts) for item in items]
        report["decisions"] = _decisions(done[0])
        report["sustained"] = sustained and _from(begun, sustained)
        report["power"] = dict(recorder.report(), idle=idle and _from(begun, idle))
        return report

    def _cold(self) -> Optional[Part]:
        if not self._plan.cold or self._videos[0].synthetic:
            return None
        self._tell("cold start")
        choice = self._choice
        options = {
            "backend": choice.backend,
            "exit_graphs": choice.exit_graphs,
            "precision": choice.precision,
            "engine_dir": choice.engine_dir,
            "threads": choice.threads,
            "shared_pool": choice.shared_pool,
            "point": self._plan.points[0],
        }
        runs = cold.measure(self._bundle.path, self._videos[0].clip, options, self._plan.cold)
        return {"runs": runs, "latency": statistics.latency([[run["total"]] for run in runs])}

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Tuple[BackendHandle, List[Mode]]]:
        """The backend, and on it the modes; all is closed in the end."""
        plan, content = self._plan, not self._videos[0].synthetic
        self._tell("loading")
        with contextlib.ExitStack() as stack:
            opened = open_backend(self._bundle, self._choice)
            stack.callback(opened.backend.close)
            self.notes = opened.notes
            modes = chosen_modes(self._bundle, opened, plan.modes, plan.points, content)
            if plan.plain:
                plain = open_backend(plan.plain, self._choice)
                stack.callback(plain.backend.close)
                modes.append(plain_mode(plan.plain, plain))
            for mode in modes:
                stack.callback(mode.close)
            yield opened, modes

    def _idle(self, recorder: Recorder, seconds: float) -> Optional[Part]:
        """Power while all is loaded and nothing runs."""
        self._tell("power at rest")
        start = perf_counter()
        sleep(seconds)
        end = perf_counter()
        watts = recorder.watts(start, end)
        return None if watts is None else {"start": start, "end": end, "watts": watts}

    def _measured(
        self, opened: BackendHandle, modes: Sequence[Mode], block: float, power: bool
    ) -> Tuple[List[graphs.Item], Optional[Part]]:
        plan = self._plan
        items: List[graphs.Item] = []
        try:
            measure.measure(modes, self._videos, block, plan.rounds, self._round)
            with opened.backend:
                items = graphs.items(self._bundle, opened, self._videos)
                seconds = block * (GRAPH_WITH_POWER if power else GRAPH)
                graphs.measure(items, seconds, plan.rounds, self._round)
            if plan.sustained:
                self._tell("sustained rate")
                return items, _sustained(modes[0], self._videos, plan.sustained)
        except KeyboardInterrupt:
            if not any(mode.blocks for mode in modes):
                raise
            self.interrupted = True
        return [item for item in items if item.blocks], None

    def _round(self, number: int, name: str) -> None:
        self._tell(f"round {number + 1} of {self._plan.rounds}: {name}")

    def _mode(self, mode: Mode, begun: float, recorder: Recorder, idle: Optional[float]) -> Part:
        spans = [energy.Span(b.start, b.end, len(b.video)) for b in mode.blocks]
        part = measure.summary(mode, self._videos, begun, energy.per_run(spans, recorder, idle))
        if part["energy"]:
            frames = part["rate"]["frames"] / part["rate"]["videos"]
            gross, net = part["energy"]["gross"]["value"], part["energy"]["net"]
            part["energy"]["per_frame"] = {"gross": gross / frames, "net": net and net["value"] / frames}
        return part


def _sustained(mode: Mode, videos: Sequence[Video], seconds: float) -> Part:
    start = now = perf_counter()
    times: List[float] = []
    while now < start + seconds:
        mode.recognize(videos[len(times) % len(videos)])
        now = perf_counter()
        times.append(now)
    return {"name": mode.name, "start": start, "end": now, "times": times, "rate": len(times) / (now - start)}


def _graph(item: graphs.Item, recorder: Recorder, idle: Optional[float]) -> Part:
    spans = [energy.Span(b.start, b.end, len(b.milliseconds)) for b in item.blocks]
    found = energy.per_run(spans, recorder, idle)
    if found:
        net = found["net"] and found["net"]["value"]
        found = {"gross": found["gross"]["value"], "net": net, "watts": found["watts"]}
    times = [b.milliseconds for b in item.blocks]
    return {
        "name": item.name,
        "macs": item.macs,
        "milliseconds": [measure.rounded(values) for values in times],
        "latency": statistics.latency(times),
        "energy": found,
    }


def _decisions(mode: Mode) -> List[Part]:
    """Of each exit that answered in a mode, how long its answers took."""
    parts = []
    for b in range(mode.bundle.exits):
        times = [block.decisions[b] for block in mode.blocks if block.decisions[b]]
        if times:
            flat = measure.rounded([value for values in times for value in values])
            parts.append({"exit": b, "latency": statistics.latency(times), "milliseconds": flat})
    return parts


def _from(begun: float, part: Part) -> Part:
    """With times that count from the beginning of the measurement."""
    moved = {key: part[key] - begun for key in ("start", "end")}
    if "times" in part:
        moved["times"] = [time - begun for time in part["times"]]
    return dict(part, **moved)


def _facts(bundle: Bundle) -> Part:
    return {
        "name": bundle.name,
        "sha256": sha256_of(os.path.join(bundle.path, MANIFEST)),
        "backbone": bundle.manifest["model"]["backbone"],
        "exits": bundle.exits,
        "frames": bundle.frames.length,
        "size": bundle.frames.crop,
    }


def _device(threads: Optional[int]) -> Part:
    found = machine(threads)
    return dict(found, device=found.pop("processor"))


def _load(videos: Sequence[Video]) -> Part:
    labelled = all(video.label is not None for video in videos)
    return {"videos": [video.name for video in videos], "synthetic": videos[0].synthetic, "labelled": labelled}
