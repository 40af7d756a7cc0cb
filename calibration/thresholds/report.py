"""The report of a tuning, plain values; `trace.npz` next to it is for tuning again.

`report.json`, numbers from 0 to 1 where they are shares, costs in `metric.unit`, means per video:

    format            1; another number where a key changes its meaning
    subject           name, path, sha256 (of the manifest before), parts, precision, frames (T), sampling, exits
    metric            unit (MACs, ms, mJ), device (None for MACs), full: every frame to the tail
    data              source, format, split, held_out, share, seed; videos: how many for tuning, how many held_out, 0
                      where all serve to choose: then held_out means the tuning videos in all that follows, but top1 of
                      a point is cross-fitted;
                      repeated: held-out videos left out because a tuning video has the same frames; unreadable: path
                      and problem of each
    temperature       values (B + 1); error_tuning, error_held_out: calibration error before and after (2 x B + 1)
    simulation        states (per video); guessed_mean, guessed_max: share of videos in which a policy of the front
                      passes an unrecorded state; accuracy_error, cost_error (relative): largest difference between
                      what the search believed and what really running the front's policies gave, on the tuning videos;
                      within_bound: whether no accuracy was further off than its policy's share of guessed videos
    front             a list by rising cost: thresholds; tuning, held_out, simulated (each top1, cost; there guessed)
    full              top1 of every frame to the tail: tuning, held_out
    levels            a list by falling cost of what was chosen of: front (place), cost; cross-fitted: loss (points of
                      accuracy against no exit) and bound (points, not exceeded with 95 % confidence)
    points.NAME       front (place), thresholds, tuning (top1, cost); promise: see `promise_of`; held_out: see
                      `point_measurements`, and exit_histogram (videos by frame and exit, T x B + 1); run_error:
                      difference of top1 and mean_frames between the plain runtime, which held_out is of, and the
                      front's values
    tail              a list of fixed exits, so many frames to the tail without branches: frames, top1, top1_interval,
                      cost; front: accuracy of the front at that cost, None where it costs more; within: whether that is
                      inside the interval
    branches          all of the bundle, by their number in the checkpoint, and used: where a point may leave or stop
    baselines.NAME    points: top1 and cost of each setting; dominated: share of them that lie on or below the front;
                      margin: points of accuracy that the front is above, the least of all settings (see `margins`)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tlee.bundle import Bundle
from tlee.calibration.thresholds.baselines import margins
from tlee.calibration.thresholds.choice import discordant, loss_bound, videos_needed
from tlee.calibration.thresholds.costs import Metric
from tlee.calibration.thresholds.points import DROPS, TARGET
from tlee.calibration.thresholds.simulate import Outcomes
from tlee.calibration.thresholds.tune import Tuner, Tuning
from tlee.data.labelled.listing import Entry
from tlee.evaluation.report import about_bundle, left_out
from tlee.export.bundle_writer import amend_bundle
from tlee.policy import NEVER
from tlee.reports.metrics import exit_histogram, rounded, share_of, wilson
from tlee.runtime import Result

FORMAT = 1
TAILS = (1, 3)  # frames to the tail that the front is compared with, and all


def report_of(tuner: Tuner, tuning: Tuning, metric: Metric) -> dict[str, Any]:
    """What `report.json` holds."""
    bundle, held, traced = tuner.bundle, tuning.held_out, tuning.traced
    full_cost = metric.costs.full(tuner.frames)
    simulated, run = tuning.simulated, tuning.run
    difference = np.abs(simulated.accuracy - run.accuracy)
    points = {name: _point(tuner, tuning, name, metric) for name in tuning.chosen}
    return {
        "format": FORMAT,
        "subject": {**about_bundle(bundle), "precision": tuner.precision, "exits": tuner.exits},
        "metric": {"unit": metric.unit, "device": metric.device, "full": full_cost},
        "data": {
            **traced.data,
            "videos": {"tuning": len(traced.trace.root), "held_out": len(held.entries) if held_out(tuning) else 0},
            "repeated": sorted(map(str, tuner.reader.repeated)),
            "unreadable": left_out(tuner.reader.unreadable),
        },
        "temperature": {
            "values": traced.temperature.tolist(),
            "error_tuning": rounded(traced.calibration_error),
            "error_held_out": rounded(held.calibration_error),
        },
        "simulation": {
            "states": rounded(len(traced.trace.child) / len(traced.trace.root)),
            "guessed_mean": rounded(simulated.unrecorded.mean()),
            "guessed_max": rounded(simulated.unrecorded.max()),
            "accuracy_error": rounded(difference.max()),
            "cost_error": rounded(np.abs(simulated.cost / run.cost - 1).max()),
            "within_bound": bool((difference <= simulated.unrecorded + 1e-9).all()),
        },
        "front": [
            {
                "thresholds": tuning.front.thresholds(i).as_dict(),
                "simulated": {**_outcome(simulated, i), "guessed": rounded(simulated.unrecorded[i])},
                "tuning": _outcome(run, i),
                "held_out": _outcome(held.front, i),
            }
            for i in range(len(tuning.front))
        ],
        "full": {"tuning": rounded(tuning.full), "held_out": rounded(held.baselines.full)},
        "levels": [
            dict(zip(("front", "cost", "loss", "bound"), (int(row[0]), *rounded(row[1:]))))
            for row in zip(*(getattr(tuning.levels, key) for key in ("place", "cost", "loss", "bound")))
        ],
        "points": points,
        "baselines": _baselines(tuning, full_cost),
        "tail": _tails(tuner, tuning, metric),
        "branches": _branches(bundle, [point["thresholds"] for point in points.values()]),
    }


def store(bundle: Bundle, report: dict[str, Any]) -> None:
    """Put the operating points into the bundle, in place of those of an earlier tuning. Raises as `amend_bundle`."""
    shared = {"precision": report["subject"]["precision"], "no_exit_top1": report["full"]["held_out"]}
    found = {
        name: {
            "thresholds": point["thresholds"],
            "measured": {**point["held_out"], **shared, "promise": point["promise"]},
        }
        for name, point in report["points"].items()
    }
    rule = bundle.manifest["exit_rule"]
    others = {name: point for name, point in rule["operating_points"].items() if name not in (*DROPS, TARGET)}
    with amend_bundle(bundle) as writer:
        writer.finish({**bundle.manifest, "exit_rule": {**rule, "operating_points": {**others, **found}}})


def point_measurements(results: list[Result], entries: list[Entry], metric: Metric, cost: float) -> dict[str, Any]:
    """Measurements of an operating point in the plain runtime on held-out videos.

    Returns:
        videos, top1, top1_interval (95 %, Wilson), mean_macs, share_of_macs, mean_frames, cost (in the metric's unit),
        unit, device.
    """
    right = np.array([result.class_index in entry.labels for result, entry in zip(results, entries)])
    return {
        "videos": len(entries),
        **share_of("top1", right),
        "mean_macs": rounded(np.mean([result.macs for result in results])),
        "share_of_macs": rounded(np.mean([result.share for result in results])),
        "mean_frames": rounded(np.mean([len(result.frames) for result in results])),
        "cost": rounded(cost),
        "unit": metric.unit,
        "device": metric.device,
    }


def held_out(tuning: Tuning) -> bool:
    """Whether videos were held out of the choice."""
    return bool(tuning.traced.videos.held_out.entries)


def promise_of(aim: float | None, lost: float, won: float, bound: float, videos: int) -> dict[str, Any]:
    """What a point promises about the accuracy that it loses against no exit: on the held-out videos, or cross-fitted.

    Returns:
        aim (points that it was to lose at most, None where it had another target), loss (points, measured), bound
        (points: no more are lost, with 95 % confidence), videos, needed (how many would do for the aim, if in truth
        nothing is lost; None without an aim).
    """
    return {
        "aim": aim,
        "loss": rounded(100 * (lost - won) / videos),
        "bound": rounded(bound),
        "videos": videos,
        "needed": videos_needed(lost, won, videos, aim) if aim else None,
    }


def used_branches(points: Sequence[dict[str, list[float]]]) -> list[int]:
    """The branches where one of the points' thresholds can be met."""
    kinds = [values[:-1] for point in points for key, values in point.items() if key != "temperature"]
    return [b for b, values in enumerate(zip(*kinds)) if min(values) < NEVER]


def _branches(bundle: Bundle, points: Sequence[dict[str, list[float]]]) -> dict[str, list[int]]:
    numbers = bundle.manifest["provenance"].get("branches", [])
    if len(numbers) != bundle.exits - 1:
        numbers = list(range(bundle.exits - 1))
    return {"all": numbers, "used": [numbers[b] for b in used_branches(points)]}


def _outcome(outcomes: Outcomes, i: int) -> dict[str, Any]:
    return {"top1": rounded(outcomes.accuracy[i]), "cost": rounded(outcomes.cost[i])}


def _point(tuner: Tuner, tuning: Tuning, name: str, metric: Metric) -> dict[str, Any]:
    place, held = tuning.points[name], tuning.held_out
    results = held.results[name]
    found = point_measurements(results, held.entries, metric, held.front.cost[place])
    error = abs(found["top1"] - held.front.accuracy[place])
    promise = _promise(tuning, name, np.array([r.class_index in e.labels for r, e in zip(results, held.entries)]))
    if not held_out(tuning):
        top1 = min(max(held.baselines.full - promise["loss"] / 100, 0.0), 1.0)
        found.update(top1=rounded(top1), top1_interval=rounded(wilson(top1, len(results))))
    ends = [r.exit_frame for r in results], [r.exit_layer for r in results]
    return {
        "front": place,
        "thresholds": tuning.front.thresholds(place).as_dict(),
        "tuning": _outcome(tuning.run, place),
        "promise": promise,
        "held_out": {**found, "exit_histogram": exit_histogram(*ends, (tuner.frames, tuner.exits))},
        "run_error": {
            "top1": rounded(error),
            "mean_frames": rounded(abs(found["mean_frames"] - held.front.frames[place])),
        },
    }


def _promise(tuning: Tuning, name: str, right: np.ndarray) -> dict[str, Any]:
    """`right` (N,) bool: of the point on the held-out videos."""
    level, levels, aim = tuning.chosen[name], tuning.levels, {**DROPS, TARGET: tuning.aim}[name]
    if held_out(tuning):
        lost, won = discordant(tuning.held_out.baselines.without_exits, right)
        return promise_of(aim, lost, won, loss_bound(lost, won, len(right)), len(right))
    return promise_of(aim, levels.lost[level], levels.won[level], levels.bound[level], len(right))


def _front(tuning: Tuning) -> Outcomes:
    """The front on videos that it was not chosen by: on the held-out ones, or cross-fitted."""
    if held_out(tuning):
        return tuning.held_out.front
    levels = tuning.levels
    nothing = np.zeros(len(levels.cost))
    return Outcomes(tuning.full - levels.loss / 100, levels.cost, nothing, nothing)


def _tails(tuner: Tuner, tuning: Tuning, metric: Metric) -> list[dict[str, Any]]:
    baselines, front, found = tuning.held_out.baselines, _front(tuning), []
    full = baselines.full, metric.costs.full(tuner.frames)
    for frames in sorted({min(frames, tuner.frames) for frames in (*TAILS, tuner.frames)}):
        share = share_of("top1", np.array([right[frames - 1, -1] for right in baselines.fixed]))
        cost = metric.costs.fixed(frames, tuner.exits - 1)
        above = float(margins(np.array([share["top1"]]), np.array([cost]), front, full)[0])
        low, high = share["top1_interval"]
        reached = share["top1"] + above / 100 if np.isfinite(above) else None
        inside = reached is not None and low <= reached <= high
        own = {"front": None if reached is None else rounded(reached), "within": inside}
        found.append({"frames": frames, **share, "cost": rounded(cost), **own})
    return found


def _baselines(tuning: Tuning, full_cost: float) -> dict[str, Any]:
    held = tuning.held_out
    baselines = {
        "published rule": (held.published.accuracy, held.published.cost),
        "one threshold of each kind": (held.shared.accuracy, held.shared.cost),
        **held.baselines.points(),
    }
    found = {}
    for name, (accuracy, cost) in baselines.items():
        margin = margins(accuracy, cost, _front(tuning), (held.baselines.full, full_cost))
        found[name] = {
            "points": {"top1": rounded(accuracy), "cost": rounded(cost)},
            "dominated": rounded((margin >= -1e-9).mean()),
            "margin": rounded(margin.min()) if np.isfinite(margin.min()) else None,
        }
    return found
