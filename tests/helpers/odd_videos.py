"""Videos with what readers stumble over: references across key frames, hidden pictures, containers that err."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
from helpers.videos import copy, encode, packets, picture
from PIL import Image

MANY = range(40)
FEW = range(10)
KEYED = {"g": "12", "sc_threshold": "0", "crf": "20", "preset": "fast"}
OPEN = {**KEYED, "x264-params": "open-gop=1:bframes=3:b-adapt=0"}
PYRAMID = {**KEYED, "x264-params": "bframes=8:b-adapt=0:b-pyramid=normal:ref=8:keyint=25"}
REFRESH = {**KEYED, "x264-params": "intra-refresh=1:bframes=0"}
LAYERS = {"x265-params": "log-level=none:pools=none:frame-threads=1:keyint=15:bframes=4:temporal-layers=3:open-gop=1"}
CLOSED = {"x265-params": "log-level=none:pools=none:frame-threads=1:keyint=15:bframes=4:open-gop=0"}
HIDDEN = {
    "auto-alt-ref": "1",
    "lag-in-frames": "12",
    "g": "20",
    "arnr-maxframes": "7",
    "deadline": "good",
    "cpu-used": "4",
}
MPEG4 = {"bf": "2", "g": "12", "q": "2"}
AV1 = {"preset": "10", "crf": "30", "g": "16", "svtav1-params": "fast-decode=1"}


def coloured(count: int, width: int, height: int) -> list[np.ndarray]:
    """Pictures in which every place differs in colour, (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    made = []
    for number in range(count):
        planes = [x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x + y + 20 * number) % 256]
        made.append(np.stack(planes, 2).astype(np.uint8))
    return made


def open_gop(path: Path) -> Path:
    return encode(path, options=OPEN, pictures=MANY)


def from_key(source: Path, path: Path, number: int = 1, before: int = 0) -> Path:
    """A copy from a key frame on, or from some packets before it."""

    def chosen(found):
        keys = [place for place, packet in enumerate(found) if packet.is_keyframe]
        return found[keys[number] - before :]

    return copy(source, path, chosen)


def cut_open_gop(path: Path) -> Path:
    return from_key(open_gop(path.with_name("whole.mkv")), path)


def without_key(path: Path) -> Path:
    return from_key(encode(path.with_name("whole.mkv"), options=KEYED, pictures=MANY), path, before=5)


