"""From nothing to the first answer, in processes of their own."""

import argparse
import json
import subprocess
import sys
from time import monotonic  # the same clock in all processes
from typing import Any, Dict, List, Optional, Sequence

from tlee import cli
from tlee.errors import UsageError

PROGRAM = "cold start"


def measure(bundle: str, video: str, options: Dict[str, Any], runs: int) -> List[Dict[str, float]]:
    """Milliseconds of new processes: `start` is the interpreter and its imports, `load` the bundle and its backend,
    `first` the first video, `total` all of it. Files may still be in the system's cache, as after a restart of the
    program, not of the device.

    Args:
        options: of `Recognizer.load`.

    Raises:
        UsageError: a process fails.
    """
    return [_run([bundle, video, json.dumps(options)]) for _ in range(runs)]


def _run(arguments: Sequence[str]) -> Dict[str, float]:
    start = monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tlee.benchmarks.cold"] + list(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
    )
    try:
        said, complaint = process.communicate()
    finally:
        if process.poll() is None:  # interrupted
            process.kill()
            process.wait()
    if process.returncode:
        last = complaint.strip().splitlines()[-1:] or [f"status {process.returncode}"]
        raise UsageError(PROGRAM, last[0].replace(PROGRAM + ": ", ""), "or leave it out (--cold 0)")
    imported, loaded, answered = json.loads(said)
    times = {
        "start": imported - start,
        "load": loaded - imported,
        "first": answered - loaded,
        "total": answered - start,
    }
    return {name: 1000 * seconds for name, seconds in times.items()}


def command(arguments: Optional[List[str]]) -> None:
    """What a new process does."""
    parser = argparse.ArgumentParser(prog="tlee.benchmarks.cold", description=__doc__)
    parser.add_argument("bundle")
    parser.add_argument("video")
    parser.add_argument("options", type=json.loads)
    options = parser.parse_args(arguments)
    from tlee.runtime import Recognizer

    imported = monotonic()
    with Recognizer.load(options.bundle, **options.options) as recognizer:
        loaded = monotonic()
        recognizer.recognize(options.video)
        print(json.dumps([imported, loaded, monotonic()]))


if __name__ == "__main__":
    cli.main(PROGRAM, command)
