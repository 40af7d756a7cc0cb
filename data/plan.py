"""Decoding of wanted pictures in any order, none of them twice, and little else."""

from collections import Counter, OrderedDict, defaultdict
from typing import Any, Callable, Dict, Optional, Sequence, Set

import numpy as np

from tlee.data.container import Container
from tlee.data.index import PictureIndex

ROOM = 256 << 20  # bytes that wanted pictures may take undecided, and again decoders under way
DECODER = 12  # pictures that a decoder holds, about
YUV = 1.5  # bytes of a pixel
Prepare = Callable[[np.ndarray], np.ndarray]


class MisstatedVideo(Exception):
    """A picture is not there, or pictures come in another order, than the packets say."""


class Run:
    """A decoder under way, which gives wanted pictures from one packet on.

    Attributes:
        wanted: places of the pictures that have not come.
    """

    def __init__(self, container: Container, index: PictureIndex, start: int, wanted: Set[int]) -> None:
        self.wanted, self._index, self._before = set(wanted), index, -1
        packets = {index.pictures[place] for place in wanted}
        self._pictures = container.decode(start, max(packets), packets)

    def up_to(self, place: int) -> Dict[int, Any]:
        """Pictures up to that of a place, by their places; it is not among them where it does not come."""
        found: Dict[int, Any] = {}
        for packet, picture in self._pictures:
            came = self._index.place[packet]
            if came <= self._before:
                raise MisstatedVideo
            self._before = came
            self.wanted.discard(came)
            found[came] = picture
            if came == place:
                break
        return found

    def close(self) -> None:
        """Stop."""
        self._pictures.close()


class Plan:
    """Gives pictures by their places in a video. Those that are wanted later and come by are kept; what neither is
    wanted nor referred to is not decoded, and nothing before it is needed.

    Args:
        wanted: places of the pictures, as often as they will be taken, in any order.
        prepare: applied to each picture.
        decoded: all pictures by their packets, if they have been decoded.
    """

    def __init__(
        self,
        container: Container,
        index: PictureIndex,
        wanted: Sequence[int],
        prepare: Prepare,
        decoded: Optional[Dict[int, Any]] = None,
    ) -> None:
        self._container, self._index, self._prepare = container, index, prepare
        self._left = Counter(wanted)
        size = YUV * container.pixels
        self._waits = size * len(self._left) <= ROOM  # whether pictures are prepared only when they are taken
        self._runs: OrderedDict[int, Run] = OrderedDict()  # by the packet that they began with
        self._most = max(1, int(ROOM / max(1, DECODER * size)))  # of these
        self._groups: Dict[int, Set[int]] = defaultdict(set)  # wanted places, by the packet that decoding begins with
        self._kept: Dict[int, Callable[[], np.ndarray]] = {}
        for place in self._left:
            if decoded is None:
                self._groups[index.start(place)].add(place)
            else:
                self._keep(place, decoded[index.pictures[place]])

    def take(self, place: int) -> np.ndarray:
        """A wanted picture, prepared.

        Raises:
            InputError: it cannot be decoded.
            MisstatedVideo, DamagedVideo
        """
        if place not in self._kept:
            start = self._index.start(place)
            # From a key frame that is none it does not come: what it needs may lie anywhere before.
            if not self._decode(start, place) and (start == 0 or not self._decode(0, place)):
                raise MisstatedVideo
        self._left[place] -= 1
        return self._kept[place]() if self._left[place] else self._kept.pop(place)()

    def close(self) -> None:
        """Stop decoding."""
        while self._runs:
            self._runs.popitem()[1].close()

    def _decode(self, start: int, place: int) -> bool:
        """Decode on from a start up to a picture; whether it came."""
        run = self._runs.pop(start, None)
        if run is None or place not in run.wanted:
            wanted = {other for other in self._groups[start] if self._left[other] and other not in self._kept}
            run = Run(self._container, self._index, start, wanted | {place})
        for found, picture in run.up_to(place).items():
            self._keep(found, picture)
        if place in self._kept and run.wanted:
            self._runs[start] = run
            if len(self._runs) > self._most:
                self._runs.popitem(last=False)[1].close()
        else:
            run.close()
        return place in self._kept

    def _keep(self, place: int, picture: Any) -> None:
        if self._waits:
            self._kept[place] = lambda: self._prepare(self._container.rgb(picture))
        else:
            prepared = self._prepare(self._container.rgb(picture))
            self._kept[place] = lambda: prepared
