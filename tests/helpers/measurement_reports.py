"""Reports of `tlee-bench` as they might be, all numbers drawn at random, from no device at all."""

from __future__ import annotations

from typing import Any

import numpy as np

from tlee.modes import EARLY, FRAME, LAYER, MODES, NONE, ONE, PLAIN, RANDOM, THREE

# What is drawn around: milliseconds, accuracy, share of computation, frames used.
WAYS = {
    EARLY: (31, 0.91, 0.17, 2.5),
    LAYER: (88, 0.92, 0.55, 10),
    FRAME: (52, 0.915, 0.31, 3.1),
    RANDOM: (24, 0.71, 0.12, 1.9),
    ONE: (15, 0.84, 0.1, 1),
    THREE: (45, 0.89, 0.3, 3),
    NONE: (150, 0.925, 1.0, 10),
    PLAIN: (149, 0.90, 1.0, 10),
}
PARTS = {"open": 0.02, "decode": 0.22, "prepare": 0.05, "upload": 0.02, "compute": 0.62, "decide": 0.02, "rest": 0.05}
GPU, CPU, EMC = 921.6, 1479.0, 1600.0  # MHz at full speed


def example_report(
    seed: int = 0, modes: tuple[str, ...] = tuple(MODES), rounds: int = 6, seconds: float = 2.0, videos: int = 20
) -> dict[str, Any]:
    """A report with everything in it: power with a gap, a change of clocks and a throttle, a cold start, a long run."""
    draw = np.random.default_rng(seed)
    measured, now = [_mode(mode, draw, videos) for mode in modes], 6.0
    for turn in range(rounds):
        for mode in measured[turn % len(modes) :] + measured[: turn % len(modes)]:
            now = _block(mode, now, seconds, draw, videos) + 0.05
    for mode in measured:
        _summarise(mode, draw)
    first = measured[0]
    ends = now + 1 + np.cumsum(first["latency"]["mean"]["value"] / 1000 * draw.normal(1, 0.05, 300))
    cold = [dict(zip(("start", "load", "first"), draw.normal((900, 2100, 160), (20, 90, 9)))) for _ in range(5)]
    return {
        "format": 1,
        "program": "tlee-bench",
        "started": "2026-11-23T10:00:00Z",
        "seconds": round(float(ends[-1]), 1),
        "bundle": {
            **{"name": "digits", "sha256": "0123456789abcdef" * 4, "backbone": "mobilenetv2"},
            **{"exits": 4, "frames": 10, "size": 64},
        },
        "environment": {
            **{"device": "Made-up Board 4000", "architecture": "aarch64", "cores": 4, "threads": 4},
            **{"backend": "TensorRT 8.2 on Made-up GPU", "exit_graphs": "fused", "precision": "fp16"},
            "sampling": "uniform",
            "background_cpu": 0.04,
            "versions": {"python": "3.6.9", "tlee": "0.1.0", "numpy": "1.13.3", "tensorrt": "8.2.1"},
            "system": {"jetpack": "4.6.1", "l4t": "32.7.1"},
        },
        "load": {"videos": [f"video {i}.mp4" for i in range(videos)], "synthetic": False, "labelled": True},
        "modes": measured,
        "rivals": {},
        "graphs": [_graph(name, draw) for name in ("split0", "branch0", "split1", "branch1", "split2", "branch2")],
        "decisions": [_decision(exit, draw) for exit in range(4)],
        "cold": {
            "runs": [{**run, "total": sum(run.values())} for run in cold],
            "latency": _latency([3000, 3200], draw),
        },
        "sustained": {
            **{"name": first["name"], "start": now + 1, "end": float(ends[-1])},
            **{"times": ends.tolist(), "rate": 300 / float(ends[-1] - now - 1)},
        },
        "power": _power(float(ends[-1]), draw),
    }


