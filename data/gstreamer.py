"""Video files through GStreamer: where there is no PyAV, as with JetPack 4."""

import contextlib
import os
import re
from typing import Any, Callable, Collection, Generator, Iterator, List, Optional, Set, Tuple

import numpy as np

from tlee.data.boxes import video_tracks
from tlee.data.colours import LAYOUTS, planes_to_rgb
from tlee.data.container import DAMAGED, HEAD, Container, Packet, holds_picture, may_reorder, no_decoder, turned
from tlee.data.demuxer import INDEXED, NO_VIDEO, PARSERS, STAMPED, Coded, Demuxer, codec_of, demuxer_of, size_of
from tlee.data.pipeline import Gst, NothingDecoded, Pipeline, PipelineError, element, start_gstreamer
from tlee.data.truncation import missing_share
from tlee.errors import InputError

# NVIDIA's decoder on Jetsons, what brings its pictures into plain memory, and the profiles that each board decodes.
HARDWARE, FROM_HARDWARE = "nvv4l2decoder", "nvvidconv"
PROFILES = {
    "h264": {"constrained-baseline", "baseline", "main", "high", "constrained-high", "progressive-high"},
    "hevc": {"main"},
}
HARDWARE_PIXELS = 640 * 480  # smaller pictures are decoded before it has started
SOFTWARE = "avdec_"  # FFmpeg's decoders; where it has none, others
WRONG = {"avdec_png"}  # of GStreamer 1.22, from the second picture on
OTHER_HARDWARE = ("nv", "omx", "v4l2", "va", "msdk", "mfx", "qsv")
HELD = 64 << 20  # bytes of packets that are kept in memory; of larger files they are read again
FED = 1 << 20  # bytes of packets that wait for a decoder
THREADED = 320 * 240  # pixels: smaller pictures are decoded before more threads have started
NAL_KIND, IDR = 31, 5  # of a part of a packet of H.264
MS = 1000 * 1000  # ns: decoders are told that there is a packet every ms
INSTALL = "sudo apt-get install gstreamer1.0-libav gstreamer1.0-plugins-{good,bad,ugly}"


