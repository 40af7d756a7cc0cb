"""What measurements share: runs taken in turns, what the machine is, and results as a table and as a file."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from tlee import cli
from tlee.benchmarks.environment import background_cpu, background_seconds, machine, versions
from tlee.cli import number
from tlee.errors import UsageError
from tlee.files import atomic_write, write_json
from tlee.runtime.backends import AUTO, BACKENDS

WARM_UP = 10
IDLE = 0.1  # cores that other programs may keep busy unmentioned
Numbers = Dict[str, Any]


def in_turns(functions: Sequence[Callable[[], Any]], runs: int, warm_up: int = WARM_UP) -> List[List[float]]:
    """Milliseconds of every run of each function. They take turns, so a slow phase of the machine hits all; and who
    begins changes, so none always comes after the same other."""
    times: List[List[float]] = [[] for _ in functions]
    for i in range(warm_up + runs):
        for k in range(len(functions)):
            which = (i + k) % len(functions)
            start = time.perf_counter()
            functions[which]()
            times[which].append(1000 * (time.perf_counter() - start))
    return [of_one[warm_up:] for of_one in times]


def spread(values: Sequence[float]) -> Numbers:
    """Median, quartiles and number of runs."""
    low, middle, high = np.percentile(np.array(values, np.float64), [25, 50, 75])
    return {"median": float(middle), "quartiles": [float(low), float(high)], "runs": len(values)}


def ratio(above: Sequence[float], below: Sequence[float]) -> Numbers:
    """The spread of a ratio, of each pair of runs for itself."""
    return spread(np.array(above) / np.array(below))


class Report:
    """The results of one measurement.

    Args:
        name: of the script.
        title: what the value is, for people.
        options: its command line.
        libraries: that took part, if they were imported by the end.
        at_most: whether a goal is an upper bound.

    Attributes:
        result: what is written. `background_cpu` is how many cores other programs kept busy from here to the end: with
            much of it even ratios are worth little, since threads that wait for each other suffer more than others.
    """

    def __init__(
        self, name: str, title: str, options: argparse.Namespace, libraries: Sequence[str], at_most: bool = True
    ) -> None:
        self._at_most, self._json, self._libraries = at_most, options.json, libraries
        self._start, self._busy = time.perf_counter(), background_seconds()
        self.result: Numbers = {
            "benchmark": name,
            "title": title,
            "machine": machine(options.threads),
            "versions": versions(()),
            "results": [],
        }

    def add(
        self, name: str, parts: Mapping[str, Sequence[float]], value: Numbers, goal: Optional[float] = None
    ) -> None:
        """A line: the times that were measured, by what of, and the value that the measurement is about."""
        line: Numbers = {"name": name, "value": value, "parts": {label: spread(part) for label, part in parts.items()}}
        if goal is not None:
            reached = value["median"] <= goal if self._at_most else value["median"] >= goal
            line.update(goal=goal, at_most=self._at_most, reached=reached)
        self.result["results"].append(line)

    def finish(self) -> None:
        """Print the table, and write the file that was asked for."""
        lines = self.result["results"]
        self.result["versions"].update(versions(self._libraries))
        seconds = time.perf_counter() - self._start
        self.result["background_cpu"] = background_cpu(self._busy, seconds) or 0.0
        rows = [["", *lines[0]["parts"], "value", "25 %", "75 %", "runs", "goal"]]
        for line in lines:
            value = line["value"]
            medians = [part["median"] for part in line["parts"].values()]
            numbers = [number(v) for v in medians + [value["median"]] + value["quartiles"]]
            rows.append([line["name"]] + numbers + [str(value["runs"]), goal(line)])
        print(self.result["title"])
        print("\n".join(cli.table(rows, "l" + "r" * (len(rows[0]) - 1))))
        print(place(self.result))
        if self._json:
            write_json(self._json, self.result)


def goal(line: Numbers) -> str:
    """What a line's value should be, and whether it is."""
    if "goal" not in line:
        return ""
    bound = "at most" if line["at_most"] else "at least"
    missed = "" if line["reached"] else " (missed)"
    return f"{bound} {line['goal']:g}{missed}"


def place(result: Numbers) -> str:
    """Where it was measured, in a line."""
    where = "{device}, {architecture}, {threads} of {cores} cores".format(**result["machine"])
    where += "; " + ", ".join(f"{name} {v}" for name, v in sorted(result["versions"].items()))
    busy = result["background_cpu"]
    return where + (f"; other programs on {busy:.1f} cores" if busy > IDLE else "")


def parser(name: str, documentation: str, runs: int, backend: bool = False) -> argparse.ArgumentParser:
    """With the options that every measurement has, and --backend."""
    made = argparse.ArgumentParser(
        prog="tlee.benchmarks.development." + name, description=documentation.splitlines()[0]
    )
    if backend:
        made.add_argument("--backend", choices=BACKENDS, default=AUTO, help="what computes (%(default)s)")
    made.add_argument("--runs", type=cli.positive, default=runs, help="(%(default)s)")
    made.add_argument("--threads", type=cli.positive, help="all cores without it")
    made.add_argument("--json", metavar="FILE", help="write the numbers there")
    return made


def export_backbone(name: str, folder: str) -> str:
    """A backbone's bundle and single graph in `folder`; returns their path without the ending."""
    # In a process of its own: torch's threads would spin beside the ones that are measured.
    subprocess.check_call([sys.executable, "-m", "tlee.export.backbone", name, folder])
    return os.path.join(folder, name)


def exported(options: argparse.Namespace) -> Iterator[Tuple[str, str]]:
    """Name, and path without the ending, of each of `options.backbones`: in `options.folder`, or exported anew."""
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.backbones:
            path = os.path.join(options.folder, name) if options.folder else export_backbone(name, temporary)
            yield name, path


def write_between(path: str, begin: str, end: str, lines: List[str]) -> None:
    """Replace what stands between two marker lines of a page."""
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if begin in rest or not found:
        raise UsageError(path, "has no place for the table", "put these two lines into it: " + begin + end)
    with atomic_write(path) as stream:
        stream.write(before + begin + "\n".join(lines) + "\n" + end + after)


def markdown(rows: Sequence[Sequence[str]]) -> List[str]:
    """Lines of a table; the first row is the head."""
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    return lines[:1] + ["|---" * len(rows[0]) + "|"] + lines[1:]
