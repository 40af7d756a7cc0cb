"""What an MP4 file, or one of its kin, states in its boxes."""

import struct
from typing import BinaryIO, Iterator, Tuple

LARGEST = 64 << 20  # bytes: of days of video
HEAD = 8  # bytes of a box before its content: its length and kind


def picture_count(path: str) -> int:
    """How many pictures its video has, as the file states it; 0 where it states none. Of several videos the longest."""
    with open(path, "rb") as file:
        counts = [_count(track) for kind, track in _boxes(_index(file)) if kind == b"trak"]
    return max(counts, default=0)


def _index(file: BinaryIO) -> bytes:
    """What stands in the first box `moov`; nothing where there is none."""
    while True:
        head = file.read(2 * HEAD)
        if len(head) < HEAD:
            return b""
        length, kind = struct.unpack(">I4s", head[:HEAD])
        skipped = len(head)
        if length == 1 and skipped == 2 * HEAD:
            length = struct.unpack(">Q", head[HEAD:])[0]
        elif kind == b"moov":
            return head[HEAD:] + file.read(min(length, LARGEST) - skipped)
        if length < HEAD:  # up to the end
            return b""
        file.seek(length - skipped, 1)


def _boxes(data: bytes) -> Iterator[Tuple[bytes, bytes]]:
    place = 0
    while place + HEAD <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + HEAD])
        if length < HEAD:
            break
        yield kind, data[place + HEAD : place + length]
        place += length


def _count(track: bytes) -> int:
    """Pictures of a track; 0 of sound."""
    media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b"")))
    if media.get(b"hdlr", b"")[8:12] != b"vide":
        return 0
    tables = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
    sizes = tables.get(b"stsz") or tables.get(b"stz2") or b""
    return int.from_bytes(sizes[8:12], "big")
