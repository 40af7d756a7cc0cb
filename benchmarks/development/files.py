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
from tlee.data.video import open_clip, read_frames
from tlee.frames import FrameSpec
from tlee.policy import ExitPolicy
from tlee.runtime import Recognizer
from tlee.runtime.backends import AUTO, BACKENDS, BackendConfig, open_backend
from tlee.runtime.base import bundle_policy
from tlee.runtime.chain import chain_of

IN_TURN, BESIDE = 1.1, 1.15  # goals


def decoded(video: str, spec: FrameSpec, indices: Optional[List[int]] = None) -> List[np.ndarray]:
    """The frames at these indices of a file, without them all that a model reads."""
    with open_clip(video) as clip:
        return list(read_frames(clip, spec, indices))


def measure(recognizer: Recognizer, video: str, runs: int) -> List[List[float]]:
    """Milliseconds of end to end, of decoding and of inference."""
    spec = recognizer.bundle.frames
    clip = np.stack(decoded(video, spec))
    needed = [frame.video_frame for frame in recognizer.recognize(video).frames]
    functions = [
        lambda: recognizer.recognize(video),
        lambda: decoded(video, spec, needed),
        lambda: recognizer.recognize(clip),
    ]
    return timing.in_turns(functions, runs, warm_up=2)


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("files", __doc__, 100)
    parser.add_argument("video")
    parser.add_argument("bundle")
    parser.add_argument("--backend", choices=BACKENDS, default=AUTO, help="what computes (%(default)s)")
    options = parser.parse_args(arguments)
    bundle = Bundle.open(options.bundle)
    opened = open_backend(bundle, BackendConfig(options.backend, threads=options.threads, shared_pool=True))
    full = bundle_policy(bundle, early_exit=False)
    own = bundle_policy(bundle)
    policies = {
        "early exits": own,
        "frames leave early, the video does not stop": ExitPolicy(own.frames, own.thresholds, frame_exit=False),
        "no exit": full,
    }
    beside = opened.backend.is_async
    title = "video file / {}, {}".format(
        "longer of decoding and inference" if beside else "decoding + inference", opened.backend.name
    )
    report = timing.Report("files", title, options, ["onnxruntime", "cv2", "tensorrt"])
    for name, policy in policies.items():
        chain = chain_of(bundle, opened.backend, opened.exit_graphs)
        with Recognizer(bundle, chain, policy) as recognizer:
            times = measure(recognizer, options.video, options.runs)
        apart = (np.maximum if beside else np.add)(np.array(times[1]), np.array(times[2]))
        parts = dict(zip(("file, ms", "decoding, ms", "inference, ms"), times))
        report.add(name, parts, timing.ratio(times[0], apart), BESIDE if beside else IN_TURN)
    report.finish()
    opened.backend.close()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.files", command)