def concatenated(path: Path) -> Path:
    parts = [encode(path.with_name(f"{n}.ts"), options=KEYED, pictures=range(20 * n, 20 * n + 20)) for n in (0, 1)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def of_two_sizes(path: Path) -> Path:
    parts = [path.with_name(f"{n}{path.suffix}") for n in (0, 1)]
    for part, (width, height) in zip(parts, ((96, 64), (64, 80))):
        encode(part, options=KEYED, pictures=coloured(14, width, height))
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def huge(path: Path) -> Path:
    frames = [av.VideoFrame.from_ndarray(picture(n, 7680, 4320), "gray") for n in range(2)]
    return encode(path, options={"preset": "ultrafast"}, pictures=frames, pixels="gray")


def with_cover(path: Path) -> Path:
    """The picture of a cover is the first stream, the video the second."""
    cover = packets(encode(path.with_name("cover.mov"), "png", pictures=coloured(1, 320, 240), pixels="rgb24"))[0]
    video = encode(path.with_name("whole.mkv"), options=KEYED, pictures=MANY)
    with av.open(str(video)) as taken, av.open(str(path.with_name("cover.mov"))) as art, av.open(str(path), "w") as put:
        first = put.add_stream_from_template(art.streams.video[0])
        first.disposition = av.stream.Disposition.attached_pic
        second = put.add_stream_from_template(taken.streams.video[0])
        found = [packet for packet in taken.demux(video=0) if packet.size]
        cover.stream = first
        put.mux(cover)
        for packet in found:
            packet.stream = second
            put.mux(packet)
    return path


def sound_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.rate, sound.pts = 44100, 0
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    return path


def flagged(path: Path, keys: Callable[[int], bool], codec: str = "libx264", options=KEYED) -> Path:
    """A video of which the container says of other pictures that they are key frames."""

    def chosen(found):
        for place, packet in enumerate(found):
            packet.is_keyframe = keys(place)
        return found

    return copy(encode(path.with_name("whole.mkv"), codec, options, MANY), path, chosen)


def animation(path: Path, disposal: int) -> Path:
    """Frames that are partly transparent and cover a part only."""
    frames = []
    for number in range(12):
        one = Image.new("RGBA", (60, 40), (0, 0, 0, 0))
        one.paste((20 * number, 200, 255 - 20 * number, 255), (3 * number, number, 3 * number + 15, number + 20))
        frames.append(one)
    frames[0].save(path, save_all=True, append_images=frames[1:], disposal=disposal, duration=40, transparency=0)
    return path


CODED = {
    "open_gop.mp4": open_gop,
    "open_gop.ts": open_gop,
    "open_gop_cut.mp4": cut_open_gop,
    "open_gop_cut.mkv": cut_open_gop,
    "without_key.mkv": without_key,
    "without_key.mp4": without_key,
    "without_key.ts": without_key,
    "pyramid.mkv": partial(encode, options=PYRAMID, pictures=MANY),
    "pyramid.avi": partial(encode, options=PYRAMID, pictures=MANY),
    "refresh.mp4": partial(encode, options=REFRESH, pictures=MANY),
    "refresh.ts": partial(encode, options=REFRESH, pictures=MANY),
    "plain.264": partial(encode, options=OPEN, pictures=MANY),
    "plain.flv": partial(encode, options=KEYED, pictures=MANY),
    "mbaff.mp4": partial(encode, options={**KEYED, "x264-params": "interlaced=1:bframes=3"}, pictures=MANY),
    "hevc_10_bit.mp4": partial(encode, codec="libx265", options=CLOSED, pictures=MANY, pixels="yuv420p10le"),
    "hevc_layers.mkv": partial(encode, codec="libx265", options=LAYERS, pictures=MANY),
    "hevc_layers.ts": partial(encode, codec="libx265", options=LAYERS, pictures=MANY),
    "hevc_field.mkv": partial(
        encode,
        codec="libx265",
        options={"x265-params": "log-level=none:pools=none:frame-threads=1:interlace=tff:keyint=12"},
        pictures=MANY,
    ),
    "hevc_cut.mkv": lambda path: from_key(encode(path.with_name("whole.mkv"), "libx265", LAYERS, MANY), path),
    "vp9_alpha.webm": partial(
        encode,
        codec="libvpx-vp9",
        options={"g": "15", "deadline": "realtime", "cpu-used": "8", "auto-alt-ref": "0"},
        pictures=FEW,
        pixels="yuva420p",
    ),
    "vp9_hidden.webm": partial(encode, codec="libvpx-vp9", options=HIDDEN, pictures=MANY),
    "vp9_hidden.mp4": partial(encode, codec="libvpx-vp9", options=HIDDEN, pictures=MANY),
    "vp8_hidden.webm": partial(encode, codec="libvpx", options=HIDDEN, pictures=MANY),
    "vp8_hidden.avi": partial(encode, codec="libvpx", options=HIDDEN, pictures=MANY),
    "av1.mp4": partial(encode, codec="libsvtav1", options=AV1, pictures=MANY),
    "av1.mkv": partial(encode, codec="libsvtav1", options=AV1, pictures=MANY),
    "mpeg4.avi": partial(encode, codec="mpeg4", options=MPEG4, pictures=MANY),
    "mpeg4.mp4": partial(encode, codec="mpeg4", options=MPEG4, pictures=MANY),
    "mpeg4.mkv": partial(encode, codec="mpeg4", options=MPEG4, pictures=MANY),
    "mpeg1.mpg": partial(encode, codec="mpeg1video", options=MPEG4, pictures=MANY),
    "mpeg2.ts": partial(encode, codec="mpeg2video", options=MPEG4, pictures=MANY),
    "mpeg2.m2v": partial(encode, codec="mpeg2video", options=MPEG4, pictures=MANY),
    "mpeg2_open.mkv": partial(encode, codec="mpeg2video", options=MPEG4, pictures=MANY),
    "wmv.avi": partial(encode, codec="wmv2", options={"g": "12", "q": "2"}, pictures=MANY),
    "msmpeg4.avi": partial(encode, codec="msmpeg4", options={"g": "12", "q": "2"}, pictures=MANY),
    "wmv.asf": partial(encode, codec="wmv2", options={"g": "12", "q": "2"}, pictures=MANY),
    "flv.flv": partial(encode, codec="flv", options={"g": "12", "q": "2"}, pictures=MANY),
    "h263.3gp": partial(encode, codec="mpeg4", options={"g": "12", "q": "2"}, pictures=MANY),
    "prores.mov": partial(encode, codec="prores_ks", pictures=FEW, pixels="yuv422p10le"),
    "jpeg.avi": partial(encode, codec="mjpeg", options={"q": "2"}, pictures=FEW, pixels="yuvj420p"),
    "jpeg.mov": partial(encode, codec="mjpeg", options={"q": "2"}, pictures=FEW, pixels="yuvj420p"),
    "png.mov": partial(encode, codec="png", pictures=FEW, pixels="gray"),
    "huge.mp4": huge,
    "of_two_sizes.ts": of_two_sizes,
    "of_two_sizes.264": of_two_sizes,
    "with_cover.mp4": with_cover,
    "tiny.mp4": lambda path: encode(path, pictures=coloured(8, 2, 2)),
    "odd.webm": lambda path: encode(path, "libvpx", pictures=coloured(8, 175, 99)),
    "odd.mkv": lambda path: encode(path, pictures=coloured(8, 175, 99), pixels="yuv444p"),
    "partial.gif": lambda path: encode(path, "gif", pictures=MANY, pixels="gray"),
    "transparent_1.gif": partial(animation, disposal=1),
    "transparent_2.gif": partial(animation, disposal=2),
    "transparent_3.gif": partial(animation, disposal=3),
    "concatenated.ts": concatenated,
    "keys_everywhere.mkv": partial(flagged, keys=lambda place: True),
    "keys_everywhere.mp4": partial(flagged, keys=lambda place: True),
    "keys_everywhere_mpeg4.avi": partial(flagged, keys=lambda place: True, codec="mpeg4", options=MPEG4),
    "keys_everywhere_mpeg4.mkv": partial(flagged, keys=lambda place: True, codec="mpeg4", options=MPEG4),
    "keys_everywhere_vp8.mkv": partial(flagged, keys=lambda place: True, codec="libvpx", options={"g": "15"}),
    "keys_everywhere_vp9.mkv": partial(
        flagged,
        keys=lambda place: True,
        codec="libvpx-vp9",
        options={"g": "15", "deadline": "realtime", "cpu-used": "8"},
    ),
    "keys_everywhere_av1.mkv": partial(flagged, keys=lambda place: True, codec="libsvtav1", options=AV1),
    "keys_everywhere_hevc.mkv": partial(flagged, keys=lambda place: True, codec="libx265", options=CLOSED),
    "keys_everywhere_mpeg2.mkv": partial(flagged, keys=lambda place: True, codec="mpeg2video", options=MPEG4),
    "keys_nowhere.mkv": partial(flagged, keys=lambda place: False),
    "keys_nowhere_but_late.mkv": partial(flagged, keys=lambda place: place == 24),
    "keys_wrong.mkv": partial(flagged, keys=lambda place: place % 7 == 0),
}
