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
    "tlee-report": "tlee.reports.cli",
    "tlee-run": "tlee.runtime.cli",
    "tlee-train": "tlee.training.cli",
    "tlee-tune": "tlee.calibration.thresholds.cli",
}


def main() -> None:
    """Run the command that this process was started as."""
    program = os.path.basename(os.path.realpath(sys.argv[0]))  # links of other names are followed

    def interrupt(number: int, frame: object) -> None:
        try:
            os.write(2, f"{program}: interrupted\n".encode())
        finally:
            os._exit(130)  # nothing has begun; libraries that are being imported would make other errors of it

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        from tlee import cli  # not before signals are ours: what it needs takes a tenth of a second

        modules: list = []
        failed = cli.run(program, lambda _: modules.append(importlib.import_module(MODULES[program])))
        if failed:
            sys.exit(failed)
        modules[0].main()
    except (EOFError, ValueError, TypeError):
        trace = sys.exc_info()[2]
        while trace and trace.tb_next:
            trace = trace.tb_next
        if not trace or trace.tb_frame.f_code.co_name != "_compile_bytecode":  # of Python's import
            raise
        file = trace.tb_frame.f_locals["bytecode_path"]
        problem = "a compiled module that breaks off, as Python writes them on a full disk"
        sys.stderr.write(f"{program}: {file}: {problem}; remove {os.path.dirname(file)}\n")
        sys.exit(2)
