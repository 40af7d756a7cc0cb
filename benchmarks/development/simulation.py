"""How fast policies are simulated on recorded videos.

    python -m tlee.benchmarks.development.simulation REPORT/trace.npz

The trace is one that tlee-tune wrote. For a workstation: the simulation needs numba.
"""

import argparse
import statistics
import time
from typing import List, Optional

from tlee import cli


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(description="Time the simulation of policies on recorded videos.")
    parser.add_argument("trace", help="trace.npz of a report of tlee-tune")
    parser.add_argument("--policies", type=cli.positive, default=100000, help="drawn at random (%(default)s)")
    parser.add_argument("--videos", type=cli.positive, default=1000, help="those of the trace, repeated (%(default)s)")
    parser.add_argument("--runs", type=cli.positive, default=5, help="(%(default)s)")
    options = parser.parse_args(arguments)
    # imported here: numba may not be installed
    import numpy as np

    from tlee.calibration.thresholds.policies import draw_log_odds, from_log_odds
    from tlee.calibration.thresholds.simulate import simulate
    from tlee.calibration.thresholds.trace_file import load_trace

    traced = load_trace(options.trace)
    videos = np.arange(options.videos) % len(traced.trace.root)
    trace, exits = traced.trace.select(videos), len(traced.temperature)
    log_odds = draw_log_odds(np.random.default_rng(0), options.policies, exits)
    policies, costs = from_log_odds(log_odds, traced.temperature), np.ones((traced.frames, exits))
    simulate(trace, policies.select([0]), costs)  # compiles
    seconds = []
    for _ in range(options.runs):
        start = time.perf_counter()
        simulate(trace, policies, costs)
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    print(f"{len(policies):,} policies on {len(videos):,} videos: {median:.2f} s (median of {options.runs})")


if __name__ == "__main__":
    cli.main("simulation", command)
