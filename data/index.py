"""The pictures of a video in the order of display, and from where each can be decoded."""

import bisect
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from tlee.data.container import Container, DamagedVideo, Packet

# Codecs of which a key frame can be decoded, and all that is displayed after it, without what lies before.
KEYED = {
    *("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4"),
    *("vp8", "vp9", "av1", "theora", "mjpeg", "prores", "dnxhd"),
}

KEPT = 64 << 20  # pixels of pictures that are kept from decoding everything


class PictureIndex:
    """Which packet gives picture i, and where decoding it may begin.

    Args:
        codec: see `Container`.
        packets: of the video.
        pictures: their numbers, in the order of display, without those that are not displayed.
    """

    def __init__(self, codec: str, packets: List[Packet], pictures: List[int]) -> None:
        self.pictures = pictures
        self.place = {packet: i for i, packet in enumerate(pictures)}
        keys = [number for number, packet in enumerate(packets) if packet.key] if codec in KEYED else []
        # Where decoding may begin, by packet and by place: at the first packet always, and at key frames. Both rise, to
        # be searched; a key frame that is displayed before an earlier one is left out.
        self._keys, self._places = [0], [-1]
        for key in keys:
            if key > 0 and self.place.get(key, -1) > self._places[-1]:
                self._keys.append(key)
                self._places.append(self.place[key])

    def start(self, picture: int) -> int:
        """The last key frame, by its packet, that lies before a picture both in the file and on the screen."""
        in_file = bisect.bisect_right(self._keys, self.pictures[picture])
        return self._keys[min(in_file, bisect.bisect_right(self._places, picture)) - 1]

    def depths(self) -> np.ndarray:
        """How many packets are decoded to reach each picture, its own included: (pictures,) int."""
        packets, keys = np.array(self.pictures), np.array(self._keys)
        in_file = np.searchsorted(keys, packets, "right")
        on_screen = np.searchsorted(self._places, np.arange(len(packets)), "right")
        return packets - keys[np.minimum(in_file, on_screen) - 1] + 1


def stated_index(container: Container) -> Optional[PictureIndex]:
    """The index as the packets say it; None where they do not say the order of display for certain."""
    packets = container.packets
    shown = [number for number, packet in enumerate(packets) if packet.shown]
    if any(packets[number].reordered for number in shown):
        if not container.stamped or not _orders(packets, shown):
            return None
        shown.sort(key=lambda number: packets[number].time or 0)
    hidden = _undecodable(container, shown)
    return PictureIndex(container.codec, packets, [number for number in shown if number not in hidden])


def decoded_index(container: Container, keyed: bool = True) -> Tuple[PictureIndex, Optional[Dict[int, Any]]]:
    """The index as decoding everything shows it, and all pictures by their packets, if they are small.

    Args:
        keyed: whether key frames are believed; else all decoding begins at the first packet.
    """
    codec = container.codec if keyed else ""
    try:
        pictures, kept = _decoded(container)
    except DamagedVideo:
        pictures, kept = _decoded(container)
    return PictureIndex(codec, container.packets, pictures), kept


def _decoded(container: Container) -> Tuple[List[int], Optional[Dict[int, Any]]]:
    numbers: Dict[int, None] = {}
    kept: Optional[Dict[int, Any]] = {}
    for number, picture in container.decode(0):
        numbers.setdefault(number)
        if kept is not None:
            kept.setdefault(number, picture)
            if len(kept) * container.pixels > KEPT:
                kept = None
    return list(numbers), kept


def _orders(packets: List[Packet], shown: List[int]) -> bool:
    """Whether stated times put pictures in order: each has its own, and they do not begin anew, as in recordings that
    were put together."""
    times = [packets[number].time for number in shown]
    keys = [packets[number].time for number in shown if packets[number].key]
    return None not in times and len(set(times)) == len(times) and keys == sorted(keys)  # type: ignore[type-var]


def _undecodable(container: Container, shown: List[int]) -> List[int]:
    """Pictures that refer to what was cut off before the file's first key frame: decoders differ in what they show."""
    key = next((number for number, packet in enumerate(container.packets) if packet.key), 0)
    if key not in shown:
        return []
    doubtful = [number for number in shown if number < key] + shown[: shown.index(key)]
    if not doubtful:
        return []
    try:
        decoded = {number for number, _ in container.decode(0, max(doubtful + [key]), doubtful)}
    except DamagedVideo:
        decoded = {number for number, _ in container.decode(0, max(doubtful + [key]), doubtful)}
        container.damaged = False  # what is cut off says nothing of the rest
    return [number for number in doubtful if number not in decoded]
