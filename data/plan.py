"""Decoding of wanted pictures in any order, none of them twice, and little else."""

import contextlib
import functools
import os
import threading
from collections import Counter, OrderedDict, defaultdict
from concurrent.futures import Future
from typing import Any, Callable, Dict, Optional, Sequence, Set

import numpy as np

from tlee.data.clip import Prepare
from tlee.data.container import Container
from tlee.data.index import PictureIndex

ROOM = 256 << 20  # bytes that wanted pictures may take undecided, and again decoders under way
DECODER = 12  # pictures that a decoder holds, about
YUV = 1.5  # bytes of a pixel
NICE = 10  # of decoding ahead: what is needed now goes first


class MisstatedVideo(Exception):
    """A picture is not there, or pictures come in another order, than the packets say."""


class Run:
    """A decoder under way, which gives wanted pictures from one packet on.

    Attributes:
        wanted: places of the pictures that have not come.
    """

    def __init__(self, container: Container, index: PictureIndex, start: int, wanted: Set[int]) -> None:
        self.wanted, self._index, self._before = set(wanted), index, -1
        self._packets = {index.pictures[place] for place in wanted}
        self._pictures = container.decode(start, max(self._packets), self._packets)
        self._thread: Optional[threading.Thread] = None
        self._ahead: Future[Dict[int, Any]] = Future()

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

    def start_ahead(self, place: int) -> None:
        """Begin with what `up_to` does in another thread, which takes what the first leaves of the cores."""
        self._thread = threading.Thread(target=self._go_ahead, args=(place,))
        self._thread.start()

    def came_ahead(self) -> Dict[int, Any]:
        """Pictures that were decoded ahead, all up to the place that was given; none where it was not begun."""
        if self._thread is None:
            return {}
        self._thread = None
        return self._ahead.result()

    def close(self) -> None:
        """Stop. Does not wait for what is decoded ahead: its thread closes the decoder at the next packet."""
        self._packets.clear()
        if self._thread is None:
            self._pictures.close()

    def _go_ahead(self, place: int) -> None:
        os.nice(NICE)  # on Linux, that of this thread and of those that the decoder starts
        try:
            self._ahead.set_result(self.up_to(place))
        except Exception as error:
            self._ahead.set_exception(error)
        if not self._packets:  # closed meanwhile
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
                self._keep({place: decoded[index.pictures[place]]})

    def take(self, place: int, following: Optional[int] = None) -> np.ndarray:
        """A wanted picture, prepared. One that may be wanted next, `following`, is decoded at the same time where the
        two have nothing in common.

        Raises:
            InputError: it cannot be decoded.
            MisstatedVideo, DamagedVideo
        """
        if following is not None and self._container.concurrent:
            self._start_ahead(self._index.start(place), following)
        if place not in self._kept:
            start = self._index.start(place)
            # From a key frame that is none it does not come: what it needs may lie anywhere before.
            alone = following is None or self._index.start(following) != start
            if not self._decode(start, place, alone) and (start == 0 or not self._decode(0, place)):
                raise MisstatedVideo
        self._left[place] -= 1
        return self._kept[place]() if self._left[place] else self._kept.pop(place)()

    def close(self) -> None:
        """Stop decoding."""
        while self._runs:
            self._runs.popitem()[1].close()

    def _decode(self, start: int, place: int, alone: bool = False) -> bool:
        """Decode on from a start up to a picture; whether it came."""
        run = self._runs.pop(start, None) or self._begin(start, place, alone)
        self._keep(run.came_ahead())
        if place not in self._kept and place not in run.wanted:
            run.close()
            run = self._begin(start, place)
        if place not in self._kept:
            self._keep(run.up_to(place))
        if place in self._kept and run.wanted:
            self._add(start, run)
        else:
            run.close()
        return place in self._kept

    def _begin(self, start: int, place: int, alone: bool = False) -> Run:
        # A decoder that goes on gives a key frame only after many more, of which none may be needed: rather decode it
        # again, should they be.
        if alone and self._index.pictures[place] == start:
            return Run(self._container, self._index, start, {place})
        wanted = {other for other in self._groups[start] if self._left[other] and other not in self._kept}
        return Run(self._container, self._index, start, wanted | {place})

    def _start_ahead(self, start: int, following: int) -> None:
        other = self._index.start(following)
        if other == start or other in self._runs or following in self._kept or self._most < 2:
            return
        run = self._begin(other, following, alone=True)
        with contextlib.suppress(RuntimeError):  # the system has no thread left: it is decoded when it is taken
            run.start_ahead(following)
            self._add(other, run)

    def _add(self, start: int, run: Run) -> None:
        self._runs[start] = run
        if len(self._runs) > self._most:
            self._runs.popitem(last=False)[1].close()

    def _keep(self, pictures: Dict[int, Any]) -> None:
        for place, picture in pictures.items():
            make = functools.partial(self._prepared, picture)
            self._kept[place] = make if self._waits else functools.partial(np.asarray, make())

    def _prepared(self, picture: Any) -> np.ndarray:
        return self._prepare(self._container.rgb(picture))
