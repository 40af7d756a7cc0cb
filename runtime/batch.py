"""The recogniser for several videos at once.

A video that stops makes room for the next one at once, and a frame that leaves early does not wait for those that go
deeper: what is gathered is decided split by split, among all videos under way. Source of the idea: Yu et al., "Orca",
OSDI 2022 (iteration-level scheduling), here with splits as the iterations.
"""

import contextlib
import itertools
import threading
import weakref
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, Callable, Dict, Generator, Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np

from tlee.bundle import FUSED, Bundle
from tlee.errors import InputError, SegmentError, UsageError
from tlee.frames import FrameSpec
from tlee.inference import Step
from tlee.policy import Action, ExitPolicy, Thresholds
from tlee.runtime.backend import Backend
from tlee.runtime.backends import AUTO, BackendConfig, BackendOwner, open_backend
from tlee.runtime.background import Background
from tlee.runtime.batch_chain import BatchChain, Slot
from tlee.runtime.clips import Clip, ClipRequest, Reading, clip_request, windows
from tlee.runtime.live import LiveSource, StreamEnd
from tlee.runtime.prefetch import END, LIKELY, WORKERS, Frames, submitted
from tlee.runtime.recognizer import bundle_policy
from tlee.runtime.results import Reporter, Result, Steps, no_frame
from tlee.runtime.running_rate import RunningRate

Answer = Union[Result, InputError]
Ending = Union[Result, Exception]  # of one video; what is no `Answer` is raised when its turn comes


class _Video:
    """A video under way in its place; `pending` brings a frame that is being read."""

    def __init__(self, number: int, request: ClipRequest, place: Slot, spec: FrameSpec) -> None:
        self.number, self.request, self.place = number, request, place
        self.done = Steps()
        self.frames = Frames(Reading(request, spec), lambda frame: frame)
        self.pending: Optional[Future[Any]] = None


