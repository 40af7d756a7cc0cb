"""Power of the processor from RAPL's counters of energy, which Linux shows under /sys/class/powercap.

Interfaces: the kernel's Documentation/power/powercap/powercap.rst. Processors of AMD are there under the same names.
"""

import glob
import os
import time
from typing import Dict, Tuple

from tlee.errors import UsageError
from tlee.power.source import Sample, Source, SourceEnded

ROOT = "/sys/class/powercap"
COUNTED = ("package", "dram")  # "core" and "uncore" are parts of a package, "psys" contains it
ALLOW = "sudo chmod a+r {}/intel-rapl:*/energy_uj (until the next start)"


class Rapl(Source):
    """Counters of energy: a reading is the mean power since the one before and stands at the middle of that time.

    Raises:
        UsageError: this machine has no counters, or this user may not read them.
    """

    name = "rapl"
    interval = 0.1  # counters advance about every millisecond, and reading them takes microseconds

    def __init__(self, root: str = ROOT) -> None:
        self._domains = _domains(root)
        if not self._domains:
            problem = f"this processor shows no counters of energy in {root}"
            raise UsageError("rapl", problem, "virtual machines have none: measure without power")
        try:
            self._last = self._counters()
        except OSError as error:  # readable for root alone since Linux 5.10
            raise UsageError("rapl", _why(error), ALLOW.format(root)) from None
        self.total = " + ".join(sorted(self._domains)) + ": processor alone, without disks, fans and other boards"

    def read(self) -> Sample:
        before, then = self._last
        try:
            self._last = now, counters = self._counters()
        except OSError as error:
            raise SourceEnded("rapl: " + _why(error)) from None
        rails = {}
        for name, (_, size) in self._domains.items():
            used = counters[name] - then[name]
            rails[name] = (used if used >= 0 else used + size) / 1e6 / (now - before)
        return Sample((before + now) / 2, sum(rails.values()), rails, {}, {}, {}, [])

    def _counters(self) -> Tuple[float, Dict[str, int]]:
        return time.perf_counter(), {name: int(_text(path)) for name, (path, _) in self._domains.items()}


def _domains(root: str) -> Dict[str, Tuple[str, int]]:
    """By name of a counter, such as "package-0" and "dram-0", its file and the microjoules after which it wraps around
    to zero."""
    found: Dict[str, Tuple[str, int]] = {}
    for folder in sorted(glob.glob(f"{root}/intel-rapl:*")):
        name = _text(f"{folder}/name")
        if name.startswith("dram"):  # belongs to package N, whose folder is intel-rapl:N
            name += "-" + os.path.basename(folder).split(":")[1]
        if name.startswith(COUNTED):
            found[name] = f"{folder}/energy_uj", int(_text(f"{folder}/max_energy_range_uj"))
    return found


def _text(path: str) -> str:
    with open(path, encoding="ascii") as stream:
        return stream.read().strip()


def _why(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"{error.filename} can be read by root alone"
    return f"{error.filename} cannot be read ({error.strerror})"
