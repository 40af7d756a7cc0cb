"""The recogniser for several videos at once.

A video that stops makes room for the next one at once, and a frame that leaves early does not wait for those that go
deeper: batches are formed split by split, from all videos under way. Source of the idea: Yu et al., "Orca", OSDI 2022
(iteration-level scheduling), here with splits as the iterations.
"""

import contextlib
import itertools
import threading
import weakref
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any, Callable, Dict, Generator, Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np

from tlee.bundle import FUSED, Bundle
from tlee.errors import InputError, SegmentError, UsageError
from tlee.inference import Step
from tlee.policy import Action, ExitPolicy, Thresholds
from tlee.runtime.backend import Backend
from tlee.runtime.backends import AUTO, BackendConfig
from tlee.runtime.base import RecognizerBase, opened
from tlee.runtime.batch_chain import BatchChain, Slot
from tlee.runtime.clips import Clip, ClipRequest, clip_request, windows
from tlee.runtime.live import LiveSource, StreamEnd
from tlee.runtime.prefetch import END, LIKELY, WORKERS, Background, FrameReader
from tlee.runtime.results import Result, Timed, no_frame

Answer = Union[Result, InputError]
Outcome = Union[Result, Exception]  # of one video; an exception that is no `InputError` is raised when its turn comes


class BatchRecognizer(RecognizerBase):
    """Recognises videos or cameras several at a time, with the answers that `Recognizer` gives. For one thread.

    Args:
        bundle, policy, prefetch: see `Recognizer`.
        backend: for `rows` videos at once; closed with this.
        rows: videos at once, at most.

    Examples:
        >>> clips = ["examples/clips/digit0_easy_00010.mp4", "missing.mp4", "examples/clips/digit9_easy_00029.mp4"]
        >>> with BatchRecognizer.load("build/digits.tlee", 2, backend="cpu") as recognizer:
        ...     for answer in recognizer.recognize(clips):
        ...         print(answer.label if isinstance(answer, Result) else answer)
        0
        missing.mp4: no such file or folder; check the path
        9
    """

    def __init__(self, bundle: Bundle, backend: Backend, policy: ExitPolicy, rows: int, prefetch: bool = True) -> None:
        super().__init__(bundle, backend, policy, prefetch, WORKERS * rows)
        self._closers.append(backend.close)
        self.rows, self._chain = rows, BatchChain(bundle, backend, policy, rows)
        self._computing, self._beginning = threading.Lock(), threading.Lock()
        self._current: Callable[[], Optional[_Run]] = lambda: None  # weak: a run without references is over

    @classmethod
    def load(
        cls,
        path: Any,
        batch: int,
        backend: str = AUTO,
        thresholds: Optional[Thresholds] = None,
        point: Optional[str] = None,
        early_exit: bool = True,
        prefetch: bool = True,
        sampling: Optional[str] = None,
        **options: Any,
    ) -> "BatchRecognizer":
        """Open a bundle for `batch` videos at once; otherwise as `Recognizer.load`."""
        config = BackendConfig(backend, **options)._replace(rows=batch)
        with opened(path, config, thresholds, point, early_exit, sampling) as (bundle, handle, policy):
            if handle.exit_graphs != FUSED:
                problem = "engines of separate segments take one video at a time"
                raise UsageError(bundle.path, problem, f"build with tlee-build --batch {batch}")
            recognizer = cls(bundle, handle.backend, policy, batch, prefetch)
        recognizer.notes = handle.notes
        return recognizer

    def close(self) -> None:
        """As `Recognizer.close`. Raises UsageError while this computes or reads."""
        if self._readers.calls_here or not self._computing.acquire(False):
            raise UsageError("batch recogniser", "closed while it recognises", "take its answers first")
        try:
            self._close()
        finally:
            self._computing.release()

    def recognize(self, clips: Iterable[Clip]) -> Iterator[Answer]:
        """Recognise clips, which are taken one by one as slots become free; see `Recognizer.recognize`. Answers come in
        the clips' order; an `InputError` is one, too.

        Raises:
            UsageError: this is closed, or already recognises other videos.
            What `clips` raises, after the answers of the clips before.
        """
        early: Dict[int, Outcome] = {}
        following = 0
        with contextlib.closing(self._run([iter(clips)] * self.rows, self._prefetch)) as outcomes:
            for number, outcome in outcomes:
                early[number] = outcome
                while following in early:
                    answer = early.pop(following)
                    if isinstance(answer, Exception) and not isinstance(answer, InputError):
                        raise answer
                    yield answer
                    following += 1

    def stream(self, addresses: List[str], seconds: float = 2.0) -> Iterator[Result]:
        """Recognise several live sources, at most `rows`, window by window; answers as they come. Otherwise as
        `Recognizer.stream`.

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
            with contextlib.closing(self._run(feeds, True)) as outcomes:
                for _, outcome in outcomes:
                    if isinstance(outcome, Exception):
                        raise outcome
                    yield outcome

    def _run(self, feeds: List[Iterator[Any]], threads: bool) -> "Generator[Tuple[int, Outcome], None, None]":
        """Numbers and outcomes of videos, as they come. `feeds` are the clips for each slot; slots may share one. With
        `threads`, frames are read while something is computed or another source has nothing yet."""
        self._check_open()
        with self._beginning:
            if self._current():
                problem = "already recognises other videos"
                raise UsageError("batch recogniser", problem, "take all its answers first, or close what gives them")
            run = _Run(self, feeds, self._readers if threads else None)
            self._current = weakref.ref(run)
        try:
            while run.videos or run.free:
                with self._computing:
                    self._check_open()
                    with self._backend:
                        outcomes = run.step()
                yield from outcomes
        finally:
            run.end()
            self._current = lambda: None


class _Video(Slot):
    """A video under way in its slot."""

    def __init__(self, row: int, policy: ExitPolicy, number: int, request: ClipRequest, reader: FrameReader) -> None:
        super().__init__(row, policy)
        self.number, self.request, self.reader = number, request, reader
        self.steps: List[Timed] = []


class _Run:
    """Takes videos from feeds to their outcomes."""

    def __init__(self, owner: BatchRecognizer, feeds: List[Iterator[Any]], readers: Optional[Background]) -> None:
        self._chain, self._spec, self._policy = owner._chain, owner.bundle.frames, owner.policy
        self._result, self._needed, self._readers = owner._result, owner._needed, readers
        self._feeds = feeds  # by row
        self.free = list(range(len(feeds)))  # rows
        self.videos: List[_Video] = []  # under way
        self._reading: List[_Video] = []  # of these, those that wait for a frame
        self._outcomes: List[Tuple[int, Outcome]] = []
        self._numbers = itertools.count()
        self._chain.drop()  # of a run that was interrupted while it ended

    def step(self) -> List[Tuple[int, Outcome]]:
        """Fill free slots, take frames that were read, and compute one batch; returns the videos that ended."""
        self._outcomes = []
        self._admit()
        self._collect()
        if self._chain.waiting:
            for answered in self._chain.advance():
                self._take(*answered)
        return self._outcomes

    def end(self) -> None:
        """Drop what is under way."""
        self._chain.drop()
        while self.videos:
            self.videos.pop().reader.close()

    def _admit(self) -> None:
        """Fill free slots, unless it becomes apparent that many clips cannot be opened."""
        while self.free and len(self._outcomes) < len(self._feeds):
            row = self.free.pop()
            try:
                item = next(self._feeds[row])
            except StopIteration:
                continue  # the slot stays empty
            except Exception as error:
                self._outcomes.append((next(self._numbers), error))
                continue  # here, too
            number = next(self._numbers)
            try:
                request = clip_request(item, self._spec)
            except Exception as error:
                self.free.append(row)
                self._outcomes.append((number, error))
                continue
            reader = FrameReader(request, self._spec, workers=self._readers)
            video = _Video(row, self._policy, number, request, reader)
            self._chain.begin(video)
            self.videos.append(video)
            self._reading.append(video)
            reader.start()

    def _collect(self) -> None:
        """Pass on frames that were read; wait for one if there is nothing else to do."""
        reads = [video.reader.pending for video in self._reading if video.reader.pending]
        if reads and len(reads) == len(self._reading) and not self._outcomes and not self._chain.waiting:
            wait(reads, return_when=FIRST_COMPLETED)
        for video in list(self._reading):
            if video.reader.pending and not video.reader.pending.done():
                continue
            self._reading.remove(video)
            try:
                frame = video.reader.take()
            except StreamEnd:
                self._leave(video)
                self.free.remove(video.row)  # nothing comes after that
            except Exception as error:
                self._finish(video, error)
            else:
                if frame is not END:
                    self._chain.put(video, frame)
                    if self._needed.of(video.exit_state.frame) >= LIKELY:
                        video.reader.start()
                elif video.steps:  # fewer than the model reads: the last one answers
                    self._finish(video, self._result(video.request, video.steps, self._chain.last_logits(video)))
                else:
                    self._finish(video, no_frame(video.request))

    def _take(self, video: _Video, answer: Union[Step, SegmentError], logits: Optional[np.ndarray]) -> None:
        """Note what an exit answered; `logits` where the video ends."""
        if isinstance(answer, SegmentError):
            self._finish(video, InputError(video.request.source, answer.problem, answer.remedy))
            return
        video.steps.append((answer, video.milliseconds))
        action = answer.decision.action
        if action is not Action.CONTINUE:
            self._needed.count(answer.frame, action is Action.FRAME_DONE)
        if logits is not None:
            self._finish(video, self._result(video.request, video.steps, logits))
        elif action is Action.FRAME_DONE:
            self._reading.append(video)
            video.reader.start()

    def _finish(self, video: _Video, outcome: Outcome) -> None:
        self._leave(video)
        self._outcomes.append((video.number, outcome))

    def _leave(self, video: _Video) -> None:
        video.reader.close()
        self.videos.remove(video)
        self.free.append(video.row)
