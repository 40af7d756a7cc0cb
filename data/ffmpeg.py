"""Video files through FFmpeg's libraries, by PyAV."""

import contextlib
import itertools
import os
from typing import Any, Collection, Generator, Iterator, List, NamedTuple, Optional, Tuple

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from av.video.reformatter import VideoReformatter

from tlee.data.container import (
    DAMAGED,
    HD_LINES,
    HEAD,
    Container,
    DamagedVideo,
    Packet,
    holds_picture,
    may_reorder,
    no_decoder,
    turned,
)
from tlee.data.truncation import missing_share
from tlee.errors import MORE_MEMORY, InputError

# Videos, and no lists of other addresses that are named like one.
FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,vvc,obu,ivf,mjpeg,flv,live_flv,asf,ogg,gif,apng,mxf,nut,"
    "rm,dv,wtv,vc1,dirac,yuv4mpegpipe"
)
# Those that say of each picture when it is displayed. Others say it of some, or of decoding, and FFmpeg guesses.
STAMPED = {"mov", "matroska", "webm", "mpegts", "flv"}
# Codecs of which FFmpeg knows the pictures that none refers to. (In HEVC, those of a lower layer may be referred to.)
SKIPPING = {"h264", "mpeg1video", "mpeg2video", "mpeg4"}
NAMES = {
    "flv": "flv1",
    "libdav1d": "av1",
    "libvpx-vp9": "vp9",
    "libvpx": "vp8",
}  # of codecs, where a decoder has another
HELD = 64 << 20  # bytes of packets that are kept in memory; of larger files they are read again
AHEAD = 2  # pictures that are decoded at once, for each core: one often waits for another
THREADED = 320 * 240  # pixels: smaller pictures are decoded before more threads have started
BT709, UNSPECIFIED = 1, 2  # FFmpeg's numbers of colour spaces
# FFmpeg would decode a picture to know of what kind it is, which costs more than all the rest of opening. With releases
# before FFmpeg 7, stated turns would be lost.
UNPROBED = {"codec_whitelist": "none"} if av.library_versions["libavformat"] >= (61,) else {}
NO_MEMORY = "not enough memory to decode it"
UNKNOWN = "PyAV does not say of which codec"
INSTALL = "pip install --upgrade av"  # PyAV's own FFmpeg has more decoders than most
NO_VIDEO = "not a video that can be decoded, or its end is missing"
ATTACHED_PICTURE = 0x400  # of FFmpeg's dispositions
# Its own threads gain nothing here, and a process that is forked meanwhile would wait for them for ever.
REFORMAT = {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
# Errors would be handed to Python, whatever the level: a decoder's thread then waits for the interpreter's lock, which
# the one that closes the decoder holds while it waits for the thread.
av.logging.set_level(None)


class Stamp(NamedTuple):
    """What a packet is known by, when it is read again."""

    pts: Optional[int]
    dts: Optional[int]
    size: int


class FFmpegContainer(Container):
    """A video file, opened by PyAV.

    Args:
        threads: that decode; None for as many as there are cores.

    Raises:
        InputError: it is no video, has no picture, or its decoder is not there.
    """

    def __init__(self, path: str, threads: Optional[int] = None) -> None:
        self.path = path
        self._threads = threads or AHEAD * len(os.sched_getaffinity(0))
        self._reformatter = VideoReformatter()
        with self._opened() as (container, stream):
            context, formats = stream.codec_context, container.format.name.split(",")
            self.codec = NAMES.get(context.name, context.name)
            self.stamped = not STAMPED.isdisjoint(formats)
            self._list_packets(container, stream)
            largest = max((stamp.size for stamp in self._stamps), default=0)
            # Of MPEG-4 in MP4, FFmpeg only knows the size from decoding: a key frame has about a bit a pixel.
            self.pixels = context.width * context.height or 8 * largest
            self.concurrent = self._threads > 1 and self.pixels >= THREADED
            stated = _stated_count(formats, stream.frames, self._stamps)
        share = missing_share(path)
        count = stated or int(round(len(self.packets) / (1 - share)))
        self.missing = max(0, count - len(self.packets))

    def decode(
        self, first: int, last: Optional[int] = None, wanted: Optional[Collection[int]] = None
    ) -> Generator[Tuple[int, Any], None, None]:
        last = len(self.packets) - 1 if last is None else last
        threads = self._threads if last > first and self.concurrent else 1
        if self.damaged:  # as players do, go on behind what is damaged
            yield from self._decoded(first, last, wanted, 1, skip_errors=True)
            return
        given = set()
        try:
            for number, picture in self._decoded(first, last, wanted, threads):
                given.add(number)
                yield number, picture
        except InvalidDataError:
            self.damaged = True
        # Of several threads one with an error takes sound pictures with it, and PyAV may say nothing of it.
        if threads > 1 and first == 0:
            self.damaged = self.damaged or not given.issuperset(range(last + 1) if wanted is None else wanted)
        if self.damaged:
            raise DamagedVideo

    def rgb(self, picture: Any) -> np.ndarray:
        guessed = picture.colorspace == UNSPECIFIED and picture.height > HD_LINES
        options = dict(REFORMAT, src_colorspace=BT709) if guessed else REFORMAT
        array = self._reformatter.reformat(picture, format="rgb24", **options).to_ndarray()
        matrix = picture.side_data.get("DISPLAYMATRIX")
        return array if matrix is None else turned(array, *np.frombuffer(matrix, np.int32)[[0, 1, 3, 4]].tolist())

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Tuple[Any, Any]]:
        options = dict(UNPROBED, format_whitelist=FORMATS, protocol_whitelist="file")
        container = None
        try:
            container = av.open("file:" + self.path, container_options=options)
            yield container, _video_stream(container, self.path)
        except av.error.MemoryError:
            raise InputError(self.path, NO_MEMORY, MORE_MEMORY) from None
        except FFmpegError:
            if container is not None:
                raise
            raise InputError(self.path, NO_VIDEO, DAMAGED) from None
        finally:
            if container is not None:
                container.close()

    def _list_packets(self, container: Any, stream: Any) -> None:
        self.packets: List[Packet] = []
        self._stamps: List[Stamp] = []
        held, size, breaks_off = [], 0, False
        for packet in _coded(container, stream):
            head = bytes(memoryview(packet)[:HEAD])
            shown = not packet.is_discard and holds_picture(self.codec, head)
            self.packets.append(Packet(packet.pts, packet.is_keyframe, shown, may_reorder(self.codec, head)))
            self._stamps.append(_stamp(packet))
            breaks_off, size = packet.is_corrupt, size + packet.size
            if size <= HELD:
                held.append(packet)
        if breaks_off:  # the last one is cut short
            del self.packets[-1]
        self._held = held if size <= HELD else []

    def _numbered(self, container: Any, stream: Any, first: int) -> Iterator[Tuple[int, Any]]:
        """Packets with their numbers, read again from where a seek leads to. Where that is not known from the list, for
        formats without an index seek by guessing, from the file's beginning."""
        if self._held:
            yield from enumerate(self._held[first:], first)
            return
        if first and self._stamps[first].pts is not None:
            with contextlib.suppress(FFmpegError):
                container.seek(self._stamps[first].pts, stream=stream)
            packets = _coded(container, stream)
            head = next(packets, None)
            number = self._number(head)
            if number is not None and number <= first:
                yield from enumerate(itertools.chain([head], packets), number)
                return
        with self._opened() as (container, stream):
            yield from enumerate(_coded(container, stream))

    def _number(self, packet: Any) -> Optional[int]:
        stamp = packet and _stamp(packet)
        return self._stamps.index(stamp) if self._stamps.count(stamp) == 1 else None

    def _decoded(
        self, first: int, last: int, wanted: Optional[Collection[int]], threads: int, skip_errors: bool = False
    ) -> Iterator[Tuple[int, Any]]:
        with self._opened() as (container, stream):
            context = stream.codec_context
            context.thread_type, context.thread_count = "FRAME", threads
            if any(packet.reordered for packet in self.packets):
                context.options = {"strict": "1"}  # else pictures that wait longer than was guessed are dropped
            needed = wanted if self.codec in SKIPPING and not self.damaged else None
            packets = itertools.takewhile(lambda item: item[0] <= last, self._numbered(container, stream, first))
            for number, packet in itertools.chain(packets, [(last, None)]):
                if number < first:
                    continue
                if wanted is not None and not wanted:
                    return
                if packet is not None:
                    packet.pts = number  # decoders hand it on: a picture is known, whatever the file says of time
                if needed is not None:
                    context.skip_frame = "DEFAULT" if number in needed else "NONREF"
                for frame in self._frames(context, packet, skip_errors):
                    if (wanted is None or frame.pts in wanted) and not (first and frame.is_corrupt):
                        yield frame.pts, frame

    def _frames(self, context: Any, packet: Any, skip_errors: bool) -> List[Any]:
        try:
            return context.decode(packet)
        except av.error.NotImplementedError:  # FFmpeg's own decoder of AV1 only drives hardware
            raise no_decoder(self.path, self.codec, INSTALL) from None
        except InvalidDataError:
            if not skip_errors:
                raise
            return []