class BatchRecognizer(BackendOwner):
    """Recognises videos or cameras several at a time; each answer is the one that `Recognizer` gives. For one thread.

    Args:
        bundle: what is run.
        backend: for `rows` videos at once; closed with this.
        policy: when frames leave and videos stop.
        rows: videos at once, at most.
        prefetch: see `Recognizer.load`.
        notes: what the user should know of how the backend was chosen.

    Attributes:
        rows: videos at once, at most.

    Example:
        >>> clips = ["examples/clips/digit0_easy_00010.mp4", "missing.mp4", "examples/clips/digit9_easy_00029.mp4"]
        >>> with BatchRecognizer.load("build/digits.tlee", 2, backend="cpu") as recognizer:
        ...     for answer in recognizer.recognize(clips):
        ...         print(answer.label if isinstance(answer, Result) else answer)
        0
        missing.mp4: no such file or folder; check the path
        9
    """

    def __init__(
        self,
        bundle: Bundle,
        backend: Backend,
        policy: ExitPolicy,
        rows: int,
        prefetch: bool = True,
        notes: Optional[List[str]] = None,
    ) -> None:
        self.bundle, self.policy, self.rows, self.notes = bundle, policy, rows, notes or []
        self._backend = backend
        self._prefetch = prefetch and backend.is_async
        self._chain = BatchChain(bundle, backend, policy, rows)
        self._reporter, self._chances = Reporter(bundle), RunningRate()
        self._readers = Background(WORKERS * rows)
        self._computing, self._beginning = threading.Lock(), threading.Lock()
        self._under_way: Callable[[], Optional[_Run]] = lambda: None  # weak: what nobody holds any more is over
        self._close = weakref.finalize(self, _close, self._readers, backend)

    @classmethod
    def load(
        cls,
        path: Any,
        batch: int,
        backend: str = AUTO,
        thresholds: Optional[Thresholds] = None,
        point: Optional[str] = None,
        early_exit: bool = True,
        threads: Optional[int] = None,
        shared_pool: bool = False,
        precision: str = "fp32",
        engine_dir: Optional[str] = None,
        prefetch: bool = True,
    ) -> "BatchRecognizer":
        """Open a bundle for `batch` videos at once; all else, and what is raised, as in `Recognizer.load`."""
        bundle = path if isinstance(path, Bundle) else Bundle.open(path)
        policy = bundle_policy(bundle, thresholds, point, early_exit)
        opened = open_backend(bundle, BackendConfig(backend, FUSED, precision, engine_dir, threads, shared_pool, batch))
        with opened.closed_on_failure():
            if opened.exit_graphs != FUSED:
                problem = "engines of separate segments take one video at a time"
                raise UsageError(bundle.path, problem, f"build with tlee-build --batch {batch}")
            return cls(bundle, opened.backend, policy, batch, prefetch, opened.notes)

    def close(self) -> None:
        """As `BackendOwner.close`. Raises UsageError while this computes or reads."""
        if self._readers.calls_here or not self._computing.acquire(False):
            raise UsageError("batch recogniser", "closed while it recognises", "take its answers first")
        try:
            self._close()
        finally:
            self._computing.release()

    def recognize(self, clips: Iterable[Clip]) -> Iterator[Answer]:
        """Recognise clips, see `Recognizer.recognize`.

        Answers come in the clips' order; an `InputError` is one, too.

        Args:
            clips: taken one by one as places become free.

        Raises:
            UsageError: this is closed, or already recognises other videos.
            What `clips` raises, after the answers of the clips before.
        """
        early: Dict[int, Ending] = {}
        following = 0
        with contextlib.closing(self._run([iter(clips)] * self.rows, self._prefetch)) as endings:
            for number, ending in endings:
                early[number] = ending
                while following in early:
                    yield _answer(early.pop(following))
                    following += 1

    def stream(self, addresses: List[str], seconds: float = 2.0) -> Iterator[Result]:
        """Recognise several live sources window by window, see `Recognizer.stream`; answers as they come.

        Args:
            addresses: at most `rows`.
            seconds: length of a window.

        Raises:
            InputError: a source cannot be opened, or a segment gave NaN.
            UsageError: there are more than `rows`, this is closed, or it already recognises other videos.
        """
        if len(addresses) > self.rows:
            problem = f"{len(addresses)} for a batch of {self.rows}"
            raise UsageError("live sources", problem, "load it for as many as there are")
        with contextlib.ExitStack() as stack:
            sources = [stack.enter_context(LiveSource(address)) for address in addresses]
            feeds = [windows(source, self.bundle.frames, seconds) for source in sources]
            with contextlib.closing(self._run(feeds, True)) as endings:
                for _, ending in endings:
                    if isinstance(ending, Exception):
                        raise ending
                    yield ending

    def _run(self, feeds: List[Iterator[Any]], threads: bool) -> "Generator[Tuple[int, Ending], None, None]":
        """Answers by the numbers of the videos, as they come.

        Args:
            feeds: for each place the clips or tasks that go there; several places may share one.
            threads: read frames in other threads, while something is computed or another source has nothing yet.
        """
        run = self._begun(feeds, threads)
        try:
            while not run.over:
                with self._computing:
                    self._check_open()
                    with self._backend:
                        endings = run.step()
                yield from endings
        finally:
            run.end()
            self._under_way = lambda: None

    def _begun(self, feeds: List[Iterator[Any]], threads: bool) -> "_Run":
        self._check_open()
        with self._beginning:
            if self._under_way():
                problem = "already recognises other videos"
                raise UsageError("batch recogniser", problem, "take all its answers first, or close what gives them")
            run = _Run(self, feeds, self._readers if threads else None)
            self._under_way = weakref.ref(run)
        return run

    def _check_open(self) -> None:
        if not self._close.alive:
            raise UsageError("recogniser", "closed", "load another one")


