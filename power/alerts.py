"""Whether a Jetson holds its clocks down, from what the kernel shows every user under /sys.

Cooling devices named `*-throttle-alert` and `hot-surface-alert` are those of NVIDIA's kernels; `soctherm_oc` counts
over-current and under-voltage events since boot (Orin and later: drivers/hwmon/tegra23x-oc.c there), each of which
slows clocks down for a moment.
"""

import glob
import os
from typing import Dict, List

from tlee import board

EVENTS = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "momentary over-current"}


class Alerts:
    """Alerts in force now, and events since the last `read`."""

    def __init__(self, root: str = "/sys") -> None:
        self._devices = {}
        for folder in sorted(glob.glob(os.path.join(root, "class/thermal/cooling_device*"))):
            name = board.read("type", folder).strip()
            if name.endswith("-alert"):
                self._devices[name] = os.path.join(folder, "cur_state")
        self._counters = {}
        for folder in glob.glob(os.path.join(root, "class/hwmon/hwmon*")):
            if board.read("name", folder).strip() == "soctherm_oc":
                files = sorted(glob.glob(os.path.join(folder, "oc*_event_cnt")))
                self._counters.update({os.path.basename(path).split("_")[0]: path for path in files})
        self._counts = self._read_counters()

    def read(self) -> List[str]:
        active = [name.replace("-", " ") for name, path in self._devices.items() if _number(path) > 0]
        before, self._counts = self._counts, self._read_counters()
        happened = [name for name, count in self._counts.items() if count > before[name]]
        return active + [f"{EVENTS.get(name, 'event')} ({name.upper()})" for name in happened]

    def _read_counters(self) -> Dict[str, int]:
        return {name: _number(path) for name, path in self._counters.items()}


def _number(path: str) -> int:
    text = board.read(path).strip()
    return int(text) if text.isdigit() else 0
