"""Results of measurements as a table in a page.

    python -m tlee.benchmarks.development.table chain.json decision.json --write docs/benchmarks.md

The files are those that the other scripts write with `--json`. The table goes between the page's lines
`<!-- benchmarks -->` and `<!-- /benchmarks -->`; results of each machine make a table of their own.
"""

import argparse
import json
from typing import Any, Dict, List, Optional

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.cli import number
from tlee.errors import UsageError
from tlee.reading import read_json

BEGIN, END = "<!-- benchmarks -->\n", "<!-- /benchmarks -->\n"
REMEDY = "give what --json wrote"
HEAD = ["measured", "of", "value", "quartiles", "goal"]


def page(results: List[Dict[str, Any]]) -> List[str]:
    """Lines of all tables, in the order of the results."""
    by_machine: Dict[str, List[Dict[str, Any]]] = {}
    for result in results:
        by_machine.setdefault(json.dumps(result["machine"], sort_keys=True), []).append(result)
    lines: List[str] = []
    for of_machine in by_machine.values():
        rows = [HEAD]
        for title, line in [(result["title"], line) for result in of_machine for line in result["results"]]:
            median, (low, high) = line["value"]["median"], line["value"]["quartiles"]
            quartiles = f"{number(low)} to {number(high)}"
            rows.append([title, line["name"], number(median), quartiles, timing.goal(line)])
        versions = {name: version for result in of_machine for name, version in result["versions"].items()}
        busy = max(result["background_cpu"] for result in of_machine)
        place = timing.place(dict(of_machine[0], versions=versions, background_cpu=busy))
        lines += ([""] if lines else []) + timing.markdown(rows) + ["", f"Measured on {place}."]
    return lines


def _read(path: str) -> Dict[str, Any]:
    result = read_json(path, remedy=REMEDY)
    if not isinstance(result, dict) or "benchmark" not in result:
        raise UsageError(path, "no result of a measurement", REMEDY)
    return result


def command(arguments: Optional[List[str]]) -> None:
    parser = argparse.ArgumentParser(prog="tlee.benchmarks.development.table", description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", metavar="RESULT.json")
    parser.add_argument("--write", metavar="FILE.md", help="put the table between the file's markers")
    options = parser.parse_args(arguments)
    lines = page([_read(path) for path in options.results])
    print("\n".join(lines))
    if options.write:
        timing.write_between(options.write, BEGIN, END, lines)


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.table", command)