class GStreamerContainer(Container):
    """A video file, opened by GStreamer.

    Args:
        threads: that decode in software; None for as many as there are cores.

    Raises:
        InputError: it is no video, has no picture, or its decoder is not there.
    """

    def __init__(self, path: str, threads: Optional[int] = None) -> None:
        start_gstreamer()
        self.path = path
        self._threads = threads or len(os.sched_getaffinity(0))
        self._converter: Optional[Pipeline] = None
        self._kind = demuxer_of(path)
        self._list_packets()
        self._caps = self._first.caps
        self.stamped, self.pixels = self._kind in STAMPED, size_of(self._caps)
        tracks = video_tracks(path) if self._kind == "qtdemux" else []
        self._turn = tracks[0].turn if tracks else (1, 0, 0, 1)
        self.missing = self._missing(max([track.pictures for track in tracks] or [0]))
        self._ranks = _ranks(self.packets)
        self._software = self._software_decoder()
        self._hardware = bool(self._ranks) and self._has_hardware()

    def decode(
        self, first: int, last: Optional[int] = None, wanted: Optional[Collection[int]] = None
    ) -> Generator[Tuple[int, Any], None, None]:
        last = len(self.packets) - 1 if last is None else last
        given: Set[int] = set()
        if self._hardware and (first == 0 or self._kind in INDEXED):
            try:
                for number, picture in self._decoded_by_hardware(first, last):
                    given.add(number)
                    if wanted is None or number in wanted:
                        yield number, picture
                return
            except PipelineError:
                self._hardware = False  # what it cannot do at once it cannot do later
        try:
            for number, picture in self._decoded(first, last):
                if number not in given and (wanted is None or number in wanted):
                    yield number, picture
        except NothingDecoded:
            return
        except PipelineError as error:
            raise InputError(self.path, f"cannot be decoded ({error})", DAMAGED) from None

    def rgb(self, picture: Any) -> np.ndarray:
        structure = picture.get_caps().get_structure(0)
        sample = picture if structure.get_string("format") in LAYOUTS else self._planar(picture)
        array = planes_to_rgb(sample, structure.get_string("colorimetry"))
        return turned(array, *self._turn)

    def close(self) -> None:
        if self._converter is not None:
            self._converter.close()
            self._converter = None

    def _list_packets(self) -> None:
        self.packets: List[Packet] = []
        self._stamps: List[Tuple[Any, ...]] = []
        self._places: List[Optional[int]] = []
        self._held: List[Coded] = []
        size = 0
        with self._opened() as demuxer:
            for coded in demuxer.packets():
                if not self.packets:
                    self._first, self.codec = coded, codec_of(coded.caps)
                head = coded.data[:HEAD]
                shown = coded.shown and holds_picture(self.codec, head)
                self.packets.append(Packet(coded.pts, coded.key, shown, may_reorder(self.codec, head)))
                self._stamps.append(_stamp(coded))
                self._places.append(coded.place)
                size += len(coded.data)
                if size <= HELD:
                    self._held.append(coded)
            if not self.packets and demuxer.other:
                raise InputError(self.path, "has no video, only sound or a cover", "give a video file")
        if not self.packets:
            raise InputError(self.path, NO_VIDEO, DAMAGED)
        if self.codec == "h264" and self._kind in STAMPED and not _holds_idr(self._first):
            _hide_leading(self.packets)
        if size > HELD:
            self._held = []

    def _missing(self, stated: int) -> int:
        share = missing_share(self.path)
        if not share:
            return 0
        stated = stated or int(round(len(self.packets) / (1 - share)))
        return max(0, stated - len(self.packets))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Demuxer]:
        try:
            demuxer = Demuxer(self.path, self._kind)
        except PipelineError as error:
            raise InputError(self.path, str(error), INSTALL) from None
        with contextlib.closing(demuxer):
            yield demuxer

    def _numbered(self, first: int, last: int) -> Iterator[Tuple[int, Coded]]:
        """Packets with their numbers. Of large files they are read again, from where a seek leads to if that is known
        from the list, or else from the beginning."""
        if self._held:
            yield from enumerate(self._held[first : last + 1], first)
            return
        place = self._places[first] if first and self._kind in INDEXED else None
        for start in [place, None] if place is not None else [None]:
            with self._opened() as demuxer:
                packets = demuxer.packets(start)
                head = next(packets, None)
                number = 0 if start is None else self._number(head)
                if head is None or number is None or number > first:
                    continue
                while head is not None and number <= last:
                    if number >= first:
                        yield number, head
                    head, number = next(packets, None), number + 1
                return

    def _number(self, coded: Optional[Coded]) -> Optional[int]:
        stamp = coded and _stamp(coded)
        return self._stamps.index(stamp) if self._stamps.count(stamp) == 1 else None  # type: ignore[arg-type]

    def _decoded(self, first: int, last: int) -> Iterator[Tuple[int, Any]]:
        """By software, where a picture takes the duration of its packet: that is its number."""
        decoder = element(self._software)
        decoder.set_max_errors(-1)
        threaded = last > first and not 0 < self.pixels < THREADED
        for name, value in (("max-threads", self._threads if threaded else 1), ("output-corrupt", False)):
            if decoder.find_property(name):
                decoder.set_property(name, value)
        for sample in self._fed([decoder], first, last, range(len(self.packets))):
            buffer = sample.get_buffer()
            if not (first and buffer.has_flags(Gst.BufferFlags.CORRUPTED)):
                yield buffer.duration - 1, sample

    def _decoded_by_hardware(self, first: int, last: int) -> Iterator[Tuple[int, Any]]:
        """By NVIDIA's decoder, where a picture takes the time of its packet, which is its place on the screen."""
        parts = [element(PARSERS[self.codec]), element(HARDWARE), element(FROM_HARDWARE)]
        numbers = {rank: number for number, rank in enumerate(self._ranks)}
        before = -1
        for sample in self._fed(parts, first, last, self._ranks, "video/x-raw, format={NV12, I420}"):
            rank = int(round(sample.get_buffer().pts / MS))
            if rank <= before or rank not in numbers:
                raise PipelineError("pictures are not in the order of their time stamps")
            before = rank
            # What it decodes into is little, and must go back.
            own = Gst.Sample.new(sample.get_buffer().copy_deep(), sample.get_caps(), sample.get_segment(), None)
            yield numbers[rank], own

    def _fed(self, parts: List[Any], first: int, last: int, ranks: Any, caps: Optional[str] = None) -> Iterator[Any]:
        """What comes from a decoder that is given packets."""
        source = element("appsrc", format=Gst.Format.TIME, max_bytes=0)
        pipeline = Pipeline(source, *parts, caps=caps)
        feed = _feeder(source, self._numbered(first, last), ranks, self.codec)
        with contextlib.closing(pipeline):
            pipeline.start()
            while True:
                sample = pipeline.pull(feed)
                if sample is None:
                    return
                yield sample

    def _planar(self, picture: Any) -> Any:
        """A picture with 8 bits and a plane for each channel, or RGB."""
        try:
            if self._converter is None:
                caps = f"video/x-raw, format={{{', '.join(sorted(LAYOUTS))}}}"
                parts = element("appsrc", format=Gst.Format.TIME), element("videoconvert", dither=0)
                self._converter = Pipeline(*parts, caps=caps).start()
            self._converter.source.emit("push-sample", picture)
            return self._converter.pull()
        except PipelineError as error:
            raise InputError(self.path, f"its pictures cannot be converted ({error})", DAMAGED) from None

    def _software_decoder(self) -> str:
        kinds = (
            Gst.ELEMENT_FACTORY_TYPE_DECODER
            | Gst.ELEMENT_FACTORY_TYPE_MEDIA_VIDEO
            | Gst.ELEMENT_FACTORY_TYPE_MEDIA_IMAGE
        )
        caps = Gst.Caps.from_string(_stated(self._caps, self.codec))
        for rank in (Gst.Rank.MARGINAL, Gst.Rank.NONE):
            every = Gst.ElementFactory.list_get_elements(kinds, rank)
            fitting = Gst.ElementFactory.list_filter(every, caps, Gst.PadDirection.SINK, False)
            names = [factory.get_name() for factory in sorted(fitting, key=lambda factory: -factory.get_rank())]
            names = [name for name in names if not name.startswith(OTHER_HARDWARE) and name not in WRONG]
            if names:
                return str(next((name for name in names if name.startswith(SOFTWARE)), names[0]))
        raise no_decoder(self.path, self.codec, INSTALL)

    def _has_hardware(self) -> bool:
        profile = self._caps.get_structure(0).get_string("profile")
        there = all(Gst.ElementFactory.find(name) for name in (HARDWARE, FROM_HARDWARE, PARSERS.get(self.codec, "")))
        return there and self.pixels >= HARDWARE_PIXELS and profile in PROFILES.get(self.codec, ())


