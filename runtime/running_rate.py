"""How likely something is, learnt from how often it happened recently."""

from typing import Any, Dict

START = 0.5
WEIGHT = 1 / 16.0  # of a new observation: a new scene is learnt within some tens of videos


class RunningRate:
    """By any key, the exponentially weighted share of times that it happened.

    Examples:
        >>> rate = RunningRate()
        >>> for _ in range(50):
        ...     rate.count("frame 1", True)
        >>> rate.of("frame 1") > 0.95, rate.of("frame 2")
        (True, 0.5)
    """

    def __init__(self) -> None:
        self._rates: Dict[Any, float] = {}

    def of(self, key: Any) -> float:
        return self._rates.get(key, START)

    def count(self, key: Any, happened: bool) -> None:
        rate = self.of(key)
        self._rates[key] = rate + WEIGHT * (happened - rate)
