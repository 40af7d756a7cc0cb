"""A source of power readings: what jtop, NVML and RAPL have in common."""

from typing import Dict, List, NamedTuple, Optional


class Sample(NamedTuple):
    """One reading. What a source does not know is missing from its dictionaries."""

    time: float  # `time.perf_counter()` of it
    watts: Optional[float]  # the total, see `Source.total`; None where it is unknown
    rails: Dict[str, float]  # watts by name
    loads: Dict[str, float]  # per cent by "GPU", "CPU", "EMC"
    clocks: Dict[str, float]  # MHz by the same
    temperatures: Dict[str, float]  # degrees Celsius by sensor
    throttled: List[str]  # why clocks are held down now, for people
    state: Dict[str, str] = {}  # settings of the machine that affect its power


class SourceEnded(Exception):
    """A source will give no more readings; the message is the reason."""


class Source:
    """Readings of power, until `close`."""

    name: str  # of `tlee.power.sources.SOURCES`
    total: str  # what the total covers, for people
    interval: float  # seconds between readings
    paced = False  # whether `read` itself waits until the next reading is there

    def read(self) -> Sample:
        """The next reading. Raises SourceEnded where there will be none."""
        raise NotImplementedError  # abstract

    def close(self) -> None:
        """Free all resources. May be called twice, and while another thread is in `read`, which then raises."""
