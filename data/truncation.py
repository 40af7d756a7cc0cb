"""Whether a video file breaks off, by the sizes that its format states."""

import os
import struct
from typing import BinaryIO, Optional

SEGMENT = b"\x18\x53\x80\x67"  # of Matroska and WebM, with all that follows the header
EBML = b"\x1a\x45\xdf\xa3"


def missing_share(path: str) -> float:
    """The share of its bytes that a file lacks, from 0 up to but without 1; 0 where its format does not say. Known for
    MP4 and its kin, AVI up to 1 GB, and Matroska."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        stated = _stated_size(file, size)
    return 1 - size / stated if stated and stated > size else 0.0


def _stated_size(file: BinaryIO, size: int) -> Optional[int]:
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        return struct.unpack("<I", head[4:8])[0] + 8
    if head[:4] == EBML:
        file.seek(4)
        return _segment_end(file)
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return _boxes_end(file, size)
    return None


def _boxes_end(file: BinaryIO, size: int) -> int:
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(16)
        if len(head) < 8:
            break
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        if length < 8:  # 0: up to the end
            return size
        place += length
    return place


def _segment_end(file: BinaryIO) -> Optional[int]:
    length = _number(file)
    if length is None:
        return None
    file.seek(length, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return None
    length = _number(file)
    return None if length is None else file.tell() + length


def _number(file: BinaryIO) -> Optional[int]:
    """A number of variable length; None where it is unknown, as in a live recording."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    more = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> more)]) + file.read(more), "big")
    return None if value == (1 << 7 * (more + 1)) - 1 else value
