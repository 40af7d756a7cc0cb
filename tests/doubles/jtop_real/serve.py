"""The real service of jetson-stats on a board of files: `python serve.py FOLDER`, until it is terminated.

FOLDER/sys takes the place of /sys for power, GPU and temperatures; the socket is FOLDER/jtop.sock. What the service
wants beyond that (to be root, a group, a folder for its settings under the interpreter) is not needed for that.
"""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace

import jtop.core.config
import jtop.core.gpu
import jtop.core.power
import jtop.core.temperature
import jtop.service

FOLDER = sys.argv[1]


def on_files(module, name: str) -> None:
    """Let a function of the service that looks through a folder under /sys look under FOLDER."""
    real = getattr(module, name)
    setattr(module, name, lambda path: real(FOLDER + path))


on_files(jtop.core.power, "find_all_i2c_power_monitor")
on_files(jtop.core.power, "find_all_system_monitor")
on_files(jtop.core.gpu, "find_igpu")
on_files(jtop.core.temperature, "get_virtual_thermal_temperature")
on_files(jtop.core.temperature, "get_hwmon_thermal_system")
jtop.service.get_hardware = dict  # this machine's name: not every container shows one
jtop.core.config.get_config_service = lambda *_: FOLDER + "/settings"
jtop.service.JTOP_PIPE = FOLDER + "/jtop.sock"
jtop.service.getgrnam = lambda _: SimpleNamespace(gr_gid=os.getgid())
os.getuid = lambda: 0
os.chown = lambda *_: None

server = jtop.service.JtopServer(force=True)
server.start()
print("ready", flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
try:
    server.join()
finally:
    server.close()
