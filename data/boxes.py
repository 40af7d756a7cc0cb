"""What an MP4 file, or one of its kin, states of its videos in its boxes."""

import struct
from typing import BinaryIO, Dict, Iterator, List, NamedTuple, Optional, Tuple

LARGEST = 64 << 20  # bytes: of days of video
HEAD = 8  # bytes of a box before its content: its length and kind


class Track(NamedTuple):
    """A video."""

    pictures: int  # that it has; 0 where they are told in fragments
    turn: Tuple[int, int, int, int]  # how it is shown, as `turned` takes it


def video_tracks(path: str) -> List[Track]:
    """The videos of a file; none where it is not one of these, or the box that tells of them is not there."""
    with open(path, "rb") as file:
        tracks = [_track(dict(_boxes(content))) for kind, content in _boxes(_index(file)) if kind == b"trak"]
    return [track for track in tracks if track is not None]


def _index(file: BinaryIO) -> bytes:
    """What stands in the first box `moov`; nothing where there is none."""
    while True:
        head = file.read(2 * HEAD)
        if len(head) < HEAD:
            return b""
        length, kind = struct.unpack(">I4s", head[:HEAD])
        if kind == b"moov" and length > HEAD:
            return head[HEAD:] + file.read(max(0, min(length, LARGEST) - len(head)))
        if length == 1 and len(head) == 2 * HEAD:
            length = struct.unpack(">Q", head[HEAD:])[0]
        if length < HEAD:  # up to the end
            return b""
        file.seek(length - len(head), 1)


def _boxes(data: bytes) -> Iterator[Tuple[bytes, bytes]]:
    place = 0
    while place + HEAD <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + HEAD])
        if length < HEAD:
            break
        yield kind, data[place + HEAD : place + length]
        place += length


def _track(boxes: Dict[bytes, bytes]) -> Optional[Track]:
    media = dict(_boxes(boxes.get(b"mdia", b"")))
    if media.get(b"hdlr", b"")[8:12] != b"vide":
        return None
    tables = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
    sizes = tables.get(b"stsz") or tables.get(b"stz2") or b""
    header = boxes.get(b"tkhd", b"")
    matrix = header[52:72] if header[:1] == b"\1" else header[40:60]
    a, b, _, c, d = struct.unpack(">5i", matrix) if len(matrix) == 20 else (1, 0, 0, 0, 1)
    return Track(int.from_bytes(sizes[8:12], "big"), (a, b, c, d))
