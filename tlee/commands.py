"""The entry point of all commands. Light, so that Ctrl-C is a line even while the first library loads."""

import importlib
import os
import signal
import sys

MODULES = {
    "tlee-bench": "tlee.benchmarks.cli",
    "tlee-build": "tlee.engines.cli",
    "tlee-calibrate": "tlee.calibration.int8.cli",
    "tlee-convert": "tlee.training.convert",
    "tlee-doctor": "tlee.doctor.cli",
    "tlee-eval": "tlee.evaluation.cli",
    "tlee-export": "tlee.export.cli",
    "tlee-info": "tlee.info",
    "tlee-run": "tlee.runtime.cli",
    "tlee-train": "tlee.training.cli",
    "tlee-tune": "tlee.calibration.thresholds.cli",
}


def main() -> None:
    """Run the command that this process was started as."""
    program = os.path.basename(os.path.realpath(sys.argv[0]))  # links of other names are followed

    def interrupt(number: int, frame: object) -> None:
        try:
            os.write(2, "{}: interrupted\n".format(program).encode())
        finally:
            os._exit(130)  # nothing has begun; libraries that are being imported would make other errors of it

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    from tlee import cli  # after that: what it needs takes a tenth of a second

    modules: list = []
    failed = cli.run(program, lambda _: modules.append(importlib.import_module(MODULES[program])))
    if failed:
        sys.exit(failed)
    modules[0].main()