def as_measured(report: dict[str, Any]) -> dict[str, Any]:
    """A report as the file of raw samples that `tlee-bench` would have written."""

    def raw(block: dict[str, Any], energy: float | None) -> dict[str, Any]:
        joules = None if energy is None else energy * len(block["milliseconds"]) / 1000
        return {**block, "joules": joules}

    modes, graphs = [], []
    for mode in report["modes"]:
        energies = mode["energy"]["blocks"] if mode["energy"] else [None] * len(mode["blocks"])
        blocks = [
            {**raw(block, energy), "frames": 2 * len(block["video"]), "parts": mode["parts"]}
            for block, energy in zip(mode["blocks"], energies)
        ]
        exits = [0, 0 if mode["mode"] == PLAIN else 1]
        results = [{"class": v, "exits": exits, "share": 0.2} for v in range(len(report["load"]["videos"]))]
        kept = {key: mode[key] for key in ("name", "mode", "point", "overlapped")}
        modes.append({**kept, "blocks": blocks, "results": results, "tuned_accuracy": None})
    for g, graph in enumerate(report["graphs"]):
        energy = graph["energy"] and graph["energy"]["gross"]
        rows = enumerate(graph["milliseconds"])
        blocks = [raw({"start": 99.0 + g + r, "end": 99.5 + g + r, "milliseconds": row}, energy) for r, row in rows]
        graphs.append({"name": graph["name"], "macs": graph["macs"], "blocks": blocks})
    environment, power, run = dict(report["environment"]), dict(report["power"]), report["sustained"]
    power.pop("changes")
    state = {name: [value] * len(power["samples"]["time"]) for name, value in power["state"].items()}
    videos = report["load"]["videos"]
    return {
        **report,
        "format": 2,
        "environment": environment,
        "load": {**{key: report["load"][key] for key in ("videos", "synthetic")}, "labels": [0] * len(videos)},
        "modes": modes,
        "graphs": graphs,
        "decisions": [{"exit": one["exit"], "milliseconds": [one["milliseconds"]]} for one in report["decisions"]],
        "cold": report["cold"] and report["cold"]["runs"],
        "sustained": run and {key: run[key] for key in ("name", "start", "end", "times")},
        "power": {**power, "samples": {**power["samples"], "state": state}},
    }


def without_power(report: dict[str, Any], reason: str = "nothing here measures power") -> dict[str, Any]:
    """Takes all that came from a power source out of a report."""
    nothing: dict[str, Any] = {"time": [], "watts": [], "rails": {}, "loads": {}, "clocks": {}, "temperatures": {}}
    power: dict[str, Any] = {"source": "none", "reason": reason, "total": "", "interval": None, "idle": None}
    report["power"] = {**power, "samples": nothing, "gaps": [], "changes": [], "throttled": [], "state": {}}
    for measured in report["modes"] + report["graphs"]:
        measured["energy"] = None
    return report


def without_extras(report: dict[str, Any]) -> dict[str, Any]:
    """Takes out all that may be missing: power, videos, answers, graphs, cold start, long run."""
    without_power(report)
    report.update(cold=None, sustained=None, graphs=[], decisions=[])
    names = [f"noise {i}" for i in range(len(report["load"]["videos"]))]
    report["load"] = {"videos": names, "synthetic": True, "labelled": False}
    for mode in report["modes"]:
        mode["answers"].update(accuracy=None, of=None)
    return report


def example_comparison(seed: int = 0, modes: tuple[str, ...] = (EARLY, FRAME, NONE)) -> dict[str, Any]:
    """Two measurements of one bundle, the second mostly faster."""
    draw, rows = np.random.default_rng(seed), []
    for name in modes:
        for metric, scale in (("median ms", 30), ("p90 ms", 45), ("mJ per video (gross)", 160)):
            ratio = float(draw.normal(0.97, 0.06))
            reach = abs(float(draw.normal(0.02, 0.01)))
            words = ("less energy", "more energy") if "mJ" in metric else ("faster", "slower")
            verdict = words[ratio > 1] if abs(ratio - 1) - reach > 0.03 else "no significant difference"
            quantities = [_quantity(scale), _quantity(scale * ratio), _quantity(ratio, reach)]
            rows.append({"name": name, "metric": metric, **dict(zip(("a", "b", "ratio"), quantities))})
            rows[-1]["verdict"] = verdict
    report = example_report(rounds=1, modes=modes)
    side = {key: report[key] for key in ("bundle", "environment", "started")}
    other = {**side, "environment": {**side["environment"], "precision": "fp32"}}
    return {
        **{"format": 1, "program": "tlee-report", "margin": 0.03, "level": 0.95, "rows": rows},
        **{"a": {"file": "before.json", **other}, "b": {"file": "after.json", **side}},
        "warnings": ["precision differs: fp32, fp16"],
    }


def _mode(mode: str, draw: np.random.Generator, videos: int) -> dict[str, Any]:
    _, accuracy, share, used = WAYS[mode]
    point = "balanced" if mode == EARLY else None
    left = np.zeros((10, 4), int)
    for _ in range(videos):
        last = used if mode in (ONE, THREE, NONE) else min(10, 1 + draw.poisson(used - 1)) if used < 10 else 10
        for frame in range(last):
            left[frame, 3 if mode in (FRAME, ONE, THREE, NONE, PLAIN) else draw.integers(0, 4)] += 1
    return {
        **{"name": f"{mode} ({point})" if point else mode, "mode": mode, "point": point, "blocks": []},
        **{"warm_up": {"runs": 4, "steady": True}, "exits": left.tolist(), "overlapped": False},
        "answers": {"accuracy": accuracy, "of": "videos", "share": share, "frames": used},
        "parts": {part: share * WAYS[mode][0] for part, share in PARTS.items()},
        "energy": {"blocks": []},
    }