class _Run:
    """Videos taken from feeds to their answers."""

    def __init__(self, owner: BatchRecognizer, feeds: List[Iterator[Any]], readers: Optional[Background]) -> None:
        self._chain, self._spec = owner._chain, owner.bundle.frames
        self._reporter, self._chances, self._readers = owner._reporter, owner._chances, readers
        self._free = [(Slot(row, owner.policy), feed) for row, feed in enumerate(feeds)]
        self._feeds = dict(enumerate(feeds))
        self._videos: Dict[int, _Video] = {}  # under way, by row
        self._reading: List[_Video] = []  # of these, those that wait for a frame
        self._numbers = itertools.count()
        self._chain.drop()  # what a run left that was interrupted while it ended

    @property
    def over(self) -> bool:
        return not self._videos and not self._free

    def step(self) -> List[Tuple[int, Ending]]:
        """Fill places, take frames that were read, and compute one batch."""
        endings = self._admit()
        endings += self._collect(patient=not endings)
        if self._chain.waiting:
            for place, answer, logits in self._chain.advance():
                endings += self._take(self._videos[place.row], answer, logits)
        return endings

    def end(self) -> None:
        """Leave what is under way."""
        self._chain.drop()
        while self._videos:
            _, video = self._videos.popitem()
            video.frames.drop(video.pending)

    def _admit(self) -> List[Tuple[int, Ending]]:
        """Fill free places, unless it becomes apparent that many clips cannot be opened."""
        ended: List[Tuple[int, Ending]] = []
        while self._free and len(ended) < len(self._feeds):
            place, feed = self._free.pop()
            try:
                item = next(feed)
            except StopIteration:
                continue  # the place stays empty
            except Exception as error:
                ended.append((next(self._numbers), error))
                continue  # here, too
            number = next(self._numbers)
            try:
                request = item if isinstance(item, ClipRequest) else clip_request(item, self._spec)
            except Exception as error:
                self._free.append((place, feed))
                ended.append((number, error))
                continue
            self._chain.begin(place)
            self._videos[place.row] = video = _Video(number, request, place, self._spec)
            self._want(video)
        return ended

    def _want(self, video: _Video) -> None:
        self._reading.append(video)
        self._read(video)

    def _read(self, video: _Video) -> None:
        """Have the next frame read, if it is not being read already."""
        if video.pending is None and self._readers:
            video.pending = submitted(self._readers, video.frames.next)

    def _collect(self, patient: bool) -> List[Tuple[int, Ending]]:
        """Hand frames that were read on; if `patient`, wait for one where nothing else is to be done."""
        reads = [video.pending for video in self._reading if video.pending]
        if patient and reads and len(reads) == len(self._reading) and not self._chain.waiting:
            wait(reads, return_when=FIRST_COMPLETED)
        ended: List[Tuple[int, Ending]] = []
        for video in list(self._reading):
            if video.pending and not video.pending.done():
                continue
            self._reading.remove(video)
            pending, video.pending = video.pending, None
            try:
                frame = pending.result() if pending else video.frames.next()
            except StreamEnd:
                self._leave(video)
                self._free.pop()  # nothing comes after that
            except Exception as error:
                ended += self._answer(video, error)
            else:
                ended += self._ended(video) if frame is END else self._put(video, frame)
        return ended

    def _put(self, video: _Video, frame: np.ndarray) -> List[Tuple[int, Ending]]:
        self._chain.put(video.place, frame)
        if self._chances.of(video.place.exit_steps.frame) >= LIKELY:
            self._read(video)
        return []

    def _ended(self, video: _Video) -> List[Tuple[int, Ending]]:
        """The answer of a video that has fewer frames than the model reads."""
        if not video.done.steps:
            return self._answer(video, no_frame(video.request))
        logits = self._chain.left_with(video.place)
        return self._answer(video, self._reporter.result(video.request, video.done, logits))

    def _take(
        self, video: _Video, answer: Union[Step, SegmentError], logits: Optional[np.ndarray]
    ) -> List[Tuple[int, Ending]]:
        if isinstance(answer, SegmentError):
            return self._answer(video, InputError(video.request.source, answer.problem, answer.remedy))
        video.done.add(answer, video.place.milliseconds)
        if answer.decision.action is not Action.CONTINUE:
            self._chances.count(answer.frame, logits is None)
        if logits is not None:
            return self._answer(video, self._reporter.result(video.request, video.done, logits))
        if answer.decision.action is Action.FRAME_DONE:
            self._want(video)
        return []

    def _answer(self, video: _Video, ending: Ending) -> List[Tuple[int, Ending]]:
        self._leave(video)
        return [(video.number, ending)]

    def _leave(self, video: _Video) -> None:
        video.frames.drop(video.pending)
        del self._videos[video.place.row]
        self._free.append((video.place, self._feeds[video.place.row]))


def _answer(ending: Ending) -> Answer:
    if isinstance(ending, Exception) and not isinstance(ending, InputError):
        raise ending
    return ending


def _close(readers: Background, backend: Backend) -> None:
    readers.close()
    backend.close()
