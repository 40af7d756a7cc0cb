"""Where readings of power come from: one class for all sources, and finding the one that this machine has."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from tlee.errors import TleeError, UsageError

SOURCES = ("jtop", "nvml", "rapl")  # in the order in which they are tried
CHOICES = ("auto",) + SOURCES + ("none",)


class Sample(NamedTuple):
    """One reading. What a source does not know is missing from its dictionaries.

    Attributes:
        time: `time.perf_counter()` of it.
        watts: the total, see `Source.total`; None where it is unknown.
        rails: watts by name.
        loads, clocks: per cent and MHz by "GPU", "CPU", "EMC".
        temperatures: degrees Celsius by sensor.
        throttled: why clocks are held down now, for people.
    """

    time: float
    watts: Optional[float]
    rails: Dict[str, float]
    loads: Dict[str, float]
    clocks: Dict[str, float]
    temperatures: Dict[str, float]
    throttled: List[str]


class SourceEnded(Exception):
    """A source will give no more readings: its text says why."""


class Source:
    """Readings of power, until `close`.

    Attributes:
        name: one of `SOURCES`.
        total: what the total covers, for people.
        interval: seconds between readings.
        paced: whether `read` itself waits until the next reading is there.

    Example:
        source, reason = open_source()
        if source is not None:
            print(source.read().watts, "W:", source.total)
            source.close()
    """

    name: str
    total: str
    interval: float
    paced = False

    def state(self) -> Dict[str, str]:
        """Settings of the machine that decide what it draws, as they were at the last reading."""
        return {}

    def read(self) -> Sample:
        """The next reading.

        Raises:
            SourceEnded: there will be none.
        """
        raise NotImplementedError  # abstract

    def close(self) -> None:
        """Free what the source holds; can be done twice, and while another thread is in `read`, which then raises."""


def open_source(choice: str = "auto") -> Tuple[Optional[Source], Optional[str]]:
    """The source that this machine has, or None and a line that says why.

    Args:
        choice: a name of `SOURCES`; "auto" for the first of them that works, "none" for none.

    Raises:
        UsageError: a source was named that does not work here, or that does not exist. "auto" and "none" never raise.
    """
    if choice == "none":
        return None, "no power source was asked for"
    if choice not in CHOICES:
        raise UsageError("power source", f"there is no {choice!r}", "choose from " + ", ".join(CHOICES))
    if choice != "auto":
        return _opener(choice)(), None
    tried = []
    for name in SOURCES:
        try:
            return _opener(name)(), None
        except TleeError as error:
            tried.append(f"{name}: {error.problem} ({error.remedy})")
        except Exception as error:  # whatever a vendor's library throws, a measurement goes on without power
            tried.append(f"{name}: {error!r}")
    return None, " ".join("; ".join(tried).split())


def _opener(name: str) -> Callable[[], Any]:
    # Imported where asked for: each knows this module.
    if name == "jtop":
        from tlee.power.jtop import Jtop

        return Jtop
    if name == "nvml":
        from tlee.power.nvml import Nvml

        return Nvml
    from tlee.power.rapl import Rapl

    return Rapl
