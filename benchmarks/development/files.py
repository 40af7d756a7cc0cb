"""What a video file takes from end to end, against the least that it can take, and how much of that is decoding.

    python -m tlee.benchmarks.development.files BUNDLE.tlee [VIDEO...] [--before "COMMAND"]

Without videos it makes three of 1920 x 1080 pixels and 10 s, H.264, with a key frame every 250, 60 and 30 pictures.
The least is decoding the frames that the recognition needed, as if they were known beforehand, from a newly opened
file, and recognising them given as an array: both together where the CPU computes, else the longer of the two.

`--before` is the `tlee-run` of another state, say "env PYTHONPATH=/tmp/before python -m tlee.runtime.cli". It reads the
same files in turns with this one, and samples as that state does without options. It is started in another folder.
"""

import argparse
import contextlib
import json
import os
import shlex
import subprocess
import tempfile
from typing import Any, Callable, List, Optional

import numpy as np

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.bundle import Bundle
from tlee.data.clips import open_clip, read_frames
from tlee.frames import KEYFRAMES, UNIFORM
from tlee.runtime import Recognizer
from tlee.runtime.backends import BackendConfig, open_backend
from tlee.runtime.base import bundle_policy
from tlee.runtime.chain import chain_of

LEAST = 1.15  # goal
DISTANCES = (250, 60, 30)  # of key frames
SIZE = "1920x1080"
WARM_UP = 1
LIBRARIES = ["onnxruntime", "av", "cv2", "tensorrt"]


def make_video(path: str, distance: int, size: str = SIZE) -> None:
    """A video of moving shapes and noise, 10 s at 30 pictures a second, a key frame every so many."""
    import av
    from av.video.frame import PictureType

    shown = f"testsrc2=size={size}:rate=30:duration=10,noise=alls=6:allf=t"
    options = {"preset": "medium", "crf": "23", "g": str(distance), "x264-params": "scenecut=0"}
    with av.open(shown, format="lavfi") as source, av.open(path, "w") as made:
        stream = made.add_stream("libx264", rate=30, options=options)
        stream.width, stream.height = map(int, size.split("x"))
        stream.pix_fmt = "yuv420p"
        for picture in source.decode(video=0):
            coded = picture.reformat(format="yuv420p")
            coded.pict_type = PictureType.NONE  # the encoder decides; as it comes, each would be a key frame
            made.mux(stream.encode(coded))
        made.mux(stream.encode())


def made_videos(folder: str) -> List[str]:
    """The videos of all distances in a folder, those that are not there made."""
    os.makedirs(folder, exist_ok=True)
    paths = [os.path.join(folder, f"every_{distance}.mp4") for distance in DISTANCES]
    for path, distance in zip(paths, DISTANCES):
        if not os.path.exists(path):
            make_video(path + ".part.mp4", distance)
            os.replace(path + ".part.mp4", path)
    return paths


def before(command: str, bundle: str, video: str, early_exit: bool) -> Callable[[], float]:
    """What the second of two recognitions takes with another `tlee-run`, in milliseconds."""
    paths = [os.path.abspath(path) for path in (bundle, video, video)]

    def once() -> float:
        with tempfile.TemporaryDirectory() as folder:
            results = os.path.join(folder, "results.jsonl")
            options = ["--json", results] + ([] if early_exit else ["--no-early-exit"])
            arguments = shlex.split(command) + paths + options
            subprocess.run(arguments, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with open(results, encoding="utf-8") as lines:
                return float(json.loads(list(lines)[-1])["milliseconds"])

    return once


def time_file(recognizer: Recognizer, video: str, runs: int, other: Optional[Callable[[], float]]) -> List[List[float]]:
    """Milliseconds of end to end, of decoding, of inference, and of the other state, if there is one."""

    def decoded(indices: Optional[List[int]] = None) -> List[np.ndarray]:
        with open_clip(video) as clip:
            return list(read_frames(clip, recognizer.bundle.frames, indices))

    clip = np.stack(decoded())
    needed = [frame.video_frame for frame in recognizer.recognize(video).frames]
    functions = [lambda: recognizer.recognize(video), lambda: decoded(needed), lambda: recognizer.recognize(clip)]
    others: List[float] = []
    if other is not None:
        functions.append(lambda: others.append(other()))
    times = timing.in_turns(functions, runs, WARM_UP)
    return times[:3] + ([others[WARM_UP:]] if other is not None else [])


def measure(report: timing.Report, bundle: Bundle, opened: Any, options: argparse.Namespace) -> None:
    """A line for each video, sampling and exit rule."""
    for video in options.videos or made_videos(options.folder):
        for sampling in (UNIFORM, KEYFRAMES):
            for name, early_exit in (("early exits", True), ("no exit", False)):
                other = before(options.before, options.bundle, video, early_exit) if options.before else None
                sampled = bundle.sampled(sampling)
                chain = chain_of(sampled, opened.backend, opened.exit_graphs)
                with Recognizer(sampled, chain, bundle_policy(bundle, early_exit=early_exit)) as recognizer:
                    whole, *apart = time_file(recognizer, video, options.runs, other)
                decoding, inference, *others = map(np.array, apart)
                least = (np.maximum if opened.backend.is_async else np.add)(decoding, inference)
                parts = {"file, ms": whole, "decoding, ms": decoding, "inference, ms": inference}
                parts["decoding, %"] = 100 * decoding / (decoding + inference)
                if others:
                    parts.update({"before, ms": others[0], "times as fast": others[0] / whole})
                title = f"{os.path.basename(video)}, {sampling}, {name}"
                report.add(title, parts, timing.ratio(whole, least), LEAST)


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("files", __doc__, 20, backend=True)
    parser.add_argument("bundle")
    parser.add_argument("videos", nargs="*", metavar="video", help="instead of made ones")
    parser.add_argument("--folder", default="build/videos", help="of made videos (%(default)s)")
    parser.add_argument("--before", metavar="COMMAND", help="the tlee-run of another state, to compare with")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    opened = open_backend(bundle, BackendConfig(options.backend, threads=options.threads))
    report = timing.Report("files", f"video file / the least, {opened.backend.name}", options, LIBRARIES)
    with contextlib.closing(opened.backend):
        measure(report, bundle, opened, options)
    report.finish()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.files", command)
