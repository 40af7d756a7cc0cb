"""jtop's structures for a Jetson as the values of a `Sample`.

The structures are those of jetson-stats 4.0 to 7.2, described in the docstrings of jtop/jtop.py there: milliwatts,
milliamperes, kilohertz, degrees Celsius, per cent.
"""

from typing import Any, Dict, List, NamedTuple, Optional, Tuple

# What input rails carry: NVIDIA's developer guides, "Software-Based Power Consumption Modeling", for each board, and of
# the Nano's also https://forums.developer.nvidia.com/t/power-consumption-monitoring/73608/8.
INPUTS = {
    "POM_5V_IN": "all that the board draws at its 5 V input",
    "VDD_IN": "all that the module draws, without the carrier board",
    "VIN": "all that the carrier board draws, module included",
}
SUM = "no rail carries all, so their sum; one that feeds another would count twice"


class Meter(NamedTuple):
    """What the total of a board is made of: an input rail, or where it has none, all its rails."""

    input: Optional[str]
    rails: Tuple[str, ...]

    def describe(self) -> str:
        """What the total covers, for people."""
        if self.input is None:
            return f"{' + '.join(self.rails)}: {SUM}"
        return self.input + ": " + INPUTS.get(self.input, "what jtop takes for the board's input")

    def total(self, watts: Dict[str, float], name: Optional[str]) -> Optional[float]:
        """Watts of all, from what `rails` returned; None where a rail is missing. When an input rail disappears, jtop's
        own total silently becomes the sum of the others."""
        wanted = self.rails if name is None else (name,)
        if name != self.input or any(rail not in watts for rail in wanted):
            return None
        return sum(watts[rail] for rail in wanted)


def rails(power: Dict[str, Any]) -> Tuple[Dict[str, float], Optional[str]]:
    """Watts of each rail, the input rail among them, and the input rail's name, from `jtop.power`.

    jtop takes the input rail out of "rail" and makes it "tot"; where there is none, "tot" is a sum. On a board without
    sensors both are missing. Only what a sensor measures counts: 4.x lists USB supplies beside the rails, with what was
    agreed with them.
    """
    listed, total = power.get("rail", {}), power.get("tot", {})
    name = total.get("name", "input" if "curr" in total else None)
    if name is not None:
        listed = dict(listed, **{name: total})
    measured = {rail: values for rail, values in listed.items() if values.get("type", "INA").startswith("INA")}
    return {rail: values["power"] / 1e3 for rail, values in measured.items() if "power" in values}, name


def meter(power: Dict[str, Any]) -> Optional[Meter]:
    """What the total is made of from now on; None where no rail is measured."""
    watts, name = rails(power)
    return Meter(name, tuple(sorted(watts))) if watts else None


def loads_and_clocks(jetson: Any) -> Tuple[Dict[str, float], Dict[str, float]]:
    """Per cent and MHz of GPU (the first one), CPU (mean load and highest clock of the cores that are online) and EMC,
    as far as the board reports them, from a `jtop.jtop` that was started."""
    loads: Dict[str, Optional[float]] = {}
    khz: Dict[str, Optional[float]] = {}
    for gpu in list(jetson.gpu.values())[:1]:
        loads["GPU"], khz["GPU"] = gpu.get("status", {}).get("load"), gpu.get("freq", {}).get("cur")
        if khz["GPU"] is not None and gpu.get("power_control") == "nvml":
            khz["GPU"] *= 1e3  # on Thor, jtop passes on NVML's megahertz
    cores = [core for core in jetson.cpu.get("cpu", []) if core.get("online")]
    idle = [core["idle"] for core in cores if "idle" in core]
    if idle:
        loads["CPU"] = 100 - sum(idle) / len(idle)
    khz["CPU"] = max((core["freq"]["cur"] for core in cores if "cur" in core.get("freq", {})), default=None)
    memory = jetson.memory.get("EMC", {})
    loads["EMC"], khz["EMC"] = memory.get("val"), memory.get("cur")
    clocks = {name: value / 1e3 for name, value in khz.items() if value is not None}
    return {name: float(value) for name, value in loads.items() if value is not None}, clocks


def temperatures(jetson: Any) -> Dict[str, float]:
    """Degrees Celsius by the board's own names; sensors that are off are left out."""
    return {name: float(zone["temp"]) for name, zone in jetson.temperature.items() if zone.get("online", True)}


def state(jetson: Any) -> Dict[str, str]:
    """Power mode and whether clocks are fixed, as far as the board has them."""
    found = {} if jetson.nvpmodel is None else {"nvpmodel": str(jetson.nvpmodel.name)}
    if jetson.jetson_clocks is not None:
        found["jetson_clocks"] = "on" if jetson.jetson_clocks else "off"
    return found


def over_limits(power: Dict[str, Any]) -> List[str]:
    """Rails that draw more current than the limit at which the board slows its clocks down."""
    every = dict(power.get("rail", {}))
    if "name" in power.get("tot", {}):
        every[power["tot"]["name"]] = power["tot"]
    over = [name for name, rail in every.items() if 0 < rail.get("warn", 0) < rail.get("curr", 0)]
    return [f"{name} above its current limit" for name in sorted(over)]
