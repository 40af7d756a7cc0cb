"""How long a bundle may take on a board that one does not have: an estimate from what its segments cost and from what
others have published of that board, see fit.py. Never a measurement, and every output says so.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tlee.bundle import FUSED, Bundle
from tlee.cli import table
from tlee.errors import UsageError
from tlee.manifest import FP32_ONLY
from tlee.reports.fit import BOARDS, Error, board_named, compared, error, error_of, milliseconds, peak_times, sources

DEFAULT_PRECISION = "fp16"  # all these boards are faster in it


class Estimate(NamedTuple):
    """Milliseconds of every segment and fused exit of a bundle on a board, without the host's part."""

    bundle: str  # its name
    board: str
    precision: str
    milliseconds: dict[str, float]  # of exit_graphs: the sum of their segments
    error: Error  # how far such estimates are from published times
    compared: Error | None  # with figures by others, which no fit has seen

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        compared = None if self.compared is None else dict(self.compared._asdict())
        result = dict(self._asdict(), error=dict(self.error._asdict()), compared=compared)
        return dict(result, estimate=True, sources=sources(BOARDS[self.board].fitted))


class Video(NamedTuple):
    """What videos are estimated to take on average."""

    what: str
    frames: float
    milliseconds: float


def estimate(bundle: Bundle, board: str, precision: str | None = None) -> Estimate:
    """What each segment and fused exit may take on a board, one frame of one video at a time.

    FRM, head and gate always count in float32, as they are built. In INT8 what the bundle's plan keeps out of it counts
    in FP16.

    Raises:
        UsageError: no such board, or it is not fast in this precision.
    """
    named, wanted = board_named(board), precision or DEFAULT_PRECISION
    if wanted not in named.peak:
        remedy = "choose of: {}".format(", ".join(sorted(named.peak)))
        raise UsageError(named.title, f"computes nothing fast in {wanted}", remedy)
    times = {}
    for name, entry in bundle.manifest["segments"].items():
        times[name] = milliseconds(peak_times(named, entry, _precision(bundle, name, wanted)), named.fitted)
    times.update({name: sum(times[part] for part in fused.segments) for name, fused in bundle.fused_exits.items()})
    others = error([c for c in compared(board) if c.figure.precision == wanted], board, False)
    return Estimate(bundle.name, board, wanted, times, error_of(board, wanted), others)


def _precision(bundle: Bundle, name: str, wanted: str) -> str:
    if name in FP32_ONLY:
        return "fp32"
    planned = wanted == "int8" and "int8" in bundle.manifest["variants"]
    return "fp16" if planned and bundle.variant(name, "int8") is None else wanted


def video_milliseconds(bundle: Bundle, estimated: Estimate, results: Sequence[Any] = ()) -> list[Video]:
    """What a video may take with fused exits: without exits, with every frame to one exit and no other, and on average
    of given results with the frames and exits that these used.

    Args:
        results: `tlee.runtime.results.Result`, whose frames evaluated every exit up to the one that they left at.
    """
    times, last = estimated.milliseconds, bundle.exits - 1
    splits = [sum(times[f"split{i}"] for i in range(b + 1)) for b in range(bundle.exits)]
    exits = [times[f"exit{b}"] for b in range(bundle.exits)]
    count = bundle.frames.length
    videos = [Video("no exit", count, count * (splits[last] + exits[last]))]
    for b in range(last):
        videos.append(Video(f"all frames to exit {b}", count, count * (splits[b] + exits[b])))
    if results:
        left = [[splits[f.exit_layer] + sum(exits[: f.exit_layer + 1]) for f in result.frames] for result in results]
        frames = sum(len(video) for video in left) / float(len(results))
        videos.append(Video("these videos", frames, sum(sum(video) for video in left) / float(len(results))))
    return videos


def lines(bundle: Bundle, estimated: Estimate, results: Sequence[Any] = ()) -> list[str]:
    """The estimate for a terminal. Its first line says what it is."""
    board = BOARDS[estimated.board]
    head = f"ESTIMATE, nothing was measured: {bundle.name} on {board.title}, {estimated.precision}"
    text = [head, _reliability(estimated)]
    if board.fitted != estimated.board:
        text.append(
            f"no published times of {board.title} are fitted: its peak rates with the factors of "
            f"{BOARDS[board.fitted].title}, whose tensor cores and software are others; expect more than that error"
        )
    if estimated.compared is not None and estimated.error.left_out:
        text.append(
            "on {figures} figures by others, which are not fitted: off by {median:.0%} in the median (with signs "
            "{bias:+.0%}), {worst:.0%} at worst".format(**estimated.compared._asdict())
        )
    text += [f"fitted to: {source}" for source in sources(board.fitted)]
    rows = [["graph", "ms"]] + [[n, f"{estimated.milliseconds[n]:.3f}"] for n in bundle.chain(FUSED)]
    text += [""] + table(rows, "lr") + [""]
    rows = [["video", "frames", "ms", "videos a second"]]
    for video in video_milliseconds(bundle, estimated, results):
        rate = 1000 / video.milliseconds
        rows.append([video.what] + [f"{n:.3g}" for n in (video.frames, video.milliseconds, rate)])
    return (
        text + table(rows, "lrrr") + ["", "without reading and preparing frames, and without the host between graphs"]
    )


def _reliability(estimated: Estimate) -> str:
    error = estimated.error
    how = "each network left out of its fit" if error.left_out else "none of them fitted"
    text = "off by {:.0%} in the median and {:.0%} at worst on {} published times of {}, {}"
    return text.format(error.median, error.worst, error.figures, BOARDS[error.board].title, how)
