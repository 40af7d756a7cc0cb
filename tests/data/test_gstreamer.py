"""Video through GStreamer: the pictures that FFmpeg gives, in any order, and nothing left behind."""

import contextlib
import os
import random
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest
from helpers import gstreamer
from helpers.odd_videos import cut_open_gop, open_gop
from helpers.videos import EXPECTED, copy, encode, make_videos, number

from tlee.data import video
from tlee.data.ffmpeg import FFmpegContainer
from tlee.data.video import VideoFile
from tlee.errors import InputError, UsageError

MODEL = [5, 0, 9, 2, 7, 4, 6, 3, 8, 1]
# Of 255, between FFmpeg's conversion, which rounds down, and ours, which is exact.
MOST, MEAN = 5, 2


@pytest.fixture(autouse=True)
def reader(monkeypatch):
    """Makes GStreamer read all videos."""
    module = gstreamer.reader()
    monkeypatch.setattr(video, "open_container", module.GStreamerContainer)
    return module


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    gstreamer.reader()
    folder = tmp_path_factory.mktemp("videos")
    make_videos(folder)
    return folder


@pytest.fixture(scope="module")
def colourful():
    """Pictures of all colours, with edges that come between others."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (4, 12, 18, 3), dtype=np.uint8)
    return [np.kron(picture, np.ones((20, 20, 1), np.uint8)) for picture in small]


def by_ffmpeg(path):
    """All pictures, by the reader that other machines have."""
    container = FFmpegContainer(str(path))
    index = video.stated_index(container)
    found = {packet: container.rgb(picture) for packet, picture in container.decode(0)}
    return [found[packet] for packet in (index.pictures if index else found)]


def assert_alike(found, wanted):
    assert found.shape == wanted.shape
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= MOST and difference.mean() <= MEAN


def orders(count):
    uniform = [(2 * part + 1) * count // 20 for part in range(10)]
    shuffled = random.Random(0).sample(range(count), 20)
    return [uniform[part] for part in MODEL], uniform, uniform[::-1], [*shuffled, shuffled[3]]


@pytest.mark.parametrize("name", EXPECTED)
def test_frames_are_those_of_ffmpeg_in_any_order(videos, name):
    wanted = by_ffmpeg(videos / name)
    with VideoFile(str(videos / name)) as clip:
        assert clip.frame_count == len(wanted) == len(EXPECTED[name])
        for order in orders(clip.frame_count):
            for index, picture in zip(order, clip.frames(order)):
                assert_alike(picture, wanted[index])


def test_an_upload_that_broke_off_is_an_error_only_for_what_it_lacks(videos):
    with VideoFile(str(videos / "upload_broken_off.mp4")) as clip:
        assert clip.frame_count == 300
        assert [number(picture) for picture in clip.frames([100, 20, 0])] == [100, 20, 0]
        with pytest.raises(InputError, match=r"breaks off: 1\d\d of 300 frames can be decoded"):
            clip.frame(250)


@pytest.mark.parametrize(
    ("make", "name", "hidden"), [(cut_open_gop, "a.mkv", [1, 2, 3]), (open_gop, "a.mkv", []), (open_gop, "a.ts", [])]
)
def test_what_refers_to_pictures_that_were_cut_off_is_not_shown(tmp_path, reader, make, name, hidden):
    container = reader.GStreamerContainer(str(make(tmp_path / name)))
    assert [number for number, packet in enumerate(container.packets) if not packet.shown] == hidden


@pytest.mark.parametrize("name", ["constant_rate.mp4", "starts_at_12s.mkv", "camera.ts"])
def test_packets_of_a_large_file_are_read_again(videos, reader, monkeypatch, name):
    monkeypatch.setattr(reader, "HELD", 0)
    with VideoFile(str(videos / name)) as clip:
        order = orders(300)[0]
        assert [number(picture) for picture in clip.frames(order)] == order


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "settings"),
    [
        ("untagged.mp4", "libx264", "yuv420p", {}),
        ("bt709.mp4", "libx264", "yuv420p", {"colorspace": 1}),
        ("full.mkv", "libx264", "yuv420p", {"color_range": 2}),
        ("422.mkv", "libx264", "yuv422p", {}),
        ("444.mp4", "libx264", "yuv444p", {"colorspace": 1}),
        ("vp8.webm", "libvpx", "yuv420p", {}),
        ("jpeg.avi", "mjpeg", "yuvj422p", {}),
        ("mpeg4.avi", "mpeg4", "yuv420p", {"max_b_frames": 2}),
        ("rgb.mov", "png", "rgb24", {}),
        ("grey.mkv", "libx264", "gray", {}),
    ],
)
def test_colours_are_those_that_the_file_states(tmp_path, colourful, name, codec, pixels, settings):
    pictures = [picture[:-1, :-1] if pixels in ("yuv444p", "rgb24") else picture for picture in colourful]
    wanted = by_ffmpeg(encode(tmp_path / name, codec, {}, pictures, pixels=pixels, **settings))
    with VideoFile(str(tmp_path / name)) as clip:
        assert clip.frame_count == len(wanted) == len(colourful)
        for index, picture in enumerate(clip.frames(range(len(wanted)))):
            assert_alike(picture, wanted[index])


@pytest.mark.parametrize("height", [576, 578])
def test_large_pictures_that_state_no_colours_have_those_of_hd(tmp_path, height):
    pictures = [np.full((height, 64, 3), (200, 30, 60), np.uint8)]
    wanted = by_ffmpeg(encode(tmp_path / "a.mp4", pictures=pictures))
    with VideoFile(str(tmp_path / "a.mp4")) as clip:
        assert_alike(clip.frame(0), wanted[0])


def test_fields_have_their_own_colours(tmp_path, colourful):
    path = encode(tmp_path / "a.mkv", "mpeg2video", {"flags": "+ildct+ilme", "q": "2"}, colourful)
    wanted = by_ffmpeg(path)
    with VideoFile(str(path)) as clip:
        assert_alike(clip.frame(2), wanted[2])


def test_a_decoder_in_hardware_gives_the_same_pictures(videos, reader, monkeypatch):
    if reader.Gst.ElementFactory.find("openh264dec") is None:
        pytest.skip("there is no openh264dec, which is taken instead of NVIDIA's decoder")
    monkeypatch.setattr(reader, "HARDWARE", "openh264dec")
    monkeypatch.setattr(reader, "FROM_HARDWARE", "videoconvert")
    monkeypatch.setattr(reader, "HARDWARE_PIXELS", 0)
    path = encode(videos / "simple.mp4", options={"g": "30", "profile": "baseline"}, pictures=range(90))
    with VideoFile(str(path)) as clip:
        for order in (orders(90)[0], orders(90)[3]):
            assert [number(picture) for picture in clip.frames(order)] == order
        assert clip._container._hardware


def test_what_hardware_fails_at_is_decoded_by_software(videos, reader, monkeypatch):
    monkeypatch.setattr(reader, "HARDWARE", "jpegdec")  # which takes no H.264
    monkeypatch.setattr(reader, "FROM_HARDWARE", "videoconvert")
    monkeypatch.setattr(reader, "HARDWARE_PIXELS", 0)
    with VideoFile(str(videos / "constant_rate.mp4")) as clip:
        assert clip._container._hardware
        assert [number(picture) for picture in clip.frames([150, 20])] == [150, 20]
        assert not clip._container._hardware


def open_files():
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # that of this folder
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


def test_nothing_is_left_open_or_running(videos):
    def read(name):
        with VideoFile(str(videos / name)) as clip:
            frames = clip.frames([150, 20, 290])
            next(frames)
            frames.close()

    read("constant_rate.mp4")  # what GStreamer opens once for all
    before, threads = len(open_files()), threading.active_count()
    for name in ("camera.ts", "program_stream.mpg", "browser_recording.webm"):
        read(name)
    assert not [path for path in open_files() if path.startswith(str(videos))]
    assert len(open_files()) <= before and threading.active_count() == threads


def test_a_process_that_is_forked_off_says_that_it_cannot_read(videos):
    path = str(videos / "constant_rate.mp4")
    with VideoFile(path) as clip:
        assert number(clip.frame(70)) == 70
    process = os.fork()
    if process == 0:
        try:
            VideoFile(path)
        except UsageError as error:
            os._exit(0 if "forked" in str(error) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(process, 0)[1] == 0


def test_a_missing_decoder_is_named(videos, tmp_path):
    content = (videos / "starts_at_12s.mkv").read_bytes()
    (tmp_path / "a.mkv").write_bytes(content.replace(b"V_MPEG4/ISO/AVC", b"V_MPEG9/ISO/NEW"))
    with pytest.raises(InputError, match=r"a.mkv: there is no decoder for its video \(.*\) here; sudo .*1.0-libav"):
        VideoFile(str(tmp_path / "a.mkv"))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no video at all\n" * 100, "not a video that can be decoded"),
        (b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", r"of this kind \(image/gif\)"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(100), r"of this kind \(image/png\)"),
    ],
)
def test_what_is_no_video_is_said_in_one_line(tmp_path, content, problem):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        VideoFile(str(tmp_path / "a.mp4"))
    assert "\n" not in str(caught.value)


def test_half_a_file_without_its_index_is_named(videos, tmp_path):
    content = (videos / "constant_rate.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a.mp4: not a video that can be decoded, or its end is missing"):
        VideoFile(str(tmp_path / "a.mp4"))


def test_the_reader_is_what_is_installed():
    program = f"""
        import sys
        sys.modules["av"] = None
        from tlee.data.video import open_container
        from tlee.errors import TleeError
        sys.path.append({gstreamer.DEBIAN!r})
        print(type(open_container(sys.argv[1], None)).__name__)
        for name in [name for name in sys.modules if name.startswith(("gi", "tlee.data.gst", "tlee.data.pip"))]:
            del sys.modules[name]
        sys.modules["gi"] = None
        try:
            open_container(sys.argv[1], None)
        except TleeError as error:
            print(error)
    """
    clip = "examples/clips/digit0_easy_00010.mp4"
    command = [sys.executable, "-c", textwrap.dedent(program), clip]
    lines = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode().splitlines()
    assert lines[0] == "GStreamerContainer" and len(lines) == 2
    assert "neither PyAV" in lines[1] and "pip install av" in lines[1] and "python3-gi" in lines[1]


def test_a_copy_cut_short_at_its_end_shows_what_its_edit_list_says(videos, tmp_path):
    path = copy(videos / "constant_rate.mp4", tmp_path / "a.mp4", lambda packets: packets[60:], offset=-3)
    wanted = by_ffmpeg(path)
    with VideoFile(str(path)) as clip:
        assert clip.frame_count == len(wanted)
        assert [number(picture) for picture in clip.frames([0, 5])] == [number(wanted[0]), number(wanted[5])]
