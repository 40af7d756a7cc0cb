"""The packets of a video file, as GStreamer reads them, without decoding."""

from typing import Any, Iterator, NamedTuple, Optional

from tlee.data.container import DAMAGED, REENCODE
from tlee.data.pipeline import Gst, GstBase, Pipeline, PipelineError, element
from tlee.errors import InputError

# What opens a file of a type. Lists of other addresses are no videos.
DEMUXERS = {
    "video/quicktime": "qtdemux",
    "application/x-3gp": "qtdemux",
    "audio/x-m4a": "qtdemux",
    "video/x-matroska": "matroskademux",
    "audio/x-matroska": "matroskademux",
    "video/webm": "matroskademux",
    "audio/webm": "matroskademux",
    "video/mpegts": "tsdemux",
    "video/mpeg": "mpegpsdemux",
    "video/x-msvideo": "avidemux",
    "video/x-flv": "flvdemux",
    "video/x-ms-asf": "asfdemux",
    "application/ogg": "oggdemux",
    "audio/ogg": "oggdemux",
    "video/ogg": "oggdemux",
    "application/mxf": "mxfdemux",
    "video/x-ivf": "ivfparse",
}
CODECS = {
    "video/x-h264": "h264",
    "video/x-h265": "hevc",
    "video/x-vp8": "vp8",
    "video/x-vp9": "vp9",
    "video/x-av1": "av1",
    "video/x-theora": "theora",
    "image/jpeg": "mjpeg",
    "image/png": "png",
    "video/x-flash-video": "flv1",
    "video/x-h263": "h263",
    "video/x-cinepak": "cinepak",
    "video/x-divx": "mpeg4",
    "video/x-xvid": "mpeg4",
    "video/x-prores": "prores",
    "video/x-dnxhd": "dnxhd",
}
MPEG = {1: "mpeg1video", 2: "mpeg2video", 4: "mpeg4"}
# What finds the pictures in a stream that is not cut into them, as those of some formats are.
PARSERS = {
    "h264": "h264parse",
    "hevc": "h265parse",
    "mpeg1video": "mpegvideoparse",
    "mpeg2video": "mpegvideoparse",
    "mpeg4": "mpeg4videoparse",
    "mjpeg": "jpegparse",
}
# What they shall give, where there is a choice.
WHOLE = {
    "h264parse": "video/x-h264, stream-format=byte-stream, alignment=au",
    "h265parse": "video/x-h265, stream-format=byte-stream, alignment=au",
}
UNCUT = {"tsdemux", "mpegpsdemux", "mxfdemux"}
STAMPED = {"qtdemux", "matroskademux", "tsdemux", "flvdemux"}  # that say when pictures are displayed
INDEXED = {"qtdemux", "matroskademux"}  # that know key frames for certain, and lead to them
FRAGMENTS = "ISO fMP4"  # of which qtdemux takes the length of the first for that of all
TYPE_HEAD = 256 << 10  # bytes that show a file's type
AHEAD = 64  # packets
NO_VIDEO = "not a video that can be decoded, or its end is missing"


class Coded(NamedTuple):
    """A packet, as it is read."""

    data: bytes
    caps: Any  # what GStreamer tells of its stream
    pts: Optional[int]  # ns
    dts: Optional[int]
    key: bool
    shown: bool  # whether its time is in the part that is displayed
    place: Optional[int]  # where a seek leads to it, in ns


def demuxer_of(path: str) -> str:
    """The element that opens a file. Raises InputError where it is no video, or none that GStreamer opens."""
    with open(path, "rb") as file:
        caps, _ = GstBase.type_find_helper_for_data(None, file.read(TYPE_HEAD))
    if caps is None or caps.get_structure(0).get_name().startswith("text/"):
        raise InputError(path, NO_VIDEO, DAMAGED)
    structure = caps.get_structure(0)
    kind = structure.get_name()
    name = DEMUXERS.get(kind)
    if name == "mpegpsdemux" and structure.get_boolean("systemstream") != (True, True):
        name = None
    name = name or PARSERS.get(codec_of(caps))
    if name is None:
        raise InputError(path, f"GStreamer reads no video from a file of this kind ({kind})", REENCODE)
    return name


