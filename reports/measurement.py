"""A measurement of `tlee-bench`: read, checked against measurement.schema.json, and what its raw samples say."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fastjsonschema
import numpy as np

from tlee.device_profile import millijoules
from tlee.errors import UsageError
from tlee.modes import EARLY, PLAIN, RIVALS
from tlee.reading import read_json
from tlee.reports import statistics
from tlee.reports.rivals import against_rivals

FORMAT = 2
PROGRAM = "tlee-bench"
REMEDY = "choose a file that `tlee-bench --json` wrote"
SCHEMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "measurement.schema.json")
STEP = 0.05  # relative change of a clock that is mentioned
Json = dict[str, Any]


def load(path: str) -> Json:
    """A measurement with its summaries: latencies with their intervals, warm-up, rates, energy, changes of clocks.

    Raises:
        UsageError: there is no such file, it is damaged, or it is not a measurement that this release reads.
    """
    content = read_json(path, remedy=REMEDY)
    if not isinstance(content, dict) or content.get("program") != PROGRAM:
        raise UsageError(path, "is not a measurement of tlee-bench", REMEDY)
    if content.get("format") != FORMAT:
        problem = f"has format {str(content.get('format'))[:20]}, this release reads {FORMAT}"
        raise UsageError(path, problem, "measure anew, or use the release of tlee that wrote it")
    fault = next(_faults(content), None)
    if fault:
        raise UsageError(path, f"is damaged: {fault}", REMEDY)
    return summarised(content)


def summarised(measured: Json) -> Json:
    """A measurement with its summaries, from what `tlee-bench` writes."""
    watts = measured["power"]["idle"] and measured["power"]["idle"]["watts"]
    cold, run = measured["cold"], measured["sustained"]
    labels = measured["load"]["labels"]
    modes = [_mode(mode, watts, labels, measured["bundle"]) for mode in measured["modes"]]
    return {
        **measured,
        "load": {**measured["load"], "labelled": None not in labels},
        "modes": modes,
        "rivals": {} if None in labels else _rivals(modes, labels),
        "graphs": [_graph(graph, watts) for graph in measured["graphs"]],
        "decisions": [{**part, "latency": statistics.latency(part["milliseconds"])} for part in measured["decisions"]],
        "cold": cold and {"runs": cold, "latency": statistics.latency([[start["total"]] for start in cold])},
        "sustained": run and {**run, "rate": len(run["times"]) / (run["end"] - run["start"])},
        "power": {**measured["power"], "changes": changes(measured["power"]["samples"])},
    }


def _mode(mode: Json, idle: float | None, labels: Sequence[int | None], bundle: Json) -> Json:
    blocks = mode["blocks"]
    times = [block["milliseconds"] for block in blocks]
    in_order = np.concatenate(statistics.normalised(times, [block["video"] for block in blocks]))
    runs, steady = statistics.warm_up(in_order)
    seconds = sum(block["end"] - block["start"] for block in blocks)
    videos, frames = sum(map(len, times)), sum(block["frames"] for block in blocks)
    energy = _energy(blocks, idle)
    if energy:
        used, net = frames / videos, energy["net"]
        energy["per_frame"] = {"gross": energy["gross"]["value"] / used, "net": net and net["value"] / used}
    # By frame in processing order and exit, how many frames exited there, over one pass of the videos.
    counts = np.zeros((bundle["frames"], 1 if mode["mode"] == PLAIN else bundle["exits"]), int)
    for result in mode["results"]:
        np.add.at(counts, (np.arange(len(result["exits"])), result["exits"]), 1)
    kept = blocks[1:] or blocks  # the first block warmed up
    weights, parts = [len(block["milliseconds"]) for block in kept], kept[0]["parts"]
    return {
        **mode,
        "warm_up": {"runs": runs, "steady": steady},
        "latency": statistics.latency(statistics.without_first(times, runs)),
        "rate": {"videos": videos / seconds, "frames": frames / seconds},
        "exits": counts.tolist(),
        "answers": _answers(mode, labels),
        "parts": {part: float(np.average([b["parts"][part] for b in kept], weights=weights)) for part in parts},
        "energy": energy,
    }


def _answers(mode: Json, labels: Sequence[int | None]) -> Json:
    """Accuracy on the videos, where their classes are known, else as tuning measured it at the operating point; and
    what the answers took. The plain backbone's answer would be the mean over all frames, which no device forms: its
    accuracy is left to tlee-eval."""
    results = mode["results"]
    accuracy, source = mode["tuned_accuracy"], "tuning"
    if mode["mode"] != PLAIN and None not in labels:
        right = [result["class"] == label for result, label in zip(results, labels)]
        accuracy, source = float(np.mean(right)), "videos"
    return {
        "accuracy": accuracy,
        "of": None if accuracy is None else source,
        "share": float(np.mean([result["share"] for result in results])),
        "frames": float(np.mean([len(result["exits"]) for result in results])),
    }


def _rivals(modes: Sequence[Json], labels: Sequence[int | None]) -> Json:
    """Of each mode of early exits, by its name, what it gains against its rivals; costs are mean latencies."""
    hits = {m["name"]: np.array([one["class"] for one in m["results"]]) == np.array(labels) for m in modes}
    costs = {mode["name"]: mode["latency"]["mean"]["value"] for mode in modes}
    rivals = [name for name in RIVALS if name in hits]

    def beside(name: str, values: Json) -> Json:
        return {EARLY: values[name], **{rival: values[rival] for rival in rivals}}

    early = [mode["name"] for mode in modes if mode["mode"] == EARLY]
    return {name: against_rivals(beside(name, hits), beside(name, costs)) for name in early}


def _graph(graph: Json, idle: float | None) -> Json:
    times = [block["milliseconds"] for block in graph["blocks"]]
    energy = _energy(graph["blocks"], idle)
    if energy:
        net = energy["net"] and energy["net"]["value"]
        energy = {"gross": energy["gross"]["value"], "net": net, "watts": energy["watts"]}
    return {**graph, "milliseconds": times, "latency": statistics.latency(times), "energy": energy}


def _energy(blocks: Sequence[Json], idle: float | None) -> Json | None:
    """Millijoules of a run.

    Args:
        idle: watts before anything ran; None where that is not known.

    Returns:
        `gross`, energy of the blocks; `net`, that without what the idle device would have taken; `blocks`, gross of
        each block, None where it is not known; mean `watts`. None where no block's is.
    """
    known = [block for block in blocks if block["joules"] is not None]
    if not known:
        return None
    gross, net = millijoules(known), None
    seconds = [block["end"] - block["start"] for block in known]
    if idle is not None:
        spans = zip(gross, seconds, known)
        net = statistics.interval([mj - 1000 * idle * s / len(block["milliseconds"]) for mj, s, block in spans])
    values = iter(gross)
    return {
        "gross": statistics.interval(gross),
        "net": net,
        "watts": sum(block["joules"] for block in known) / sum(seconds),
        "blocks": [None if block["joules"] is None else next(values) for block in blocks],
    }


def changes(samples: Json) -> list[Json]:
    """Clocks that went to another level and settings that were changed, in order.

    A level is another one when it differs by more than 5 % from the last one that counted and the next reading, or the
    end, confirms it: one odd reading is none.

    Examples:
        >>> changes({"time": [0.0, 1.0, 2.0], "clocks": {"GPU": [921, 614, 614]}, "state": {}})
        [{'time': 1.0, 'what': 'GPU clock 921 to 614 MHz'}]
    """

    def differ(one: float, other: float) -> bool:
        return abs(other - one) > STEP * max(one, other)

    found: list[Json] = []
    for name, values in sorted(samples["clocks"].items()):
        found += _steps(samples["time"], values, name + " clock {:.0f} to {:.0f} MHz", differ)
    for name, values in sorted(samples["state"].items()):
        found += _steps(samples["time"], values, name + " {} to {}", lambda one, other: bool(one != other))
    return sorted(found, key=lambda change: float(change["time"]))


def _steps(times: Sequence[float], values: Sequence[Any], text: str, differ: Callable[[Any, Any], bool]) -> list[Json]:
    known = [(moment, value) for moment, value in zip(times, values) if value is not None]
    found, level = [], known[0][1] if known else None
    for index, (moment, value) in enumerate(known):
        after = known[min(index + 1, len(known) - 1)][1]
        if differ(level, value) and not differ(value, after):
            found.append({"time": moment, "what": text.format(level, value)})
            level = value
    return found


@functools.cache
def _schema() -> Callable[[Any], Any]:
    """A function that checks a measurement against the schema."""
    checker: Callable[[Any], Any] = fastjsonschema.compile(read_json(SCHEMA))
    return checker


def _faults(content: Json) -> Iterator[str]:
    """What is wrong with a measurement: first by the schema, then what no schema can say, whether lists that belong
    together are of one length, indices exist, time goes on."""
    try:
        _schema()(content)
    except fastjsonschema.JsonSchemaValueException as error:
        problem = "has another type or is out of range" if error.rule == "anyOf" else error.message.partition(" ")[2]
        yield f"{'.'.join(error.path[1:])} {problem}"
        return
    videos, bundle, samples = len(content["load"]["videos"]), content["bundle"], content["power"]["samples"]
    lengths = [("load.labels", content["load"]["labels"], "videos", videos)]
    spans = {f"graphs.{g}": graph["blocks"] for g, graph in enumerate(content["graphs"])}
    for m, mode in enumerate(content["modes"]):
        spans[f"modes.{m}"] = mode["blocks"]
        lengths.append((f"modes.{m}.results", mode["results"], "load.videos", videos))
        exits = 1 if mode["mode"] == PLAIN else bundle["exits"]
        if any(len(one["exits"]) > bundle["frames"] or max(one["exits"]) >= exits for one in mode["results"]):
            yield f"modes.{m}.results has frames or exits that the bundle does not have"
        for b, block in enumerate(mode["blocks"]):
            lengths.append((f"modes.{m}.blocks.{b}.video", block["video"], "milliseconds", len(block["milliseconds"])))
            if not all(video < videos for video in block["video"]):
                yield f"modes.{m}.blocks.{b}.video holds other numbers than indices of load.videos"
    if content["sustained"]:
        spans["sustained"] = [content["sustained"]]
    for name, blocks in spans.items():
        if not all(block["end"] - block["start"] > 1e-9 for block in blocks):
            yield f"{name} has a block that ends before it starts"
    columns = {"watts": samples["watts"]}
    for group in ("rails", "loads", "clocks", "temperatures", "state"):
        columns.update({f"{group}.{name}": values for name, values in samples[group].items()})
    lengths += [(f"power.samples.{name}", values, "time", len(samples["time"])) for name, values in columns.items()]
    yield from (f"{name} is not as long as {other}" for name, values, other, count in lengths if len(values) != count)
