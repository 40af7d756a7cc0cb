"""What opens a video file: its packets, listed without decoding, and a decoder that begins at any of them."""

from typing import Any, Collection, Generator, List, NamedTuple, Optional, Tuple

import numpy as np

from tlee.errors import InputError


class Packet(NamedTuple):
    """A coded picture, in the order of decoding."""

    time: Optional[int]  # when it is displayed, in any unit; None where the file does not say
    key: bool  # whether the file calls it a key frame
    shown: bool  # False where the file hides it: before a cut, or only referred to
    reordered: bool  # whether it may be displayed in another place than it is decoded


class DamagedVideo(Exception):
    """Errors were found in decoding, for the first time: pictures may be missing among those that came."""


class Container:
    """A video file that is open.

    Attributes:
        codec: FFmpeg's name of it.
        packets: of its video, in the order of decoding, all that are whole.
        stamped: whether the format says of each picture when it is displayed, rather than when it is decoded.
        missing: how many more pictures the file states than it holds, because it breaks off.
        pixels: of a picture, as stated, or as a guess.
        concurrent: whether it gains from decoding at two places at once.
        damaged: whether errors were found in decoding, which goes on behind them from then on.
    """

    path: str
    codec: str
    packets: List[Packet]
    stamped: bool
    missing: int
    pixels: int
    concurrent: bool = False
    damaged: bool = False

    def decode(
        self, first: int, last: Optional[int] = None, wanted: Optional[Collection[int]] = None
    ) -> "Generator[Tuple[int, Any], None, None]":
        """Decode from one packet on.

        Begun at the first packet, pictures with errors come as a player shows them. Begun later, they are left out:
        what they refer to may lie before.

        Args:
            first: number of the packet to begin with.
            last: number of the last packet that is needed; None for all.
            wanted: numbers of the packets whose pictures are wanted, None for all. Pictures that neither are wanted nor
                referred to need not be decoded. Emptied meanwhile, it ends decoding.

        Yields:
            number of the packet and picture, which `rgb` takes, in the order of display.

        Raises:
            InputError: it cannot be decoded.
            DamagedVideo
        """
        raise NotImplementedError  # abstract

    def rgb(self, picture: Any) -> np.ndarray:
        """A picture as a player shows it, turned upright: (h, w, 3) uint8 RGB."""
        raise NotImplementedError  # abstract

    def close(self) -> None:
        """Close the file."""


def may_reorder(codec: str, head: bytes) -> bool:
    """Whether a picture may be displayed in another place than it is decoded, by how its packet begins."""
    if codec in IN_ORDER:
        return False
    if codec == "mpeg4":
        place = head.find(b"\0\0\1\xb6")  # of the picture's header; without, nothing is coded
        return place < 0 or len(head) < FILLER or head[place + 4] >> 6 == B_VOP
    if codec in ("mpeg1video", "mpeg2video"):
        place = head.find(b"\0\0\1\0")
        return place < 0 or head[place + 5] >> 3 & 7 == B_PICTURE
    return True


def holds_picture(codec: str, head: bytes) -> bool:
    """Whether a packet's picture is displayed, rather than only referred to."""
    return codec != "vp8" or bool(head[0] >> 4 & 1)


def no_decoder(path: str, codec: str, install: str) -> InputError:
    """For a video that may be sound, but which nothing here decodes."""
    return InputError(
        path, f"there is no decoder for its video ({codec}) here", f"{install}, or re-encode it ({COMMAND})"
    )


def turned(picture: np.ndarray, across: int, over: int, under: int, down: int) -> np.ndarray:
    """A picture, (h, w, 3), turned by right angles and mirrored: column x and row y come to across * x + under * y
    and over * x + down * y, from the other side where that is negative."""
    if abs(over) > abs(across):
        picture, across, down = picture.transpose(1, 0, 2), under, over
    return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


# Codecs of which packets come in the order of display, one picture each.
IN_ORDER = {
    *("vp8", "vp9", "av1", "theora", "mjpeg", "png"),
    *("gif", "flv1", "h263", "cinepak", "msmpeg4v3", "prores", "dnxhd"),
}
FILLER = 16  # bytes: a shorter packet of MPEG-4 repeats a picture
B_VOP, B_PICTURE = 2, 3
HD_LINES = 576  # of more, players take BT.709's colours where a file does not say
COMMAND = "ffmpeg -i FILE -c:v libx264 NEW.mp4"
REENCODE = f"re-encode it ({COMMAND})"
DAMAGED = "copy the file again, or " + REENCODE
HEAD = 1024  # bytes of a packet that say what it holds
