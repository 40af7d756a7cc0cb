"""What a video file takes from end to end, against decoding and inference for themselves.

    python -m tlee.benchmarks.development.files VIDEO BUNDLE.tlee

Decoding is reading and preparing the frames that the recognition needed, in their order, from a newly opened file;
inference is recognising the same video given as an array. Where the CPU computes, end to end should be little more than
both together; where something else does, little more than the longer of the two, for videos of which many frames are
needed: nothing overlaps with decoding the first.
"""

from typing import List, Optional

import numpy as np

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.bundle import Bundle
from tlee.data.clips import open_clip, read_frames
from tlee.policy import ExitPolicy
from tlee.runtime import Recognizer
from tlee.runtime.backends import BackendConfig, open_backend
from tlee.runtime.base import bundle_policy
from tlee.runtime.chain import chain_of

SEQUENTIAL, OVERLAPPED = 1.1, 1.15  # goals


def time_file(recognizer: Recognizer, video: str, runs: int) -> List[List[float]]:
    """Milliseconds of end to end, of decoding and of inference."""

    def decoded(indices: Optional[List[int]] = None) -> List[np.ndarray]:
        with open_clip(video) as clip:
            return list(read_frames(clip, recognizer.bundle.frames, indices))

    clip = np.stack(decoded())
    needed = [frame.video_frame for frame in recognizer.recognize(video).frames]
    functions = [lambda: recognizer.recognize(video), lambda: decoded(needed), lambda: recognizer.recognize(clip)]
    return timing.in_turns(functions, runs, warm_up=2)


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("files", __doc__, 100, backend=True)
    parser.add_argument("video")
    parser.add_argument("bundle")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    opened = open_backend(bundle, BackendConfig(options.backend, threads=options.threads, shared_pool=True))
    own = bundle_policy(bundle)
    policies = {
        "early exits": own,
        "frames leave early, the video does not stop": ExitPolicy(own.frames, own.thresholds, frame_exit=False),
        "no exit": bundle_policy(bundle, early_exit=False),
    }
    overlapped = opened.backend.is_async
    apart_title = "longer of decoding and inference" if overlapped else "decoding + inference"
    title = f"video file / {apart_title}, {opened.backend.name}"
    report = timing.Report("files", title, options, ["onnxruntime", "cv2", "tensorrt"])
    for name, policy in policies.items():
        chain = chain_of(bundle, opened.backend, opened.exit_graphs)
        with Recognizer(bundle, chain, policy) as recognizer:
            times = time_file(recognizer, options.video, options.runs)
        apart = (np.maximum if overlapped else np.add)(np.array(times[1]), np.array(times[2]))
        parts = dict(zip(("file, ms", "decoding, ms", "inference, ms"), times))
        report.add(name, parts, timing.ratio(times[0], apart), OVERLAPPED if overlapped else SEQUENTIAL)
    report.finish()
    opened.backend.close()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.files", command)
