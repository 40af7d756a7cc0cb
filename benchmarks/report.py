"""The report of `tlee-bench` as a file: written whole, and checked when read, so that whoever uses it never meets a
part that is missing. Nothing is computed here."""

import json
from typing import Any, Dict, Sequence, Tuple

from tlee.benchmarks.timed import PARTS
from tlee.errors import UsageError
from tlee.files import atomic_write
from tlee.reading import JSON_LIMIT, parse_json, read_bytes

FORMAT = 1
LIMIT = JSON_LIMIT
LARGEST = 1e12  # of any number: milliseconds of 30 years, bytes of a terabyte; ratios of several are still finite
PROGRAM = "tlee-bench"
REMEDY = "choose a report that `tlee-bench --json` wrote"

MOST_EXITS = 1000  # of a model

Shape = Any  # see _check


class Maybe:
    """What may also be null."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape


NUMBER, TEXT, FLAG, WHOLE = "a number", "a text", "true or false", "a whole number from 0"
NUMBERS = [NUMBER]
SPARSE = [Maybe(NUMBER)]
Q = {"value": NUMBER, "low": Maybe(NUMBER), "high": Maybe(NUMBER)}
LATENCY = {"runs": WHOLE, "mean": Q, "median": Q, "p90": Q, "p99": Q}
BLOCK = {"start": NUMBER, "end": NUMBER, "video": [WHOLE], "milliseconds": NUMBERS}
ENERGY = {
    "gross": Q,
    "net": Maybe(Q),
    "per_frame": {"gross": NUMBER, "net": Maybe(NUMBER)},
    "watts": NUMBER,
    "blocks": SPARSE,
}
MODE = {
    "name": TEXT,
    "mode": TEXT,
    "point": Maybe(TEXT),
    "blocks": [BLOCK],
    "warm_up": {"runs": WHOLE, "steady": FLAG},
    "latency": LATENCY,
    "rate": {"videos": NUMBER, "frames": NUMBER},
    "exits": [[WHOLE]],
    "answers": {"accuracy": Maybe(NUMBER), "of": Maybe(TEXT), "share": NUMBER, "frames": NUMBER},
    "parts": {name: NUMBER for name in PARTS},
    "overlapped": FLAG,
    "energy": Maybe(ENERGY),
}
GRAPH = {
    "name": TEXT,
    "macs": WHOLE,
    "milliseconds": [NUMBERS],
    "latency": LATENCY,
    "energy": Maybe({"gross": NUMBER, "net": Maybe(NUMBER), "watts": NUMBER}),
}
START = {"start": NUMBER, "load": NUMBER, "first": NUMBER, "total": NUMBER}
SAMPLES = {
    "time": NUMBERS,
    "watts": SPARSE,
    "rails": {"*": SPARSE},
    "loads": {"*": SPARSE},
    "clocks": {"*": SPARSE},
    "temperatures": {"*": SPARSE},
}
POWER = {
    "source": TEXT,
    "reason": Maybe(TEXT),
    "total": Maybe(TEXT),
    "interval": Maybe(NUMBER),
    "idle": Maybe({"start": NUMBER, "end": NUMBER, "watts": NUMBER}),
    "samples": SAMPLES,
    "gaps": [NUMBERS],
    "changes": [{"time": NUMBER, "what": TEXT}],
    "throttled": [TEXT],
    "state": {"*": TEXT},
}
REPORT = {
    "started": TEXT,
    "seconds": NUMBER,
    "bundle": {"name": TEXT, "sha256": TEXT, "backbone": TEXT, "exits": WHOLE, "frames": WHOLE, "size": WHOLE},
    "environment": {
        "device": TEXT,
        "architecture": TEXT,
        "cores": WHOLE,
        "threads": WHOLE,
        "backend": TEXT,
        "exit_graphs": TEXT,
        "precision": TEXT,
        "others": Maybe(NUMBER),
        "versions": {"*": TEXT},
        "system": {"*": TEXT},
    },
    "load": {"videos": [TEXT], "synthetic": FLAG, "labelled": FLAG},
    "modes": [MODE],
    "graphs": [GRAPH],
    "decisions": [{"exit": WHOLE, "latency": LATENCY, "milliseconds": NUMBERS}],
    "cold": Maybe({"runs": [START], "latency": LATENCY}),
    "sustained": Maybe({"name": TEXT, "start": NUMBER, "end": NUMBER, "times": NUMBERS, "rate": NUMBER}),
    "power": POWER,
}


def save_report(path: str, report: Dict[str, Any]) -> None:
    """Write a report, without line breaks: it is raw samples for the most part.

    Raises:
        UsageError: the file cannot be written.
    """
    with atomic_write(path) as stream:
        json.dump(report, stream, sort_keys=True, allow_nan=False, ensure_ascii=False)


def load_report(path: str) -> Dict[str, Any]:
    """A report from its file, with all parts of format 1 there and of their kind.

    Raises:
        UsageError: there is no such file, it is damaged, or it is no report that this release reads.
    """
    content = read_bytes(path, LIMIT, UsageError, REMEDY)
    try:
        report = parse_json(content)
    except ValueError as error:  # bytes that are no UTF-8, too
        raise UsageError(path, f"is not JSON ({error})", REMEDY) from None
    if not isinstance(report, dict) or report.get("program") != PROGRAM:
        raise UsageError(path, "is not a report of tlee-bench", REMEDY)
    if report.get("format") != FORMAT:
        problem = "has format {}, this release reads {}".format(str(report.get("format"))[:20], FORMAT)
        raise UsageError(path, problem, "measure anew, or compare with the release of tlee that wrote it")
    try:
        _check(report, REPORT, ())
        _check_lists(report)
    except _Unfit as error:
        raise UsageError(path, f"is damaged: {error}", REMEDY) from None
    return report


class _Unfit(Exception):
    def __init__(self, where: Sequence[object], expected: str) -> None:
        super().__init__("{} is not {}".format(".".join(map(str, where)), expected))


def _check(value: Any, shape: Shape, where: Tuple[object, ...]) -> None:
    """Compare a value with a shape: a dictionary names what must be there ("*": whatever is there), a list of one
    shape is a list of any length, texts are the kinds above. More than the shape names may be there."""
    if isinstance(shape, Maybe):
        if value is not None:
            _check(value, shape.shape, where)
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            raise _Unfit(where, "an object")
        for key in value if "*" in shape else shape:
            if key not in value:
                raise _Unfit(where + (key,), "there")
            _check(value[key], shape.get("*", shape.get(key)), where + (key,))
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _Unfit(where, "a list")
        for i, part in enumerate(value):
            _check(part, shape[0], where + (i,))
    elif not _is(value, shape):
        raise _Unfit(where, shape)


def _is(value: Any, kind: str) -> bool:
    if kind in (TEXT, FLAG):
        return isinstance(value, str if kind == TEXT else bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (value == 0 or 1 / LARGEST < abs(value) <= LARGEST) and (
        kind != WHOLE or isinstance(value, int) and value >= 0
    )


def _check_lists(report: Dict[str, Any]) -> None:
    """What belongs together is equally long, and points to what is there."""
    videos = len(report["load"]["videos"])
    _expect(report["modes"], ("modes",), "a list with at least one mode")
    _expect(report["bundle"]["exits"] <= MOST_EXITS, ("bundle", "exits"), f"at most {MOST_EXITS}")
    for m, mode in enumerate(report["modes"]):
        where: Tuple[object, ...] = ("modes", m)
        for b, block in enumerate(mode["blocks"]):
            here = where + ("blocks", b)
            same = len(block["video"]) == len(block["milliseconds"])
            _expect(same, here + ("video",), "as long as milliseconds")
            _expect(all(i < videos for i in block["video"]), here + ("video",), "made of indices of load.videos")
            _expect(all(t >= 0 for t in block["milliseconds"]), here + ("milliseconds",), "from 0 on throughout")
        left = sum(len(block["milliseconds"]) for block in mode["blocks"]) - mode["warm_up"]["runs"]
        _expect(left > 0, where + ("warm_up", "runs"), "less than all runs")
        energy = mode["energy"]
        same = energy is None or len(energy["blocks"]) == len(mode["blocks"])
        _expect(same, where + ("energy", "blocks"), "as long as blocks")
    _expect(report["cold"] is None or report["cold"]["runs"], ("cold", "runs"), "a list with at least one run")
    for g, graph in enumerate(report["graphs"]):
        times = [time for block in graph["milliseconds"] for time in block]
        _expect(times and min(times) >= 0, ("graphs", g, "milliseconds"), "from 0 on throughout, with a run")
    _check_samples(report["power"]["samples"])


def _check_samples(samples: Dict[str, Any]) -> None:
    count = len(samples["time"])
    where: Tuple[object, ...] = ("power", "samples")
    _expect(len(samples["watts"]) == count, where + ("watts",), "as long as time")
    for group in ("rails", "loads", "clocks", "temperatures"):
        for name, values in samples[group].items():
            _expect(len(values) == count, where + (group, name), "as long as time")


def _expect(holds: Any, where: Sequence[object], expected: str) -> None:
    if not holds:
        raise _Unfit(where, expected)
