"""The process in which jtop's client lives: `python -m tlee.power.client INTERVAL SYS`.

It writes lines of JSON: first {"interval", "total"} or {"problem", "kind"}, then readings, and {"problem"} at
the end. Why a process of its own: jtop's client waits for its service without any limit, leaves threads and connections
behind when it is closed, decides how the importing program starts its processes, and takes time while something else
is measured. A process can be killed whatever it is waiting for.
"""

import json
import os
import sys
import threading
import time
from typing import Any, Dict, Iterator, Optional, TextIO

from tlee.power import boards
from tlee.power.alerts import Alerts

OLD = 5.0  # seconds; a reading cannot be older than this and still arrive


def main() -> None:
    interval, system = float(sys.argv[1]), sys.argv[2]
    output = _private_output()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for line in _lines(interval, system):
            _write(output, line)
    except Exception as error:  # any: jtop throws its own, and what multiprocessing throws
        # Of several lines, the first says what is wrong and ends in what to do: our remedies say that.
        text = (str(error).strip().splitlines() or [repr(error)])[0].split(" Please")[0].rstrip(".")
        _write(output, {"problem": text, "kind": _kind(error, text)})
    os._exit(0)  # jtop's threads may wait for ever


def moment(uptime: Optional[float]) -> float:
    """`time.perf_counter()` at which the service began a reading. The service says at which uptime, to 10 ms: closer
    than when the reading arrives here, on a busy machine.

    Args:
        uptime: seconds; None where it is not known.
    """
    now = time.perf_counter()
    with open("/proc/uptime", encoding="ascii") as stream:
        age = float(stream.read().split()[0]) - uptime if uptime is not None else 0.0
    # In a container, uptime may be the container's own.
    return now - age if 0 <= age <= OLD else now


def _lines(interval: float, system: str) -> Iterator[Dict[str, Any]]:
    import jtop

    alerts = Alerts(system)
    jetson = jtop.jtop(interval)
    jetson.start()
    meter = boards.meter(jetson.power)
    if meter is None:
        raise RuntimeError("this board has no power sensor that jtop knows")
    yield {"interval": float(jetson.interval), "total": meter.describe()}
    last = None
    while jetson.ok():
        uptime = jetson.uptime.total_seconds()
        if uptime == last:  # jtop returns the old reading again where the service has not sent another in time
            continue
        last = uptime
        watts, name = boards.rails(jetson.power)
        loads, clocks = boards.loads_and_clocks(jetson)
        yield {
            "time": moment(uptime),
            "watts": meter.total(watts, name),
            "rails": watts,
            "loads": loads,
            "clocks": clocks,
            "temperatures": boards.temperatures(jetson),
            "throttled": boards.over_limits(jetson.power) + alerts.read(),
            "state": boards.state(jetson),
        }
    raise RuntimeError("jtop.service sends no readings any more")


def _write(output: TextIO, line: Dict[str, Any]) -> None:
    output.write(json.dumps(line) + "\n")
    output.flush()


def _kind(error: BaseException, text: str) -> str:
    """A key of `tlee.power.jtop.REMEDIES`."""
    if isinstance(error, ImportError):
        return "missing"
    if isinstance(error, PermissionError) or "access" in text:
        return "permission"
    return "version" if "ismatch" in text else "service"


def _private_output() -> TextIO:
    """Standard output, which from then on nothing else writes to."""
    output = os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    return output


def _end_with_parent() -> None:
    while os.read(0, 1024):  # nothing is ever written to it: this ends when the parent does, however that happens
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
