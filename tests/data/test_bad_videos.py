"""Damaged videos, odd names, files that are no videos: the right pictures or one line, never a traceback or a wait."""

import contextlib
import os
import random
import zipfile
from types import SimpleNamespace

import av
import numpy as np
import pytest
from helpers.odd_videos import AV1, CODED, KEYED, MANY, MPEG4, sound_only
from helpers.videos import encode, number, plain

from tlee.data.clips import open_clip
from tlee.data.video import VideoFile
from tlee.errors import InputError

NAMES = [
    "a:b.mp4",
    "%03d.mp4",
    "pipe:1.mp4",
    "http:a.mp4",
    "two words.mp4",
    "٣ ४५.mp4",
    "-i.mp4",
    "a?b#c.mp4",
    "[a].mp4",
]
LISTS = {
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile {path}\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 26\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{path}</BaseURL></MPD>',
    "text": "no video at all, {path}\n" * 50,
}
CONTAINERS = ["mp4", "mov", "mkv", "webm", "avi", "ts", "mpg", "flv", "264", "gif", "asf", "mjpeg"]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return encode(tmp_path_factory.mktemp("video") / "video.mp4", options=KEYED, pictures=MANY)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_names(tmp_path, video, name, monkeypatch):
    (tmp_path / name).write_bytes(video.read_bytes())
    monkeypatch.chdir(tmp_path)
    for path in (name, str(tmp_path / name)):
        with open_clip(path) as clip:
            assert number(clip.frame(17)) == 17


def test_a_name_that_is_not_utf_8_is_a_name(tmp_path, video):
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/\xff\xfe.mp4")
    os.link(video, path)
    with open_clip(path) as clip:
        assert number(clip.frame(17)) == 17


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_addresses_are_no_videos(tmp_path, video, kind):
    path = tmp_path / "list.mp4"
    path.write_text(LISTS[kind].format(path=video))
    with pytest.raises(InputError, match="list.mp4: not a video"):
        VideoFile(str(path))


def test_an_archive_is_no_video(tmp_path, video):
    with zipfile.ZipFile(tmp_path / "archive.mp4", "w") as archive:
        archive.write(video, "video.mp4")
    with pytest.raises(InputError, match="archive.mp4: not a video"):
        VideoFile(str(tmp_path / "archive.mp4"))


def test_a_codec_without_a_decoder_is_named_as_that(tmp_path, video):
    path = tmp_path / "newer.mp4"
    path.write_bytes(video.read_bytes().replace(b"avc1", b"evc1"))  # FFmpeg has no decoder of its own for EVC
    said = r"newer.mp4: there is no decoder for its video \(PyAV .*\) here; pip install --upgrade av, or re-encode"
    with pytest.raises(InputError, match=said):
        VideoFile(str(path))


def test_ffmpegs_own_decoder_of_av1_is_none_without_hardware(tmp_path, monkeypatch):
    from tlee.data.ffmpeg import FFmpegContainer

    container = FFmpegContainer(str(encode(tmp_path / "a.mkv", "libsvtav1", AV1, range(2))))
    with container._opened() as (opened, stream):
        own = av.CodecContext.create("av1", "r")  # what an FFmpeg without dav1d and libaom decodes by
        own.extradata = stream.codec_context.extradata
        given = contextlib.nullcontext((opened, SimpleNamespace(codec_context=own)))
        monkeypatch.setattr(container, "_opened", lambda: given)
        with pytest.raises(InputError, match=r"a.mkv: there is no decoder for its video \(av1\) here; pip install"):
            list(container.decode(0))


def test_sound_alone_is_no_video(tmp_path):
    with pytest.raises(InputError, match="sound.mp4: has no video, only sound or a cover; give a video file"):
        VideoFile(str(sound_only(tmp_path / "sound.mp4")))


def read(path, seed=0):
    """What a damaged video gives, asked for in two orders: pictures by their indices, and the message or None."""
    results = []
    for shuffled in (False, True):
        found, message = {}, None
        try:
            with VideoFile(str(path), 1) as clip:
                order = list(range(clip.frame_count))
                if shuffled:
                    random.Random(seed).shuffle(order)
                for index, picture in zip(order, clip.frames(order)):
                    found[index] = picture
        except InputError as error:
            message = str(error)
            assert "\n" not in message
        results.append((found, message))
    return results


def made(path, kind):
    options = {"webm": ("libvpx", {"g": "12"}), "mpg": ("mpeg2video", MPEG4), "asf": ("msmpeg4", {"q": "2"})}
    options.update({"avi": ("mpeg4", MPEG4), "gif": ("gif", {}), "mjpeg": ("mjpeg", {"q": "2"})})
    codec, settings = options.get(kind, ("libx264", KEYED))
    pixels = {"gif": "gray", "mjpeg": "yuvj420p"}.get(kind, "yuv420p")
    return encode(path / f"whole.{kind}", codec, settings, MANY, pixels=pixels)


@pytest.mark.parametrize("kind", CONTAINERS)
def test_what_is_there_of_a_truncated_video_is_read(tmp_path, kind):
    whole = made(tmp_path, kind)
    content = whole.read_bytes()
    for share in (0.02, 0.2, 0.5, 0.8, 0.97):
        cut = tmp_path / f"cut.{kind}"
        cut.write_bytes(content[: int(len(content) * share)])
        try:
            pictures = plain(cut)
        except av.error.FFmpegError:
            pictures = []
        for found, message in read(cut):
            assert message or abs(len(found) - len(pictures)) <= 1  # the last one may be there in part
            same = [np.array_equal(found[i], picture) for i, picture in enumerate(pictures) if i in found]
            assert all(same[:-1])


DAMAGED = ["open_gop.mp4", "hevc_layers.mkv", "vp8_hidden.webm", "mpeg2.ts", "mpeg4.avi", "av1.mp4"]


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_video_gives_the_same_pictures_in_any_order(tmp_path, name):
    path = CODED[name](tmp_path / name)
    content = path.read_bytes()
    for seed in range(4):
        draw = random.Random(seed)
        damaged = bytearray(content)
        for _ in range(3):
            place = draw.randrange(len(content) // 3, len(content) * 2 // 3)
            damaged[place : place + 20] = draw.randbytes(20)
        path.write_bytes(damaged)
        (one, _), (other, _) = read(path, seed)
        assert all(np.array_equal(one[i], other[i]) for i in one.keys() & other.keys())
