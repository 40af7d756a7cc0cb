"""Whether operating points keep what they promise on other videos, and what they cost, on populations made up here.

    python -m tlee.benchmarks.development.promises
    python -m tlee.benchmarks.development.promises REPORT/trace.npz

From a population of many videos, few are drawn again and again to tune with; what the points lose on all is known. A
trace is one that tlee-tune wrote: then its own videos are the population, drawn with replacement, and no exit is every
frame to the tail with the branches on the way. For a workstation: the simulation needs numba.
"""

import argparse
from typing import Any, List, NamedTuple, Optional

import numpy as np

from tlee import cli
from tlee.costs import Costs

FRAMES, VIDEOS = 10, 3000  # of a population
MACS = {"split0": 34, "split1": 18, "split2": 11, "split3": 37, "branch0": 5, "branch1": 6, "branch2": 7}
COSTS = Costs(dict(MACS, tail=1, head=1, gate=1))
# How sure a video's exits are of the right class (0: even odds), by exit, and how much is gained with each frame.
POPULATIONS = {
    "one frame does": ([-0.8, -0.3, 0.0, 0.1], 0.02),
    "depth counts": ([-2.5, -1.5, -0.8, 0.4], 0.1),
    "frames count": ([-1.0, -0.5, -0.2, 0.0], 0.22),
    "branches are useless": ([-4.0, -4.0, -3.5, 0.5], 0.05),
    "all is hard": ([-1.5, -1.0, -0.9, -0.6], 0.15),
}


class Population(NamedTuple):
    """What is known about V videos."""

    each: Any  # `VideoOutcomes` of the simple rules
    full: np.ndarray  # (V,) bool, right without exits


class Draw(NamedTuple):
    """An operating point that was tuned on few videos: points of accuracy, and its cost as a share of no exit's."""

    loss: float  # on the whole population
    bound: float  # promised
    cost: float


def made_up(name: str, classes: int = 10, seed: int = 0, videos: int = VIDEOS) -> Population:
    """A population of POPULATIONS: exits answer better the easier the video, the later the frame, the deeper the exit;
    confidence and score say how well, more or less."""
    from tlee.calibration.thresholds.trace import Trace

    depth, gain = POPULATIONS[name]
    rng, shape = np.random.RandomState(seed), (videos, FRAMES, len(depth))
    ease = rng.normal(1.2, 1.5, (videos, 1, 1)) + rng.normal(0, 0.5, (videos, 1, len(depth)))
    margin = ease + depth + gain * np.minimum(np.arange(FRAMES), 6)[:, None]
    margin = margin + rng.normal(0, 0.5, (videos, FRAMES, 1)) + rng.normal(0, 0.3, shape)
    right = margin > 0
    sure = np.tanh(np.abs(np.abs(margin) * np.where(right, 0.65, 0.4) + rng.normal(0, 0.4, shape)))
    score = 1 / (1 + np.exp(1 - margin - rng.normal(0, 0.7, shape)))
    score[:, [0, -1]] = np.nan
    states = np.arange(videos * FRAMES).reshape(videos, FRAMES)
    child = np.where(np.arange(FRAMES) < FRAMES - 1, states + 1, 0)[..., None].repeat(len(depth), 2)
    flat = [values.reshape(-1, len(depth)) for values in (child.astype(np.int32), np.ones(shape, bool))]
    flat += [values.reshape(-1, len(depth)) for values in (1 / classes + (1 - 1 / classes) * sure, score)]
    trace = Trace(states[:, 0].astype(np.int32), *flat, right.reshape(-1, len(depth)))
    return population_of(trace, np.ones(len(depth)), COSTS)


def population_of(trace: Any, temperature: np.ndarray, costs: Costs) -> Population:
    """The videos of a trace."""
    from tlee.calibration.thresholds.rules import simple_rules
    from tlee.calibration.thresholds.simulate import frame_costs, simulate_each

    state = trace.root
    while trace.child[state, -1].any():
        state = trace.child[state, -1]
    each = simulate_each(trace, simple_rules(temperature), frame_costs(costs, FRAMES))
    return Population(each, trace.right[state, -1])


def draws(population: Population, videos: int, times: int, replace: bool = False, seed: int = 0) -> List[List[Draw]]:
    """Each operating point of DROPS as tuned on `videos` of the population, `times` over."""
    from tlee.calibration.thresholds.choice import folds_of, levels
    from tlee.calibration.thresholds.points import DROPS, Target, named_points
    from tlee.calibration.thresholds.simulate import VideoOutcomes

    each, full = population
    rng, candidates = np.random.RandomState(seed), np.arange(len(each.right))
    lost, cost = 100 * (full.mean() - each.right.mean(1)), each.cost.mean(1)
    found = []  # type: List[List[Draw]]
    for time in range(times):
        own = rng.choice(len(full), videos, replace)
        seen, without = VideoOutcomes(each.right[:, own], each.cost[:, own]), full[own]
        chosen = levels(seen, without, folds_of(videos, len(candidates), time), candidates)
        points = named_points(without.mean() - chosen.loss / 100, chosen.cost, without.mean(), "MACs", Target())
        places = {name: chosen.place[level] for name, level in points.items()}
        rows = [(lost[places[n]], chosen.bound[points[n]], cost[places[n]] / COSTS.full(FRAMES)) for n in DROPS]
        found.append([Draw(*row) for row in rows])
    return found


def rows_of(name: str, population: Population, videos: int, times: int, replace: bool) -> List[List[str]]:
    from tlee.calibration.thresholds.points import DROPS

    rows = []
    for point, own in zip(DROPS, zip(*draws(population, videos, times, replace))):
        loss, bound, cost = np.array(own).T
        numbers = [f"{loss.mean():.1f}", f"{np.quantile(loss, 0.9):.1f}", f"{bound.mean():.1f}"]
        rows.append([name, str(videos), point, *numbers, f"{np.mean(loss <= bound):.1%}", f"{cost.mean():.1%}"])
    return rows


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(description="Hold operating points to what they promise.")
    parser.add_argument("trace", nargs="?", help="trace.npz of a report of tlee-tune; its frames are ten")
    parser.add_argument("--videos", type=cli.positive, nargs="+", default=[30, 60, 100, 150], help="to tune with")
    parser.add_argument("--times", type=cli.positive, default=100, help="that they are drawn (%(default)s)")
    parser.add_argument("--classes", type=cli.positive, default=10, help="of the populations (%(default)s)")
    options = parser.parse_args(arguments)
    # imported here: numba may not be installed
    from tlee.calibration.thresholds.trace_file import load_trace

    rows = [["videos", "tuned with", "point", "lost", "of ten the ninth", "promised", "kept", "MACs of no exit"]]
    if options.trace:
        traced = load_trace(options.trace)
        populations = {"of the trace": population_of(traced.trace, traced.temperature, COSTS)}
    else:
        populations = {name: made_up(name, options.classes) for name in POPULATIONS}
    for name, population in populations.items():
        for videos in options.videos:
            rows += rows_of(name, population, videos, options.times, replace=bool(options.trace))
    cli.show(*cli.table(rows, "lrlrrrrr"))


if __name__ == "__main__":
    cli.main("promises", command)
