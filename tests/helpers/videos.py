"""Videos as users bring them, of numbered pictures: which picture is frame i? Made by PyAV alone, without a program."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

WIDTH, HEIGHT, COUNT, RATE = 192, 128, 300, 25
H264 = {"crf": "12", "g": "60"}
BLOCKS = 2, 6  # rows, columns: 12 bits, the lowest one first
CLOCK = 90_000  # units of a second, where pictures come at no constant rate
# a, b, c, d of turns, against the clock: (x, y) comes to (a x + c y, b x + d y).
TURNS = {"90": (0, -1, 1, 0), "180": (-1, 0, 0, -1), "270": (0, 1, -1, 0), "mirrored": (-1, 0, 0, 1)}


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """A picture that shows its number in black and white blocks, (height, width) uint8."""
    rows, columns = BLOCKS
    bits = number >> np.arange(rows * columns).reshape(BLOCKS) & 1
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    return (bits[y[:, None], x] * 219 + 16).astype(np.uint8)


def number(pixels: np.ndarray) -> int:
    """The number that a decoded picture shows, (h, w) or (h, w, 3), in any size."""
    rows, columns = BLOCKS
    grey = pixels if pixels.ndim == 2 else pixels.mean(2)
    height, width = grey.shape
    found = 0
    for bit in range(rows * columns):
        row, column = divmod(bit, columns)
        y, x = (int((row + q) * height / rows) for q in (0.25, 0.75)), (column + 0.25, column + 0.75)
        block = grey[slice(*y), int(x[0] * width / columns) : int(x[1] * width / columns)]
        found |= int(block.mean() > 125) << bit
    return found


def encode(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pictures: Iterable[Any] = range(COUNT),
    *,
    times: Callable[[int], float] | None = None,
    pixels: str = "yuv420p",
    format: str | None = None,
    muxing: dict[str, str] | None = None,
    piped: bool = False,
    **settings: Any,
) -> Path:
    """A video of pictures, each a number or an array that PyAV takes.

    Args:
        options: of the encoder; `muxing` those of the container.
        times: when picture i is displayed, in seconds; None for a constant rate.
        pixels: their format in the file; of arrays see `frame`.
        piped: written where nobody can go back, as a browser does.
        settings: attributes of the encoder.
    """
    with open(path, "wb") as file:
        target = _Pipe(file) if piped else file
        with av.open(target, "w", format=format or guessed(path), container_options=muxing or {}) as container:
            frames = [frame(item, pixels) for item in pictures]
            stream = container.add_stream(codec, rate=RATE, options=options or {})
            stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pixels
            stream.thread_count = 1
            for name, value in settings.items():
                setattr(stream.codec_context, name, value)
            unit = Fraction(1, CLOCK if times else RATE)
            stream.codec_context.time_base = stream.time_base = unit
            for place, one in enumerate(frames):
                one.pts, one.time_base = round(times(place) / unit) if times else place, unit
                container.mux(stream.encode(one))
            container.mux(stream.encode(None))
    return path


def frame(item: Any, pixels: str) -> av.VideoFrame:
    """A picture for an encoder: of a number, of an array (h, w, 3), or one that is made already."""
    if isinstance(item, av.VideoFrame):
        return item
    if isinstance(item, np.ndarray):
        return av.VideoFrame.from_ndarray(item, "rgb24").reformat(format=pixels)
    # The brightness as it is, without a colour matrix: 16 is black.
    luma = picture(item)
    yuv = np.concatenate([luma, np.full((HEIGHT // 2, WIDTH), 128, np.uint8)])
    made = av.VideoFrame.from_ndarray(yuv, "yuv420p")
    return made if pixels == "yuv420p" else made.reformat(format=pixels)


def plain(path: Path) -> list[np.ndarray]:
    """All pictures as decoding everything in order by one thread gives them, (h, w, 3) uint8 RGB, turned upright."""
    found = []
    with av.open(f"file:{path}") as container:
        streams = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
        context = streams[0].codec_context
        context.thread_count, context.options = 1, {"strict": "1"}  # 1: no picture that waits for others is dropped
        for packet in [packet for packet in container.demux(streams[0]) if packet.size] + [None]:
            with contextlib.suppress(av.error.InvalidDataError):
                found += context.decode(packet)
    return [_upright(one) for one in found]


def _upright(one: av.VideoFrame) -> np.ndarray:
    bt709, unsaid = 1, 2
    matrix = bt709 if one.colorspace == unsaid and one.height > 576 else one.colorspace
    pixels = one.reformat(format="rgb24", src_colorspace=matrix).to_ndarray()
    if "DISPLAYMATRIX" not in one.side_data:
        return pixels
    a, _, _, _, d = np.frombuffer(one.side_data["DISPLAYMATRIX"], np.int32)[:5]
    return pixels[:, ::-1] if a < 0 < d else np.rot90(pixels, round(one.rotation / 90))


def packets(path: Path) -> list[av.Packet]:
    """The coded pictures of a video."""
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(video=0) if packet.size]


def copy(
    source: Path,
    path: Path,
    chosen: Callable[[list[av.Packet]], Sequence[av.Packet]] = list,
    *,
    offset: float = 0,
    muxing: dict[str, str] | None = None,
    filtered: str | None = None,
) -> Path:
    """The packets of a video in another container, without decoding.

    Args:
        chosen: of all packets those to copy, changed as wanted.
        offset: seconds added to their times.
        filtered: name of FFmpeg's filter of packets that they pass.
    """
    with av.open(str(source)) as taken, av.open(str(path), "w", guessed(path), container_options=muxing or {}) as put:
        stream = taken.streams.video[0]
        into = put.add_stream_from_template(stream, opaque=True)
        # AVI has a chunk for each unit of time; of these, as ffmpeg writes them, every second one is empty.
        into.time_base = 1 / stream.average_rate / 2 if path.suffix == ".avi" else stream.time_base
        bits = av.BitStreamFilterContext(filtered, stream, into) if filtered else None
        shift = round(offset / stream.time_base)
        for packet in chosen([packet for packet in taken.demux(stream) if packet.size]):
            packet.pts, packet.dts = (time if time is None else time + shift for time in (packet.pts, packet.dts))
            for part in bits.filter(packet) if bits else [packet]:
                part.stream = into
                put.mux(part)
    return path


def guessed(path: Path) -> str:
    """The name of the format that a file's name stands for."""
    formats = {".ts": "mpegts", ".mkv": "matroska", ".mpg": "vob", ".mjpeg": "mjpeg", ".ogv": "ogg"}
    formats.update({".264": "h264", ".265": "hevc", ".m2v": "mpeg2video", ".obu": "obu", ".nut": "nut"})
    return formats.get(path.suffix, path.suffix[1:])


