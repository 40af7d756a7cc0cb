"""A double of jetson-stats' client that hands out readings of a board without any service.

What it hands out has the shape of what `get_status` of jtop/core/{power,gpu,cpu,memory,temperature}.py builds, and of
what `total_power` in power.py makes of it: for the Nano that of 4.3.2, for the Orins that of 7.2.2. Values are made up.
Messages are those that jtop/jtop.py raises. TLEE_DOUBLE_JTOP is JSON: `board`, `fault` with the number of readings
`after` which it comes, `interval`.
"""

from __future__ import annotations

import copy
import json
import os
import time
from datetime import timedelta

ORDERS = {"board": "nano", "fault": None, "after": 0, "interval": 0.02, **json.loads(os.environ["TLEE_DOUBLE_JTOP"])}


def rail(volt: int, curr: int, **limits: int) -> dict:
    power = volt * curr // 1000
    return {"type": "INA3221", "volt": volt, "curr": curr, **limits, "power": power, "online": True, "avg": power}


def core(online: bool, idle: float, cur: int) -> dict:
    if not online:
        return {"online": False, "model": ""}
    freq = {"min": 102000, "max": 1479000, "cur": cur}
    return {"online": True, "governor": "schedutil", "freq": freq, "info_freq": freq, "idle_state": {}, "idle": idle}


BOARDS = {
    "nano": {
        "power": {
            "rail": {"POM_5V_CPU": rail(5040, 200), "POM_5V_GPU": rail(5040, 100)},
            "tot": {**rail(5000, 620, warn=32760, crit=32760), "name": "POM_5V_IN"},
        },
        "gpu": {
            "gpu": {
                "type": "integrated",
                "status": {"railgate": False, "tpc_pg_mask": False, "3d_scaling": True, "load": 42.0},
                "freq": {"governor": "nvhost_podgov", "cur": 921600, "max": 921600, "min": 76800},
                "power_control": "auto",
            }
        },
        "cpu": {"total": {}, "cpu": [core(True, 40.0, 1479000), core(True, 60.0, 1428000), core(False, 0, 0)]},
        "memory": {"RAM": {}, "SWAP": {}, "EMC": {"cur": 1600000, "max": 1600000, "min": 204000, "val": 12}},
        "temperature": {
            "CPU": {"temp": 38.5, "online": True},
            "GPU": {"temp": 36.0, "online": True},
            "PLL": {"temp": -256, "online": False},
        },
        "nvpmodel": "MAXN",
        "jetson_clocks": True,
    },
}
BOARDS["orin"] = {
    **BOARDS["nano"],
    "power": {
        "rail": {"VDD_CPU_GPU_CV": rail(5080, 600), "VDD_SOC": rail(5080, 250)},
        "tot": {**rail(5080, 1500, warn=4300, crit=5000), "name": "VDD_IN"},
    },
    "temperature": {"cpu": {"temp": 48.5, "online": True}, "cv0": {"temp": -256, "online": False}},
    "nvpmodel": "15W",
    "jetson_clocks": False,
}
SUMMED = {"VDD_CPU_CV": rail(20000, 100), "VDD_GPU_SOC": rail(20000, 200), "VIN_SYS_5V0": rail(5000, 800)}
BOARDS["agx"] = {
    **BOARDS["orin"],
    # 4.3.2 also lists the USB supply, from /sys/class/power_supply, and adds it to the sum.
    "power": {
        "rail": {**SUMMED, "1-00081": {**rail(20000, 3000), "type": "USB"}},
        "tot": {"power": 70000, "avg": 70000},
    },
}


class JtopException(Exception):
    pass


class Named:
    def __init__(self, name: str) -> None:
        self.name = name


class jtop:
    def __init__(self, interval: float = 1.0) -> None:
        self.board, self.readings = copy.deepcopy(BOARDS[ORDERS["board"]]), 0
        print("what a library may print")

    def start(self) -> None:
        messages = {
            "inactive": "The jtop.service is not active. Please run:\nsudo systemctl restart jtop.service",
            "permission": "I can't access jtop.service.\nPlease logout or reboot this board.",
            "version": "Mismatch version jtop service: [4.2.0] and client: [4.3.2]. Please run:\n\nsudo",
        }
        if ORDERS["fault"] == "hang":
            time.sleep(1000)
        if ORDERS["fault"] in messages:
            raise JtopException(messages[ORDERS["fault"]])
        if ORDERS["fault"] == "no sensors":
            self.board["power"] = {}
        self._next()

    def ok(self, spin: bool = False) -> bool:
        time.sleep(ORDERS["interval"])
        fault = ORDERS["fault"] if self.readings >= ORDERS["after"] else None
        if fault == "stop":
            raise JtopException("Lost connection with jtop server")
        if fault == "rail":  # what total_power does when it finds no input rail
            listed = self.board["power"]["rail"]
            self.board["power"]["tot"] = {key: sum(r[key] for r in listed.values()) for key in ("power", "avg")}
        if fault == "mode":
            self.board["nvpmodel"] = "5W"
            self.board["gpu"]["gpu"]["freq"]["cur"] = 640000
        if fault == "current":
            self.board["power"]["tot"]["curr"] = self.board["power"]["tot"]["warn"] + 1
        if fault != "silent":
            self._next()
        return True

    def _next(self) -> None:
        self.readings += 1
        with open("/proc/uptime", encoding="ascii") as stream:
            # The real service writes what /proc/uptime says, whose hundredths are too coarse for so many readings.
            self._uptime = float(stream.read().split()[0]) - 1e-4 / self.readings

    @property
    def interval(self) -> float:
        return ORDERS["interval"]

    @property
    def uptime(self) -> timedelta:
        return timedelta(seconds=self._uptime)

    power = property(lambda self: self.board["power"])
    gpu = property(lambda self: self.board["gpu"])
    cpu = property(lambda self: self.board["cpu"])
    memory = property(lambda self: self.board["memory"])
    temperature = property(lambda self: self.board["temperature"])
    nvpmodel = property(lambda self: Named(self.board["nvpmodel"]))
    jetson_clocks = property(lambda self: self.board["jetson_clocks"])
