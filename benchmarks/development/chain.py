"""What chaining costs: the splits of a backbone one after the other, against the same backbone as one graph.

    python -m tlee.benchmarks.development.chain

Both run in one process on one thread pool, in turn; the ratio is that of each pair of runs.
"""

from typing import Any, List, Optional

import numpy as np

from tlee import cli
from tlee.benchmarks.development import timing
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.runtime.onnx_backend import OnnxBackend
from tlee.runtime.onnx_session import open_session

BACKBONES = ("mobilenetv2", "resnet50", "efficientnet_b3", "vgg16")
GOAL = 1.02


def time_whole_and_chain(bundle: Bundle, graph_path: str, runs: int, threads: Optional[int]) -> List[List[float]]:
    """Milliseconds of the one graph and of the chain."""
    if any(segment.state for segment in bundle.segments.values()):
        remedy = "compare a backbone without temporal shift"
        raise UsageError(bundle.name, "hands a state from frame to frame, which one graph does not", remedy)
    splits = [f"split{b}" for b in range(bundle.exits)]
    backend = OnnxBackend(bundle, threads, shared_pool=True, graphs=splits)
    with open(graph_path, "rb") as stream:
        session = open_session(stream.read(), threads, shared_pool=True)
    size = bundle.frames.crop
    frame: Any = backend.frame(np.random.RandomState(0).uniform(0, 255, (size, size, 3)))
    result = session.get_outputs()[0]
    output: Any = backend.empty([1] + result.shape[1:])
    binding = session.io_binding()
    binding.bind_ortvalue_input("frame", frame.of(1))
    binding.bind_ortvalue_output(result.name, output.of(1))

    def whole() -> Any:
        session.run_with_iobinding(binding)
        return output

    def chain() -> Any:
        x = frame
        for name in splits:
            x = backend.run(name, x)[0]
        return x

    expected = backend.array(whole())
    if not np.abs(expected - backend.array(chain())).max() < 1e-3 * np.abs(expected).max():
        raise UsageError(graph_path, f"computes something else than {bundle.path}", "make both anew")
    return timing.in_turns([whole, chain], runs)


def command(arguments: Optional[List[str]]) -> None:
    parser = timing.parser("chain", __doc__, 500)
    parser.add_argument("backbones", nargs="*", default=BACKBONES, metavar="BACKBONE", help="backbones to compare")
    parser.add_argument("--folder", metavar="FOLDER", help="with NAME.tlee and NAME.onnx of tlee.export.backbone")
    options = parser.parse_args(arguments)
    report = timing.Report("chain", "chained splits / one graph", options, ["onnxruntime"])
    for name, path in timing.exported(options):
        times = time_whole_and_chain(Bundle.open(path + ".tlee"), path + ".onnx", options.runs, options.threads)
        parts = dict(zip(("one graph, ms", "chain, ms"), times))
        report.add(name, parts, timing.ratio(times[1], times[0]), GOAL)
    report.finish()


if __name__ == "__main__":
    cli.main("tlee.benchmarks.development.chain", command)