def turned(source: Path, path: Path, turn: str) -> Path:
    """A copy of an MP4 that says how it is to be turned, see `TURNS`."""
    content = bytearray(source.read_bytes())
    a, b, c, d = (value << 16 for value in TURNS[turn])
    matrix = b"".join(value.to_bytes(4, "big", signed=True) for value in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    place = content.index(b"tkhd") + 44
    content[place : place + len(matrix)] = matrix
    path.write_bytes(content)
    return path


def broken_off(source: Path, path: Path, share: float = 0.7) -> Path:
    """The first part of a file."""
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def from_second_3_to_5(found: list[av.Packet]) -> Iterator[av.Packet]:
    """What `ffmpeg -ss 3 -t 2 -c copy` takes: from the key frame before, at times below 0, up to second 2."""
    begin = max(packet.pts for packet in found if packet.is_keyframe and packet.pts * packet.time_base <= 3)
    started = False
    for packet in found:
        started = started or packet.pts == begin
        if started and packet.dts * packet.time_base < 5:
            yield packet


def _phone(slow: int) -> Callable[[int], float]:
    return lambda number: number / 30 if number < 150 else 5 + (number - 150) / slow


class _Pipe(io.RawIOBase):
    """Takes what is written, and cannot go back."""

    def __init__(self, file: io.BufferedWriter) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        return self._file.write(content)


ALL = list(range(COUNT))
# Of each file, the numbers of the pictures that it shows.
EXPECTED = {
    "constant_rate.mp4": ALL,
    "phone.mp4": ALL,
    "phone_in_the_dark.mp4": ALL,
    "camera.ts": ALL,
    "browser_recording.webm": ALL,
    "cut_without_encoding.mp4": [*range(75, 125), 125, 127],  # what stands before the cut is hidden
    "starts_at_12s.mkv": ALL,
    "fragments.mp4": ALL,
    "whole.mp4": ALL,
    "raw.mjpeg": ALL,
    "program_stream.mpg": ALL,
    "h264_in.avi": ALL,
    **{f"turned_{turn}.mp4": ALL for turn in TURNS},
}


def make_videos(folder: Path) -> dict[str, list[int]]:
    """All of `EXPECTED` in a folder, and upload_broken_off.mp4, which must be an error."""
    plain = encode(folder / "constant_rate.mp4", options=H264)
    encode(folder / "phone.mp4", options=H264, times=_phone(24))
    encode(folder / "phone_in_the_dark.mp4", options=H264, times=_phone(15))
    copy(plain, folder / "camera.ts")
    live = {"deadline": "realtime", "b": "1M"}
    encode(folder / "browser_recording.webm", "libvpx", live, muxing={"live": "1"}, piped=True)
    copy(plain, folder / "cut_without_encoding.mp4", from_second_3_to_5, offset=-3)
    copy(plain, folder / "starts_at_12s.mkv", offset=12)
    copy(plain, folder / "fragments.mp4", muxing={"movflags": "frag_keyframe"})
    copy(plain, folder / "whole.mp4", muxing={"movflags": "+faststart"})
    broken_off(folder / "whole.mp4", folder / "upload_broken_off.mp4")
    encode(folder / "raw.mjpeg", "mjpeg", {"q": "2"}, pixels="yuvj420p")
    encode(folder / "program_stream.mpg", "mpeg2video", {"bf": "2", "g": "15", "q": "2"})
    copy(plain, folder / "h264_in.avi", filtered="h264_mp4toannexb")
    for turn in TURNS:
        turned(plain, folder / f"turned_{turn}.mp4", turn)
    return EXPECTED
