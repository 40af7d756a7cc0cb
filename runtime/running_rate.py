"""How likely something is, learnt from how often it happened."""

from typing import Any, Dict

START = 0.5
RATE = 1 / 16.0  # of what is new: some tens of videos tell, and a new scene is learnt as fast


class RunningRate:
    """By any key, the recent share of times that it happened.

    Example:
        >>> chances = RunningRate()
        >>> for _ in range(50):
        ...     chances.count("frame 1", True)
        >>> chances.of("frame 1") > 0.95, chances.of("frame 2")
        (True, 0.5)
    """

    def __init__(self) -> None:
        self._shares: Dict[Any, float] = {}

    def of(self, key: Any) -> float:
        return self._shares.get(key, START)

    def count(self, key: Any, happened: bool) -> None:
        share = self.of(key)
        self._shares[key] = share + RATE * (happened - share)
