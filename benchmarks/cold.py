"""From nothing to the first answer, in processes of their own."""

import json
import subprocess
import sys
from time import monotonic  # the same clock in all processes
from typing import Any, Dict, List, Optional, Sequence

from tlee import cli
from tlee.errors import InputError, UsageError

PROGRAM = "cold start"


def time_cold_starts(bundle: str, video: str, options: Dict[str, Any], runs: int) -> List[Dict[str, float]]:
    """Milliseconds of new processes: `start` is the interpreter and its imports, `load` the bundle and its backend,
    `first` the first video, `total` all of it. Files may still be in the system's cache, as after a restart of the
    program, not of the device. `options` are those of `Recognizer.load`.

    Raises:
        InputError: the video cannot be read.
        UsageError: a process fails.
    """
    return [_time_cold_start([bundle, video, json.dumps(options)]) for _ in range(runs)]


def _time_cold_start(arguments: Sequence[str]) -> Dict[str, float]:
    start = monotonic()
    command = [sys.executable, "-m", "tlee.benchmarks.cold", *arguments]
    pipe = subprocess.PIPE  # Python 3.6 has neither `capture_output` nor `text`
    process = subprocess.run(command, stdout=pipe, stderr=pipe, universal_newlines=True)  # noqa: UP021
    if process.returncode:
        last = process.stderr.strip().splitlines()[-1:] or [f"status {process.returncode}"]
        raise UsageError(PROGRAM, last[0].replace(PROGRAM + ": ", ""), "or leave it out (--cold 0)")
    answer = json.loads(process.stdout)
    if "unreadable" in answer:
        raise InputError(*answer["unreadable"])
    imported, loaded, answered = answer["moments"]
    spans = {"start": imported - start, "load": loaded - imported, "first": answered - loaded}
    return {name: 1000 * seconds for name, seconds in dict(spans, total=answered - start).items()}


def command(arguments: Optional[List[str]]) -> None:
    """What a new process does."""
    bundle, video, options = sys.argv[1:] if arguments is None else arguments
    from tlee.runtime import Recognizer

    imported = monotonic()
    with Recognizer.load(bundle, **json.loads(options)) as recognizer:
        loaded = monotonic()
        try:
            recognizer.recognize(video)
        except InputError as error:
            print(json.dumps({"unreadable": [error.subject, error.problem, error.remedy]}))
        else:
            print(json.dumps({"moments": [imported, loaded, monotonic()]}))


if __name__ == "__main__":
    cli.main(PROGRAM, command)