def codec_of(caps: Any) -> str:
    """FFmpeg's name of a codec, or else what GStreamer calls it."""
    structure = caps.get_structure(0)
    name = structure.get_name()
    if name == "video/mpeg":
        return MPEG.get(structure.get_int("mpegversion")[1], name)
    if name == "video/x-msmpeg" and structure.get_int("msmpegversion")[1] == 43:
        return "msmpeg4v3"
    return CODECS.get(name, name)


def size_of(caps: Any) -> int:
    """The pixels of a picture; 0 where they are not stated."""
    structure = caps.get_structure(0)
    return int(structure.get_int("width")[1] * structure.get_int("height")[1])


class Demuxer:
    """A video file, opened for reading.

    Attributes:
        other: whether something else than video is in it.

    Args:
        kind: see `demuxer_of`.
    """

    def __init__(self, path: str, kind: str) -> None:
        self._kind, self._largest, self.other = kind, -1, False
        self._outlet: Any = None
        self._demuxer = element(kind)
        file = element("filesrc", location=path)
        cut = kind in PARSERS.values()
        self._pipeline = Pipeline(file, self._demuxer, caps=WHOLE.get(kind), queue=AHEAD, linked=cut)
        self._handler = None if cut else self._demuxer.connect("pad-added", self._link)
        self._pipeline.start()

    def packets(self, place: Optional[int] = None) -> Iterator[Coded]:
        """All packets in the order of decoding, up to where reading fails.

        Args:
            place: begin at the key frame of this place, or before.
        """
        if place is not None and not self._pipeline.seek(place):
            return
        try:
            for sample in self._pipeline.samples():
                yield self._coded(sample)
        except PipelineError:
            return

    def tag(self, name: str) -> Optional[str]:
        """What the file says about itself by a name."""
        pad, number = self._pipeline.sink.get_static_pad("sink"), 0
        while True:
            event = pad.get_sticky_event(Gst.EventType.TAG, number)
            if event is None:
                return None
            found, value = event.parse_tag().get_string(name)
            if found:
                return str(value)
            number += 1

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            self._demuxer.disconnect(self._handler)
        self._pipeline.close()

    def _link(self, _: Any, outlet: Any) -> None:
        """Take the largest video, as players do. (Called while the file is opened, in a thread of GStreamer's.)"""
        caps = outlet.get_current_caps() or outlet.query_caps(None)
        name = caps.get_structure(0).get_name()
        if not name.startswith(("video/", "image/")):
            self.other = True
        elif size_of(caps) > self._largest:
            self._take(outlet, caps)

    def _take(self, outlet: Any, caps: Any) -> None:
        if self._outlet is not None:
            self._outlet.unlink(self._outlet.get_peer())
        part = self._pipeline.sink
        if self._kind in UNCUT and codec_of(caps) in PARSERS:
            kind = PARSERS[codec_of(caps)]
            part = element(kind)
            self._pipeline.sink.set_property("caps", Gst.Caps.from_string(WHOLE.get(kind, "ANY")))
            self._pipeline.add(part)
            part.link(self._pipeline.sink)
        outlet.link(part.get_static_pad("sink"))
        self._outlet, self._largest = outlet, size_of(caps)

    def _coded(self, sample: Any) -> Coded:
        buffer, segment = sample.get_buffer(), sample.get_segment()
        pts, dts = (None if time == Gst.CLOCK_TIME_NONE else time for time in (buffer.pts, buffer.dts))
        key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        shown, place = True, None
        if self._kind == "qtdemux" and pts is not None:
            ends = segment.stop != Gst.CLOCK_TIME_NONE and self.tag("container-format") != FRAGMENTS
            shown = segment.start <= pts and not (ends and pts >= segment.stop)
        if key and shown and pts is not None:
            place = segment.to_stream_time(Gst.Format.TIME, pts)
        return Coded(buffer.extract_dup(0, buffer.get_size()), sample.get_caps(), pts, dts, key, shown, place)
