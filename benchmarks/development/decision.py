"""What deciding costs: the host's time for one exit, without the inference calls.

    python -m tlee.benchmarks.development.decision BUNDLE.tlee

Whole videos run through the exit rule, and nothing stops them. What the sessions take is subtracted. Everything else
counts: handing values over, reading confidences, the rule, and making a frame the first split's input. The last is
shown by itself, too.
"""

import statistics
import time
from types import SimpleNamespace
from typing import Any, List, NamedTuple, Optional

import numpy as np

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.benchmarks.graphs import no_stop
from tlee.bundle import FUSED, SEPARATE, Bundle
from tlee.inference import exit_steps
from tlee.runtime.chain import chain_of
from tlee.runtime.onnx_backend import OnnxBackend

GOAL = 40  # microseconds
SEVERAL = 1000  # calls that are timed together


def now() -> float:
    """Seconds that this thread has computed: what other programs take from it does not count."""
    return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)


class Clock:
    """Adds up what several sessions take."""

    def __init__(self) -> None:
        self.seconds, self.calls = 0.0, 0


class TimedSession:
    """A session that adds what its runs take to a clock."""

    def __init__(self, session: Any, clock: Clock) -> None:
        self._run, self._clock = session.run_with_iobinding, clock
        self.io_binding = session.io_binding

    def run_with_iobinding(self, binding: Any) -> None:
        start = now()
        self._run(binding)
        self._clock.seconds += now() - start
        self._clock.calls += 1


class Cost(NamedTuple):
    """Microseconds per decision, of each recognition."""

    decision: List[float]
    frame: List[float]  # of it, making a frame the first split's input
    inference: List[float]


def time_decisions(bundle: Bundle, exit_graphs: str, runs: int, threads: Optional[int]) -> Cost:
    """The cost of decisions with fused or separate segments, on ONNX Runtime."""
    backend = OnnxBackend(bundle, threads, shared_pool=True, graphs=bundle.chain(exit_graphs))
    chain, clock = chain_of(bundle, backend, exit_graphs), Clock()
    for name, prepared in backend._graphs.items():
        backend._graphs[name] = prepared._replace(session=TimedSession(prepared.session, clock))
    policy = no_stop(bundle.frames.length, bundle.exits)
    size = bundle.frames.crop
    clip = np.random.RandomState(0).randint(0, 256, (bundle.frames.length, size, size, 3)).astype(np.uint8)
    proxy, costs = _proxy_cost(), Cost([], [], [])
    for i in range(timing.WARM_UP + runs):
        clock.seconds, clock.calls = 0.0, 0
        start = now()
        decisions = sum(1 for _ in exit_steps(chain, clip, policy))
        host = now() - start - clock.seconds - clock.calls * proxy
        if i >= timing.WARM_UP:
            costs.decision.append(1e6 * host / decisions)
            costs.inference.append(1e6 * clock.seconds / decisions)
            start = now()
            for frame in clip:
                chain.load(frame)
            costs.frame.append(1e6 * (now() - start) / decisions)
    return costs


def _proxy_cost() -> float:
    """Seconds by which a timed session's run is longer than it says."""
    clock, nothing = Clock(), SimpleNamespace(run_with_iobinding=lambda binding: None, io_binding=None)
    timed = TimedSession(nothing, clock)

    costs = []
    for _ in range(21):
        clock.seconds, start = 0.0, now()
        for _ in range(SEVERAL):
            timed.run_with_iobinding(None)
        costs.append((now() - start - clock.seconds) / SEVERAL)
    return statistics.median(costs)


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("decision", __doc__, 500)
    parser.add_argument("bundle", help="a small one, so that the rest is short")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    title = "host time of one exit decision without inference, microseconds"
    report = timing.Report("decision", title, options, ["onnxruntime", "numpy"])
    for exit_graphs in (FUSED, SEPARATE):
        cost = time_decisions(bundle, exit_graphs, options.runs, options.threads)
        parts = {"inference, us": cost.inference, "frame, us": cost.frame}
        name = "fused exits" if exit_graphs == FUSED else "separate segments"
        report.add(name, parts, timing.spread(cost.decision), GOAL)
    report.finish()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.decision", command)
