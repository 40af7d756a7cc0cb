"""The process in which jtop's client lives: `python -m tlee.power.client INTERVAL SYS`.

It writes lines of JSON: first {"interval", "total"} or {"problem", "kind"}, then readings, and {"problem"} at
the end. Why a process of its own: jtop's client waits for its service without any limit, leaves threads and connections
behind when it is closed, decides how the importing program starts its processes, and takes time while something else
is measured. A process can be killed whatever it is waiting for.
"""

import glob
import json
import os
import sys
import threading
import time
from typing import Any, Dict, Iterator, List, Optional

from tlee import board
from tlee.power import boards

OLD = 5.0  # seconds; a reading cannot be older than this and still arrive
EVENTS = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "momentary over-current"}


def main() -> None:
    interval, system = float(sys.argv[1]), sys.argv[2]
    output = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing else writes to `output`
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for line in _lines(interval, system):
            print(json.dumps(line), file=output, flush=True)
    except Exception as error:  # any: jtop throws its own, and what multiprocessing throws
        # Of several lines, the first says what is wrong and ends in what to do: our remedies say that.
        text = (str(error).strip().splitlines() or [repr(error)])[0].split(" Please")[0].rstrip(".")
        print(json.dumps({"problem": text, "kind": _kind(error, text)}), file=output, flush=True)
    os._exit(0)  # jtop's threads may wait for ever


def moment(uptime: Optional[float]) -> float:
    """`time.perf_counter()` at which the service began a reading. The service says at which uptime (seconds, to 10 ms;
    None where it is not known): on a busy machine that is closer than when the reading arrives here."""
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


class Alerts:
    """Whether a Jetson holds its clocks down, from what the kernel shows every user under /sys.

    Cooling devices named `*-throttle-alert` and `hot-surface-alert` are those of NVIDIA's kernels; `soctherm_oc` counts
    over-current and under-voltage events since boot (Orin and later: drivers/hwmon/tegra23x-oc.c there), each of which
    slows clocks down for a moment.
    """

    def __init__(self, root: str = "/sys") -> None:
        self._alerts: Dict[str, str] = {}
        for folder in sorted(glob.glob(f"{root}/class/thermal/cooling_device*")):
            name = board.read("type", folder).strip()
            if name.endswith("-alert"):
                self._alerts[name.replace("-", " ")] = f"{folder}/cur_state"
        self._counters: Dict[str, str] = {}
        for folder in glob.glob(f"{root}/class/hwmon/hwmon*"):
            if board.read("name", folder).strip() == "soctherm_oc":
                for path in sorted(glob.glob(f"{folder}/oc*_event_cnt")):
                    self._counters[os.path.basename(path).split("_")[0]] = path
        self._counts: Dict[str, int] = {}
        self.read()

    def read(self) -> List[str]:
        """Alerts in force now, and events since the last call."""
        before, self._counts = self._counts, {name: _number(path) for name, path in self._counters.items()}
        happened = [name for name, count in self._counts.items() if count > before.get(name, count)]
        active = [name for name, path in self._alerts.items() if _number(path)]
        return active + [f"{EVENTS.get(name, 'event')} ({name.upper()})" for name in happened]


def _number(path: str) -> int:
    text = board.read(path).strip()
    return int(text) if text.isdigit() else 0


def _kind(error: BaseException, text: str) -> str:
    """A key of `tlee.power.jtop.REMEDIES`."""
    if isinstance(error, ImportError):
        return "missing"
    if isinstance(error, PermissionError) or "access" in text:
        return "permission"
    return "version" if "ismatch" in text else "service"


def _end_with_parent() -> None:
    while os.read(0, 1024):  # nothing is ever written to it: this ends when the parent does, however that happens
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