def _coded(container: Any, stream: Any) -> Iterator[Any]:
    """Packets with something in them, up to where reading fails."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.error.MemoryError:
        raise
    except FFmpegError:
        pass


def _stated_count(formats: List[str], stated: int, stamps: List[Stamp]) -> int:
    """How many pictures a file says it has, 0 where it does not. (One in fragments says those of the first.)"""
    if "avi" in formats and stamps and stamps[-1].dts is not None:
        return int(stated * len(stamps) / (stamps[-1].dts + 1))  # empty chunks are counted, too, in both
    return stated if "mov" in formats else 0


def _stamp(packet: Any) -> Stamp:
    return Stamp(packet.pts, packet.dts, packet.size)


def _video_stream(container: Any, path: str) -> Any:
    """The stream that a player shows, which is no picture of a cover."""
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not (container.streams.video or container.streams.audio):
        raise InputError(path, NO_VIDEO, DAMAGED)
    if not streams:
        raise InputError(path, "has no video, only sound or a cover", "give a video file")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise no_decoder(path, UNKNOWN, INSTALL)
    return max(decodable, key=lambda stream: stream.codec_context.width * stream.codec_context.height)


def _is_cover(stream: Any) -> bool:
    disposition = getattr(stream, "disposition", None)  # since PyAV 13
    return not stream.average_rate if disposition is None else bool(int(disposition) & ATTACHED_PICTURE)
