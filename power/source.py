"""A source of power readings: what jtop, NVML and RAPL have in common."""

from typing import Dict, List, NamedTuple, Optional


class Sample(NamedTuple):
    """One reading. What a source does not know is missing from its dictionaries.

    Attributes:
        time: `time.perf_counter()` of it.
        watts: the total, see `Source.total`; None where it is unknown.
        rails: watts by name.
        loads, clocks: per cent and MHz by "GPU", "CPU", "EMC".
        temperatures: degrees Celsius by sensor.
        throttled: why clocks are held down now, for people.
        state: settings of the machine that affect its power.
    """

    time: float
    watts: Optional[float]
    rails: Dict[str, float]
    loads: Dict[str, float]
    clocks: Dict[str, float]
    temperatures: Dict[str, float]
    throttled: List[str]
    state: Dict[str, str] = {}


class SourceEnded(Exception):
    """A source will give no more readings; the message is the reason."""


class Source:
    """Readings of power, until `close`.

    Attributes:
        name: one of `tlee.power.sources.SOURCES`.
        total: what the total covers, for people.
        interval: seconds between readings.
        paced: whether `read` itself waits until the next reading is there.
    """

    name: str
    total: str
    interval: float
    paced = False

    def read(self) -> Sample:
        """The next reading.

        Raises:
            SourceEnded: there will be none.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Free all resources. May be called twice, and while another thread is in `read`, which then raises."""
