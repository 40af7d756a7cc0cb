"""The recogniser for several videos at once.

A video that stops makes room for the next one at once, and a frame that leaves early does not wait for those that go
deeper: what is gathered is decided split by split, among all videos under way. Source of the idea: Yu et al., "Orca",
OSDI 2022 (iteration-level scheduling), here with splits as the iterations.
"""

import contextlib
import itertools
import weakref
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np

from tlee.bundle import FUSED, Bundle
from tlee.errors import InputError, SegmentError, UsageError
from tlee.inference import Step
from tlee.policy import Action, ExitPolicy, Thresholds
from tlee.runtime.backend import Backend
from tlee.runtime.backends import AUTO, Choice, OnBackend, open_backend
from tlee.runtime.batch_chain import BatchChain, Place
from tlee.runtime.chances import Chances
from tlee.runtime.clips import Clip, Task, clip_task, windows
from tlee.runtime.live import LiveSource, StreamEnd
from tlee.runtime.prefetch import LIKELY, WORKERS, Frames
from tlee.runtime.recognizer import bundle_policy
from tlee.runtime.results import Reporter, Result, Steps

Answer = Union[Result, InputError]


class _Video:
    """A video under way in its place; `pending` brings a frame that is being read."""

    def __init__(self, number: int, task: Task, place: Place) -> None:
        self.number, self.task, self.place = number, task, place
        self.done = Steps()
        self.frames = Frames(task.frames, lambda frame: frame)
        self.pending: "Optional[Future[Any]]" = None


class BatchRecognizer(OnBackend):
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
        self._prefetch = prefetch and backend.elsewhere
        self._chain = BatchChain(bundle, backend, policy, rows)
        self._reporter, self._chances = Reporter(bundle), Chances()
        self._readers = ThreadPoolExecutor(WORKERS * rows)
        self._busy = False
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
        opened = open_backend(bundle, Choice(backend, FUSED, precision, engine_dir, threads, shared_pool, batch))
        with opened.closed_on_failure():
            if opened.units != FUSED:
                problem = "engines of separate segments take one video at a time"
                raise UsageError(bundle.path, problem, "build with tlee-build --batch {}".format(batch))
            return cls(bundle, opened.backend, policy, batch, prefetch, opened.notes)

    def close(self) -> None:
        self._close()

    def recognize(self, clips: Iterable[Clip]) -> Iterator[Answer]:
        """Recognise clips, see `Recognizer.recognize`.

        Answers come in the clips' order; an `InputError` is one, too.

        Args:
            clips: taken one by one as places become free.

        Raises:
            UsageError: this is closed, or already recognises other videos.
        """
        early: Dict[int, Answer] = {}
        following = 0
        for number, answer in self._run([iter(clips)] * self.rows, self._prefetch):
            early[number] = answer
            while following in early:
                yield early.pop(following)
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
            problem = "{} for a batch of {}".format(len(addresses), self.rows)
            raise UsageError("live sources", problem, "load it for as many as there are")
        with contextlib.ExitStack() as stack:
            sources = [stack.enter_context(LiveSource(address)) for address in addresses]
            for _, answer in self._run([windows(source, self.bundle.frames, seconds) for source in sources], True):
                if isinstance(answer, InputError):
                    raise answer
                yield answer

    def _run(self, feeds: List[Iterator[Any]], threads: bool) -> Iterator[Tuple[int, Answer]]:
        """Answers by the numbers of the videos, as they come.

        Args:
            feeds: for each place the clips or tasks that go there; several places may share one.
            threads: read frames in other threads, while something is computed or another source has nothing yet.
        """
        if not self._close.alive:
            raise UsageError("recogniser", "closed", "load another one")
        if self._busy:
            problem = "already recognises other videos"
            raise UsageError("batch recogniser", problem, "take all its answers first, or close what gives them")
        self._busy = True
        run = _Run(self, feeds, self._readers if threads else None)
        try:
            while not run.over:
                with self._backend:
                    answers = run.step()
                for answer in answers:
                    yield answer
        finally:
            run.end()
            self._busy = False


