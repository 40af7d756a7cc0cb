"""How long a bundle may take on a board that one does not have: an estimate from what its segments cost and from what
others have published of that board, see fit.py. Never a measurement, and every output says so.

With videos, it reads which exits these used from results of `tlee-run --json`, wherever they were computed: recognising
them here would need a backend, which reports do without.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from tlee.bundle import FUSED, Bundle
from tlee.cli import table
from tlee.device_profile import FORMAT
from tlee.errors import UsageError
from tlee.manifest import FP32_ONLY
from tlee.modes import rival_frames
from tlee.reading import JSON_LIMIT, parse_json, read_bytes
from tlee.reports.fit import BOARDS, Error, compared, error_of, error_on, milliseconds, peak_times, sources

RESULTS = "give a file that `tlee-run NAME.tlee VIDEO... --json` wrote"
DEFAULT_PRECISION = "fp16"  # all these boards are faster in it


class Estimate(NamedTuple):
    """Milliseconds of every segment and fused exit of a bundle on a board, without the host's part."""

    bundle: str  # its name
    board: str
    precision: str
    milliseconds: dict[str, float]  # by graph; a fused exit takes the sum of its segments
    error: Error  # how far such estimates are from published times
    compared: Error | None  # with figures by others, which no fit has seen

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        errors = {"error": self.error._asdict(), "compared": self.compared and self.compared._asdict()}
        return {**self._asdict(), **errors, "estimate": True, "sources": sources(BOARDS[self.board].fitted)}


class Video(NamedTuple):
    """What videos are estimated to take on average."""

    what: str
    frames: float
    milliseconds: float


def estimate(bundle: Bundle, board: str, precision: str = DEFAULT_PRECISION) -> Estimate:
    """What each segment and fused exit may take on a board in this precision, one frame of one video at a time.

    FRM, head and gate always count in float32, as they are built. In INT8 what the bundle's plan keeps out of it counts
    in FP16.

    Raises:
        UsageError: no such board, or it is not fast in this precision.
    """
    if board not in BOARDS:
        raise UsageError(board, "no such board is known", f"choose of: {', '.join(sorted(BOARDS))}")
    named = BOARDS[board]
    if precision not in named.peak:
        remedy = f"choose of: {', '.join(sorted(named.peak))}"
        raise UsageError(named.title, f"computes nothing fast in {precision}", remedy)
    times = {
        name: milliseconds(peak_times(named, entry, _precision(bundle, name, precision)), named.fitted)
        for name, entry in bundle.manifest["segments"].items()
    }
    times.update({name: sum(times[part] for part in fused.segments) for name, fused in bundle.fused_exits.items()})
    others = error_on([c for c in compared(board) if c.figure.precision == precision], board, False)
    return Estimate(bundle.name, board, precision, times, error_of(board, precision), others)


def _precision(bundle: Bundle, name: str, wanted: str) -> str:
    if name in FP32_ONLY:
        return "fp32"
    planned = wanted == "int8" and "int8" in bundle.manifest["variants"]
    return "fp16" if planned and bundle.variant(name, "int8") is None else wanted


def profile(bundle: Bundle, estimated: Estimate) -> dict[str, Any]:
    """The estimate as a profile for tlee-tune. Its device says what it is, also in what is made with it."""
    times = estimated.milliseconds
    return {
        "format": FORMAT,
        "device": f"{BOARDS[estimated.board].title} (estimate)",
        "precision": estimated.precision,
        "graphs": {n: {"milliseconds": times[n], "macs": bundle.graph(n).macs} for n in bundle.chain(FUSED)},
    }


def read_exits(path: str, bundle: Bundle) -> list[list[int]]:
    """Of each video in a file that `tlee-run --json` wrote, the exit of every frame that was used.

    Raises:
        UsageError: it is no such file, or names exits that the bundle does not have.
    """
    videos = []
    for number, line in enumerate(read_bytes(path, JSON_LIMIT, remedy=RESULTS).splitlines(), 1):
        try:
            exits = [frame["exit_layer"] for frame in parse_json(line)["frames"]]
        except (ValueError, TypeError, KeyError):
            raise UsageError(path, f"line {number} is not a result of tlee-run", RESULTS) from None
        if not exits or not all(type(exit) is int and 0 <= exit < bundle.exits for exit in exits):
            raise UsageError(path, f"line {number} names exits that {bundle.name} does not have", RESULTS)
        videos.append(exits)
    return videos


def video_milliseconds(bundle: Bundle, estimated: Estimate, videos: Sequence[Sequence[int]] = ()) -> list[Video]:
    """What a video may take with fused exits: of one frame, three frames and every frame to the tail, with every frame
    to one exit and no other, and on average of given videos.

    Args:
        videos: of each, the exit of every frame that was used, see `read_exits`. The frames evaluated all exits up to
            that one.
    """
    times, last = estimated.milliseconds, bundle.exits - 1
    splits = [sum(times[f"split{i}"] for i in range(b + 1)) for b in range(bundle.exits)]
    exits = [times[f"exit{b}"] for b in range(bundle.exits)]
    count = bundle.frames.length
    found = [Video(mode, t, t * (splits[last] + exits[last])) for mode, t in rival_frames(count).items()]
    for b in range(last):
        found.append(Video(f"all frames to exit {b}", count, count * (splits[b] + exits[b])))
    if videos:
        spent = [splits[exit] + sum(exits[: exit + 1]) for video in videos for exit in video]
        found.append(Video("these videos", len(spent) / len(videos), sum(spent) / len(videos)))
    return found


def lines(bundle: Bundle, estimated: Estimate, videos: Sequence[Sequence[int]] = ()) -> list[str]:
    """The estimate for a terminal. Its first line says what it is."""
    board = BOARDS[estimated.board]
    error = estimated.error
    how = "each network left out of its fit" if error.left_out else "none of them fitted"
    text = [
        f"ESTIMATE, nothing was measured: {bundle.name} on {board.title}, {estimated.precision}",
        f"off by {error.median:.0%} in the median and {error.worst:.0%} at worst on {error.figures} published times "
        f"of {BOARDS[error.board].title}, {how}",
    ]
    if board.fitted != estimated.board:
        text.append(
            f"no published times of {board.title} are fitted: its peak rates with the factors of "
            f"{BOARDS[board.fitted].title}, whose tensor cores and software are others; expect more than that error"
        )
    if estimated.compared is not None and error.left_out:
        text.append(
            "on {figures} figures by others, which are not fitted: off by {median:.0%} in the median (with signs "
            "{bias:+.0%}), {worst:.0%} at worst".format(**estimated.compared._asdict())
        )
    text += [f"fitted to: {source}" for source in sources(board.fitted)]
    rows = [["graph", "ms"]] + [[n, f"{estimated.milliseconds[n]:.3f}"] for n in bundle.chain(FUSED)]
    text += [""] + table(rows, "lr") + [""]
    rows = [["video", "frames", "ms", "videos a second"]]
    for video in video_milliseconds(bundle, estimated, videos):
        rate = 1000 / video.milliseconds
        rows.append([video.what] + [f"{n:.3g}" for n in (video.frames, video.milliseconds, rate)])
    end = "without reading and preparing frames, and without the host between graphs"
    return [*text, *table(rows, "lrrr"), "", end]