def _feeder(source: Any, packets: Iterator[Tuple[int, Coded]], ranks: Any, codec: str) -> Callable[[], bool]:
    """A function that gives a decoder packets, as many as wait for it at most, and says whether it gave any."""
    last_caps: List[Any] = [Gst.Caps.new_empty()]
    told: List[str] = []
    ended: List[bool] = []

    def feed() -> bool:
        fed = False
        while not ended and source.get_property("current-level-bytes") < FED:
            fed = True
            number, coded = next(packets, (0, None))
            if coded is None:
                ended.append(True)
                source.emit("end-of-stream")
                break
            if not coded.caps.is_equal(last_caps[0]):
                last_caps[0] = coded.caps
                stated = _stated(coded.caps, codec)
                if told[-1:] != [stated]:
                    told.append(stated)
                    source.set_property("caps", Gst.Caps.from_string(stated))
            buffer = Gst.Buffer.new_wrapped(coded.data)
            buffer.pts, buffer.duration = ranks[number] * MS, number + 1
            if not coded.key:
                buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
            source.emit("push-buffer", buffer)
        return fed

    return feed


def _stated(caps: Any, codec: str) -> str:
    """What decoders want to be told of a stream: all that its reader tells, and what some do not. But not the rate:
    readers guess it anew in each fragment, and decoders would begin anew."""
    structure = caps.get_structure(0)
    extra = {}
    if codec in ("h264", "hevc"):
        cut = {"h264": "avc", "hevc": "hvc1"}[codec]
        extra = {"alignment": "au", "stream-format": cut if structure.has_field("codec_data") else "byte-stream"}
    elif codec in PARSERS:
        extra = {"parsed": "true"}
    text = re.sub(r", framerate=\(fraction\)[^,;]*", "", caps.to_string())
    return text + "".join(f", {name}={value}" for name, value in extra.items() if not structure.has_field(name))


def _hide_leading(packets: List[Packet]) -> None:
    """Of H.264 that was cut before a key frame, hide what is displayed before that: it refers to what was cut off.
    FFmpeg leaves it out, but not the one that JetPack 4 has, which shows it in grey."""
    begin = packets[0].time
    for number, packet in enumerate(packets[1:] if packets[0].key else [], 1):
        if begin is None or packet.time is None or packet.time >= begin:
            break
        packets[number] = packet._replace(shown=False)


def _holds_idr(coded: Coded) -> bool:
    """Whether a packet of H.264 is one of the key frames before which nothing is displayed that follows in the file."""
    if not coded.caps.get_structure(0).has_field("codec_data"):
        return any(ord(kind) & NAL_KIND == IDR for kind in re.findall(b"\0\0\1(.)", coded.data, re.DOTALL))
    place = 0
    while place + 4 < len(coded.data):
        if coded.data[place + 4] & NAL_KIND == IDR:
            return True
        place += 4 + int.from_bytes(coded.data[place : place + 4], "big")
    return False


def _ranks(packets: List[Packet]) -> List[int]:
    """Of each packet, which picture on the screen it is by its time; none where times do not say it."""
    times = [packet.time for packet in packets]
    if None in times or len(set(times)) < len(times):
        return []
    place = {
        number: rank for rank, number in enumerate(sorted(range(len(times)), key=lambda number: times[number] or 0))
    }
    return [place[number] for number in range(len(times))]


def _stamp(coded: Coded) -> Tuple[Any, ...]:
    return coded.pts, coded.dts, len(coded.data)
