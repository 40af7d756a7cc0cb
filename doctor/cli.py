"""`tlee-doctor`: what a machine has to run bundles, what is missing, and the commands that repair it."""

import argparse
import shutil
import textwrap
from typing import Callable, List, Optional, Sequence

from tlee import cli
from tlee.doctor import libraries, system
from tlee.doctor.finding import MUST, OK, Finding
from tlee.doctor.machine import Machine, read
from tlee.errors import BundleError

PROGRAM = "tlee-doctor"
NARROW = 60  # columns; with less a table is no help
CHECKS: List[Callable[[Machine], Optional[Finding]]] = [
    *(system.board, system.system, system.python, system.tlee, system.groups),
    *(libraries.numpy, libraries.opencv, libraries.video, libraries.cuda),
    *(libraries.tensorrt, libraries.onnxruntime, libraries.engines),
    *(system.memory, system.swap, system.disk, system.power),
    *(system.camera, system.jtop, system.docker),
]


def command(arguments: Optional[List[str]], root: str = "/") -> int:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Look over this machine: board and JetPack, Python's libraries, GPU, memory, disk, power mode, "
        "camera, jtop, Docker. Says what is missing or wrong, each with the command that repairs it, changes nothing "
        "itself, and needs no root.",
        epilog="What it finds is ok; advice: it works, but slower or less; missing or wrong: it must be fixed. "
        "Exit status: 0 nothing must be fixed, 1 something must, 2 wrong use or unreadable bundle, 130 interrupted.",
    )
    parser.add_argument("bundle", nargs="?", help="also say whether this bundle's engines fit this machine")
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    options = parser.parse_args(arguments)
    machine = read(root, options.bundle)
    unreadable = machine.libraries.get("engines", {}).get("unreadable")
    if unreadable:
        raise BundleError(*unreadable)
    found, runs = findings(machine), libraries.backends(machine)
    if options.json:
        cli.print_json({"findings": [finding._asdict() for finding in found], "backends": runs})
    else:
        cli.show(*lines(found, runs, shutil.get_terminal_size((100, 24)).columns))
    return cli.INPUT_FAILED if any(finding.severity in MUST for finding in found) else cli.OK


def findings(machine: Machine) -> List[Finding]:
    """All checks of a machine, a cause before what follows from it."""
    return [found for found in (check(machine) for check in CHECKS) if found]


def lines(found: Sequence[Finding], runs: Sequence[str], columns: int) -> List[str]:
    """Findings for a terminal of that width. Commands are never broken: they are to be copied."""
    first = max(len(finding.subject) for finding in found) + 2
    shown = []
    for finding in found:
        head = finding.subject.ljust(first) + finding.severity.ljust(9)
        page = textwrap.TextWrapper(max(columns, NARROW), head, " " * len(head))
        page.break_on_hyphens = page.break_long_words = False  # in paths and names of commands
        shown += page.wrap(finding.text)
        shown += ["    " + finding.command] if finding.command else []
    must = sum(finding.severity in MUST for finding in found)
    advice = sum(finding.severity != OK for finding in found) - must
    summary = f"{must} to be fixed, {advice} to be improved" if must + advice else "nothing to be fixed"
    return shown + ["", "tlee-run computes here on: " + (", ".join(runs) or "nothing"), summary]


def main() -> None:
    cli.main(PROGRAM, command)


if __name__ == "__main__":
    main()