def _block(mode: dict[str, Any], start: float, seconds: float, draw: np.random.Generator, videos: int) -> float:
    """Adds whole passes over the videos from a time on; gives their end."""
    passes = max(1, round(seconds * 1000 / WAYS[mode["mode"]][0] / videos))
    times = WAYS[mode["mode"]][0] * draw.lognormal(0, 0.13, passes * videos)
    times[draw.random(len(times)) < 0.01] *= 2.2
    if not mode["blocks"]:
        times[:4] *= (5, 2.2, 1.6, 1.3)
    end = start + times.sum() / 1000
    order = list(range(videos)) * passes
    mode["blocks"].append({"start": start, "end": float(end), "video": order, "milliseconds": times.tolist()})
    return float(end)


def _summarise(mode: dict[str, Any], draw: np.random.Generator) -> None:
    times = [time for block in mode["blocks"] for time in block["milliseconds"]]
    mode["latency"] = _latency(times[mode["warm_up"]["runs"] :], draw)
    videos = 1000 / mode["latency"]["mean"]["value"]
    used = mode["answers"]["frames"]
    mode["rate"] = {"videos": videos, "frames": videos * used}
    gross, net = 5.1 * mode["latency"]["mean"]["value"], 3.2 * mode["latency"]["mean"]["value"]
    energies = [gross * draw.normal(1, 0.02) for _ in mode["blocks"]]
    mode["energy"] = {
        **{"gross": _quantity(gross, 0.06 * gross), "net": _quantity(net, 0.06 * net), "watts": 5.1},
        **{"per_frame": {"gross": gross / used, "net": net / used}, "blocks": [None, *energies[1:]]},
    }


def _graph(name: str, draw: np.random.Generator) -> dict[str, Any]:
    times = draw.lognormal(np.log(draw.uniform(0.3, 6)), 0.06, (6, 20))
    energy = {"gross": 5.3 * float(times.mean()), "net": 3.4 * float(times.mean()), "watts": 5.3}
    latency = _latency(times.ravel().tolist(), draw)
    return {"name": name, "macs": 1_000_000, "milliseconds": times.tolist(), "latency": latency, "energy": energy}


def _decision(exit: int, draw: np.random.Generator) -> dict[str, Any]:
    times = draw.lognormal(np.log(3 + 2 * exit), 0.1, 80).tolist()
    return {"exit": exit, "latency": _latency(times, draw), "milliseconds": times}


def _latency(times: list[float], draw: np.random.Generator) -> dict[str, Any]:
    values = [float(np.mean(times)), *(float(value) for value in np.percentile(times, (50, 90, 99)))]
    reaches = np.array(values) * (0.01, 0.01, 0.02, 0.06) * draw.uniform(0.7, 1.3)
    quantities = (_quantity(value, float(reach)) for value, reach in zip(values, reaches))
    return {"runs": len(times), **dict(zip(("mean", "median", "p90", "p99"), quantities))}


def _quantity(value: float, reach: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": None if reach is None else value - reach, "high": reach and value + reach}


def _power(end: float, draw: np.random.Generator) -> dict[str, Any]:
    """Samples twice a second; clocks fall at one third of the time, none are there at one half, it throttles after."""
    time = np.arange(0, end, 0.5)
    gap = [0.5 * end, 0.5 * end + 4]
    slow, throttle = (time > 0.33 * end) & (time < 0.45 * end), 0.7 * end
    keep = (time <= gap[0]) | (time >= gap[1])
    watts = np.where(time < 5, 1.9, np.where(slow, 4.2, 5.1)) + draw.normal(0, 0.1, len(time))
    listed: list[float | None] = watts[keep].tolist()
    listed[20] = None
    clock = np.where(slow, 614.4, np.where((time > throttle) & (time < throttle + 5), 460.8, GPU))
    level = {"GPU": clock, "CPU": np.full(len(time), CPU), "EMC": np.full(len(time), EMC)}
    shares = {"POM_5V_IN": 1.0, "POM_5V_GPU": 0.4, "POM_5V_CPU": 0.25}
    return {
        **{"source": "jtop", "reason": None, "total": "POM_5V_IN: the whole board", "interval": 0.5},
        "idle": {"start": 0.0, "end": 5.0, "watts": 1.9},
        "samples": {
            **{"time": time[keep].tolist(), "watts": listed},
            "rails": {rail: (share * watts[keep]).tolist() for rail, share in shares.items()},
            "loads": {name: draw.uniform(20, 99, keep.sum()).tolist() for name in level},
            "clocks": {name: values[keep].tolist() for name, values in level.items()},
            "temperatures": {"GPU": np.linspace(35, 52, keep.sum()).tolist()},
        },
        "gaps": [gap],
        "changes": [
            {"time": 0.33 * end, "what": "GPU clock 921 to 614 MHz"},
            {"time": 0.45 * end, "what": "GPU clock 614 to 921 MHz"},
        ],
        "throttled": [f"{throttle:.1f} s: GPU clock 460 MHz at 97 °C"],
        "state": {"nvpmodel": "MAXN", "jetson_clocks": "on"},
    }
