"""Whether a Jetson holds its clocks down, from what the kernel shows every user under /sys.

Cooling devices named `*-throttle-alert` and `hot-surface-alert` are those of NVIDIA's kernels; `soctherm_oc` counts
over-current and under-voltage events since the start (Orin and later: drivers/hwmon/tegra23x-oc.c there), each of which
slows clocks down for a moment.
"""

import glob
import os
from typing import Dict, List

EVENTS = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "momentary over-current"}


class Alerts:
    """What is in force, or has happened since it was last read."""

    def __init__(self, root: str = "/sys") -> None:
        kinds = glob.glob(os.path.join(root, "class/thermal/cooling_device*/type"))
        self._devices = {_text(path): os.path.join(os.path.dirname(path), "cur_state") for path in sorted(kinds)}
        self._devices = {name: path for name, path in self._devices.items() if name.endswith("-alert")}
        monitors = glob.glob(os.path.join(root, "class/hwmon/hwmon*/name"))
        folders = [os.path.dirname(path) for path in monitors if _text(path) == "soctherm_oc"]
        files = [path for folder in folders for path in sorted(glob.glob(os.path.join(folder, "oc*_event_cnt")))]
        self._counters = {os.path.basename(path).split("_")[0]: path for path in files}
        self._counts = self._read_counters()

    def read(self) -> List[str]:
        active = [name.replace("-", " ") for name, path in self._devices.items() if _number(path) > 0]
        before, self._counts = self._counts, self._read_counters()
        happened = [name for name, count in self._counts.items() if count > before[name]]
        return active + ["{} ({})".format(EVENTS.get(name, "event"), name.upper()) for name in happened]

    def _read_counters(self) -> Dict[str, int]:
        return {name: _number(path) for name, path in self._counters.items()}


def _number(path: str) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0


def _text(path: str) -> str:
    """What a file says; nothing where it cannot be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return ""