class _Run:
    """Videos taken from feeds to their answers."""

    def __init__(
        self, owner: BatchRecognizer, feeds: List[Iterator[Any]], readers: Optional[ThreadPoolExecutor]
    ) -> None:
        self._chain, self._spec = owner._chain, owner.bundle.frames
        self._reporter, self._chances, self._readers = owner._reporter, owner._chances, readers
        self._free = [(Place(row, owner.policy), feed) for row, feed in enumerate(feeds)]
        self._feeds = dict(enumerate(feeds))
        self._videos: Dict[int, _Video] = {}  # under way, by row
        self._reading: List[_Video] = []  # of these, those that wait for a frame
        self._numbers = itertools.count()

    @property
    def over(self) -> bool:
        return not self._videos and not self._free

    def step(self) -> List[Tuple[int, Answer]]:
        """Fill places, take frames that were read, and compute one batch."""
        answers = self._admit() + self._collect()
        if self._chain.waiting:
            for place, answer, logits in self._chain.advance():
                answers += self._take(self._videos[place.row], answer, logits)
        return answers

    def end(self) -> None:
        """Leave what is under way."""
        self._chain.drop()
        for video in self._videos.values():
            video.frames.drop(video.pending)

    def _admit(self) -> List[Tuple[int, Answer]]:
        failed: List[Tuple[int, Answer]] = []
        while self._free:
            place, feed = self._free.pop()
            try:
                item = next(feed)
            except StopIteration:
                continue  # the place stays empty
            number = next(self._numbers)
            try:
                task = item if isinstance(item, Task) else clip_task(item, self._spec)
            except InputError as error:
                failed.append((number, error))
                self._free.append((place, feed))
                continue
            self._chain.begin(place)
            self._videos[place.row] = video = _Video(number, task, place)
            self._want(video)
        return failed

    def _want(self, video: _Video) -> None:
        self._reading.append(video)
        self._read(video)

    def _read(self, video: _Video) -> None:
        """Have the next frame read, if it is not being read already."""
        if video.pending is None and self._readers:
            video.pending = self._readers.submit(video.frames.next)

    def _collect(self) -> List[Tuple[int, Answer]]:
        """Hand frames that were read on; waits for one if there is nothing else to do."""
        if self._readers and self._reading and not self._chain.waiting:
            wait([video.pending for video in self._reading if video.pending], return_when=FIRST_COMPLETED)
        failed: List[Tuple[int, Answer]] = []
        for video in list(self._reading):
            if video.pending and not video.pending.done():
                continue
            self._reading.remove(video)
            pending, video.pending = video.pending, None
            try:
                frame = pending.result() if pending else video.frames.next()
            except InputError as error:
                failed += self._answer(video, error)
            except StreamEnd:
                self._leave(video)
                self._free.pop()  # nothing comes after that
            else:
                self._chain.put(video.place, frame)
                if self._chances.of(video.place.walk.frame) >= LIKELY:
                    self._read(video)
        return failed

    def _take(
        self, video: _Video, answer: Union[Step, SegmentError], logits: Optional[np.ndarray]
    ) -> List[Tuple[int, Answer]]:
        if isinstance(answer, SegmentError):
            return self._answer(video, InputError(video.task.source, answer.problem, answer.remedy))
        video.done.add(answer, video.place.milliseconds)
        if answer.decision.action is not Action.CONTINUE:
            self._chances.count(answer.frame, logits is None)
        if logits is not None:
            return self._answer(video, self._reporter.result(video.task, video.done, logits))
        if answer.decision.action is Action.FRAME_DONE:
            self._want(video)
        return []

    def _answer(self, video: _Video, answer: Answer) -> List[Tuple[int, Answer]]:
        self._leave(video)
        return [(video.number, answer)]

    def _leave(self, video: _Video) -> None:
        video.frames.drop(video.pending)
        del self._videos[video.place.row]
        self._free.append((video.place, self._feeds[video.place.row]))


def _close(readers: ThreadPoolExecutor, backend: Backend) -> None:
    readers.shutdown()
    backend.close()
