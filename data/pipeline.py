"""GStreamer, by PyGObject: elements in a line whose last hands its samples to us. Nothing of it runs before it is
used, and nothing after it is closed."""

import os
import time
from typing import Any, Callable, Iterator, List, Optional

import gi

try:
    for name in ("Gst", "GstBase", "GstVideo"):
        gi.require_version(name, "1.0")
    from gi.repository import Gst, GstBase, GstVideo
except ValueError as error:  # PyGObject is there, what it tells of GStreamer is not
    raise ImportError(str(error)) from None

from tlee.errors import UsageError

__all__ = ["Gst", "GstBase", "GstVideo", "NothingDecoded", "Pipeline", "PipelineError", "element", "start_gstreamer"]
STEP = 20 * 1000 * 1000  # ns: how long a sample is waited for before errors are looked for
LIMIT = 60  # s without any answer, after which a pipeline is given up
QUEUE = 4  # samples that may wait for us


_started: List[int] = []  # the process that GStreamer runs in


def start_gstreamer() -> None:
    """Ready it for use. Raises UsageError in a process that was forked off from one that has used it: it would wait
    for ever for threads that are not in this one."""
    if not _started:
        Gst.init(None)
        _started.append(os.getpid())
    if _started[0] != os.getpid():
        what = "GStreamer was used before this process was forked off, and does not work in it"
        raise UsageError("reading of video", what, "start processes anew (spawn), or pip install av")


class PipelineError(Exception):
    """A pipeline cannot go on."""


class NothingDecoded(PipelineError):
    """A decoder could use nothing of what it was given."""


def element(kind: str, **properties: Any) -> Any:
    """An element of a pipeline. Raises PipelineError where its plugin is not installed."""
    made = Gst.ElementFactory.make(kind, None)
    if made is None:
        raise PipelineError(f"GStreamer has no {kind}")
    for name, value in properties.items():
        made.set_property(name.replace("_", "-"), value)
    return made


class Pipeline:
    """Elements, each linked to the next.

    Args:
        elements: of GStreamer.
        caps: what we take of the last, as text; None for all.
        queue: how many samples may wait for us.
        linked: False where the last gets its outlets, which `inlet` takes, only from what it reads.
    """

    def __init__(self, *elements: Any, caps: Optional[str] = None, queue: int = QUEUE, linked: bool = True) -> None:
        self.source = elements[0]
        self.sink = element("appsink", sync=False, max_buffers=queue, enable_last_sample=False)
        self.sink.set_drop_out_of_segment(False)
        if caps is not None:
            self.sink.set_property("caps", Gst.Caps.from_string(caps))
        self._pipeline = Gst.Pipeline.new(None)
        chain = [*elements, self.sink]
        for part in chain:
            self._pipeline.add(part)
        for one, other in zip(chain, chain[1:] if linked else elements[1:]):
            if not one.link(other):
                raise PipelineError(f"{other.get_factory().get_name()} does not take what comes")
        self._bus = self._pipeline.get_bus()

    def start(self) -> "Pipeline":
        """Let it run."""
        self._pipeline.set_state(Gst.State.PLAYING)
        return self

    def pull(self, feed: Callable[[], bool] = lambda: False) -> Optional[Any]:
        """The next sample; None at the end.

        Args:
            feed: called before each wait; it gives the first element what it has room for, and says whether it did.

        Raises:
            NothingDecoded
            PipelineError: it cannot go on, or hangs.
        """
        waits_since = time.monotonic()
        while True:
            if feed():
                waits_since = time.monotonic()
            sample = self.sink.emit("try-pull-sample", STEP)
            if sample is not None:
                return sample
            message = self._bus.pop_filtered(Gst.MessageType.ERROR)
            if message is not None:
                error = message.parse_error()[0]
                undecodable = error.matches(Gst.stream_error_quark(), Gst.StreamError.DECODE)
                raise (NothingDecoded if undecodable else PipelineError)(error.message.rstrip("."))
            if self.sink.get_property("eos"):
                return None
            if time.monotonic() - waits_since > LIMIT:
                raise PipelineError(f"GStreamer gave no answer for {LIMIT} s")

    def samples(self) -> Iterator[Any]:
        """All that come."""
        return iter(self.pull, None)

    def add(self, part: Any) -> None:
        """Put another element into a pipeline that runs."""
        self._pipeline.add(part)
        part.sync_state_with_parent()

    def seek(self, place: int) -> bool:
        """Go on from the last key frame before a time, in ns; whether that is possible."""
        self._pipeline.get_state(LIMIT * Gst.SECOND)
        flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
        return bool(self._pipeline.seek_simple(Gst.Format.TIME, flags, place))

    def close(self) -> None:
        """Stop it, with its threads and files."""
        self._pipeline.set_state(Gst.State.NULL)

    def __del__(self) -> None:  # GStreamer would complain about one that is dropped while it runs
        self.close()
