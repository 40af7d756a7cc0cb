"""Several videos at once: each answer is the one that it gets alone."""

import functools
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SMALL, enliven, small_model, write_clip

from tlee.bundle import Bundle
from tlee.errors import InputError, UsageError
from tlee.export.exporter import export_bundle
from tlee.policy import Thresholds, exit_policy
from tlee.runtime import Recognizer, live
from tlee.runtime import batch as batch_module
from tlee.runtime.batch import BatchRecognizer
from tlee.runtime.batch_chain import BatchChain, Slot
from tlee.runtime.live import LiveSource, StreamEnd
from tlee.runtime.onnx_backend import OnnxBackend

RUN = [sys.executable, "-m", "tlee.runtime.cli"]
KINDS = {  # every feature reuse, every gate; seeds under which the clips take many ways
    "mean, gm, neck": (1, {"frm": "mean", "neck": 20}),
    "none, eg": (0, {"frm": "none", "gate": "eg"}),
    "attention, no gate": (0, {"frm": "attention", "gate": "none"}),
    "add, random": (0, {"frm": "add", "gate": "random"}),
    "ema": (1, {"frm": "ema"}),
    "max, temporal shift": (0, {"backbone": "mobilenetv2_tsm"}),
    "max, heads of each frame": (0, {"heads": "per_frame", "gate": "eg"}),
}
FULL = ("none, eg", "attention, no gate", "ema", "max, heads of each frame")
NEVER = Thresholds.of(3, 2.0, 2.0, 2.0)


def some_clips(count, seed=0):
    """Clips of 4 frames that differ from each other and from frame to frame."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, 4, 3)) * rng.uniform(0.2, 1, (count, 1, 1, 1, 1))
    fine = coarse.repeat(8, 2).repeat(8, 3) + rng.integers(0, 60, (count, 4, 32, 32, 3))
    return list(np.clip(fine, 0, 255).astype(np.uint8))


CLIPS = some_clips(12)


def mixed(bundle):
    """Thresholds at which these clips stop at different frames and exits: the best of some that were drawn."""
    gate, rng = bundle.manifest["model"]["gate"], np.random.default_rng(0)
    if gate == "random":
        return NEVER
    with Recognizer.load(bundle, thresholds=NEVER, threads=1) as recognizer:
        steps = [step for clip in CLIPS for step in recognizer.recognize(clip, trace=True).trace]
        assert len({round(s.confidence, 3) for s in steps}) > 25  # else nothing could depend on the frame
        scores = [[s.score for s in steps if s.exit == b and s.score is not None] or [0.5] for b in range(3)]
        first, later = (
            [[s.confidence for s in steps if s.exit == b and (s.frame > 0) == after] for b in range(3)]
            for after in (False, True)
        )
        later[1:] = (values or first[b] for b, values in enumerate(later[1:], 1))
        best = (0, NEVER)
        for _ in range(40):
            drawn = [
                [float(np.quantile(values, rng.uniform(low, 1))) for values in of_exits]
                for of_exits, low in ((first, 0.7), (later, 0.2), (scores, 0.6))
            ]
            thresholds = Thresholds.of(3, *drawn)
            recognizer.policy = exit_policy(gate, 4, thresholds)
            best = max(best, (len({way(recognizer.recognize(clip)) for clip in CLIPS}), thresholds))
    return best[1]


def way(result):
    return tuple(frame.exit_layer for frame in result.frames), result.exit_layer


@pytest.fixture(scope="module")
def bundle_of(tmp_path_factory, small_checkpoint):
    """Bundles of `KINDS`, with mixed thresholds for each."""
    folder = tmp_path_factory.mktemp("kinds")

    @functools.cache
    def build(kind):
        seed, parts = KINDS[kind]
        model = enliven(small_model(seed, model={**SMALL["model"], **parts}))
        bundle = export_bundle(model, folder / f"{kind}.tlee", small_checkpoint, verified=False)
        return bundle, mixed(bundle)

    return build


@pytest.fixture(scope="module")
def lively(bundle_of):
    return bundle_of("mean, gm, neck")


def answered(result):
    """What has to be the same."""
    if isinstance(result, InputError):
        return str(result)
    frames = [(frame.video_frame, frame.exit_layer, frame.reason) for frame in result.frames]
    end = (result.label, result.class_index, result.exit_frame, result.exit_layer, result.reason)
    return (result.source, *end, result.macs, result.share, result.warning, frames)


def check_same(found, expected):
    assert [answered(result) for result in found] == [answered(result) for result in expected]
    for one, other in zip(found, expected):
        if not isinstance(one, InputError):
            assert one.confidence == pytest.approx(other.confidence, abs=1e-5)
            confidences = [[frame.confidence for frame in result.frames] for result in (one, other)]
            assert confidences[0] == pytest.approx(confidences[1], abs=1e-5)


def alone(bundle, clips, **options):
    """Answers of one at a time."""
    found = []
    with Recognizer.load(bundle, threads=1, **options) as recognizer:
        for clip in clips:
            try:
                found.append(recognizer.recognize(clip))
            except InputError as error:
                found.append(error)
    return found


def together(bundle, clips, batch, **options):
    with BatchRecognizer.load(bundle, batch, threads=1, **options) as recognizer:
        return list(recognizer.recognize(clips))


@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.full if k in FULL else ()) for k in KINDS])
def test_answers_are_those_of_one_at_a_time(bundle_of, kind):
    bundle, thresholds = bundle_of(kind)
    expected = alone(bundle, CLIPS, thresholds=thresholds)
    gate = bundle.manifest["model"]["gate"]
    assert len({way(result) for result in expected}) >= (4 if gate == "random" else 5)
    assert len({result.exit_frame for result in expected}) >= (3 if gate == "gm" else 2)
    for batch in (1, 5, 15):
        check_same(together(bundle, CLIPS, batch, thresholds=thresholds), expected)


@pytest.mark.parametrize("kind", ["add, random", "max, temporal shift"])
def test_without_early_exit_only_the_tail_answers(bundle_of, kind):
    bundle, _ = bundle_of(kind)
    expected = alone(bundle, CLIPS[:5], early_exit=False)
    assert all(frame.exit_layer == 2 for result in expected for frame in result.frames)
    check_same(together(bundle, CLIPS[:5], 3, early_exit=False), expected)


def test_every_confidence_is_at_its_exits_temperature(lively):
    bundle, thresholds = lively
    thresholds = thresholds._replace(temperature=[0.5, 1.0, 2.0])
    check_same(together(bundle, CLIPS, 5, thresholds=thresholds), alone(bundle, CLIPS, thresholds=thresholds))


def test_the_same_recogniser_answers_the_same_again(bundle_of):
    bundle, thresholds = bundle_of("max, temporal shift")
    with BatchRecognizer.load(bundle, 4, threads=1, thresholds=thresholds) as recognizer:
        first = list(recognizer.recognize(CLIPS))
        check_same(list(recognizer.recognize(CLIPS[::-1])), first[::-1])


# -- files


def write_pictures(folder, frames):
    folder.mkdir()
    for i in range(frames):
        picture = np.full((40, 48, 3), 20, np.uint8)
        picture[:, 5 * i : 5 * i + 12] = (90, 160, 230)
        cv2.imwrite(str(folder / f"{i}.png"), picture)
    return folder


def breaking_off(path):
    """A video whose first frame that is wanted can be decoded, and the last one cannot."""
    whole = write_clip(path, frames=40, size=(192, 48), fourcc="MJPG").read_bytes()
    path.write_bytes(whole[: 3 * len(whole) // 4])
    return path


def open_files(folder):
    gc.collect()
    names = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return [os.readlink(name) for name in names if os.path.lexists(name) and str(folder) in os.readlink(name)]


def test_files_folders_and_arrays_are_recognised_together_and_the_bad_ones_are_errors(lively, tmp_path):
    bundle, thresholds = lively
    not_a_number = CLIPS[0].astype(np.float32)
    not_a_number[1:] = np.nan
    clips = [
        write_clip(tmp_path / "a.mp4"),
        CLIPS[1],
        tmp_path / "missing.mp4",
        write_pictures(tmp_path / "pictures", 6),
        breaking_off(tmp_path / "broken.avi"),
        str(write_clip(tmp_path / "short.avi", frames=2, fourcc="MJPG", grey=120)),
        not_a_number,
        CLIPS[2].astype(np.float32),
        np.zeros((4, 8, 8, 3), np.uint8),
        write_clip(tmp_path / "b.mp4", grey=160),
        CLIPS[3],
    ]
    for options in ({"thresholds": NEVER}, {"thresholds": thresholds}, {"early_exit": False}):
        expected = alone(bundle, clips, **options)
        check_same(together(bundle, clips, 3, **options), expected)
        check_same(together(bundle, clips, 20, **options), expected)
        if "early_exit" in options:
            wrong = {i: str(answer) for i, answer in enumerate(expected) if isinstance(answer, InputError)}
            assert list(wrong) == [2, 4, 6, 8] and expected[5].warning
            for i, words in {2: "no such file", 4: "breaks off", 6: "not a number", 8: "give uint8"}.items():
                assert words in wrong[i]
    assert open_files(tmp_path) == []


def test_bad_clips_alone_are_answered_too(lively, tmp_path):
    missing = [tmp_path / f"{i}.mp4" for i in range(7)]
    found = together(lively[0], missing, 3)
    assert [str(error).split(": ")[0] for error in found] == [str(path) for path in missing]
    assert together(lively[0], [], 3) == []


def test_clips_are_asked_for_when_there_is_room(lively):
    taken = []
    clips = (taken.append(i) or clip for i, clip in enumerate(CLIPS))
    with BatchRecognizer.load(lively[0], 3, threads=1, thresholds=Thresholds.of(3, 0.0, 0.0)) as recognizer:
        answers = recognizer.recognize(clips)
        assert taken == []
        next(answers)
        assert taken == [0, 1, 2]
        assert len(list(answers)) == 11


def test_leaving_early_closes_the_files_and_the_next_videos_find_all_places_free(lively, tmp_path):
    bundle, thresholds = lively
    files = [tmp_path / "missing.mp4", *(write_clip(tmp_path / f"{i}.mp4", grey=20 * i) for i in range(6))]
    with BatchRecognizer.load(bundle, 4, threads=1, thresholds=NEVER) as recognizer:
        answers = recognizer.recognize(files)
        next(answers)
        assert len(open_files(tmp_path)) == 4
        answers.close()
        assert open_files(tmp_path) == []
        check_same(list(recognizer.recognize(CLIPS)), alone(bundle, CLIPS, thresholds=NEVER))


def test_two_at_once_from_one_recogniser_are_refused(lively):
    with BatchRecognizer.load(lively[0], 2, threads=1) as recognizer:
        first = recognizer.recognize(CLIPS)
        next(first)
        with pytest.raises(UsageError, match="batch recogniser: already recognises"):
            next(recognizer.recognize(CLIPS))
        assert len(list(first)) == 11
        assert len(list(recognizer.recognize(CLIPS))) == 12


def test_once_closed_it_says_so(lively):
    recognizer = BatchRecognizer.load(lively[0], 2, threads=1)
    recognizer.close()
    recognizer.close()
    with pytest.raises(UsageError, match="recogniser: closed"):
        list(recognizer.recognize(CLIPS))


# -- live sources


@pytest.fixture
def sources(tmp_path):
    """As addresses; at 10 frames per second, of 30, 18 and 41 frames."""
    counts = {"a": 30, "b": 18, "c": 41}
    paths = [write_clip(tmp_path / f"{n}.mp4", count, (192, 48), grey=5 * count) for n, count in counts.items()]
    return [f"file://{path}" for path in paths]


def by_source(results):
    found = {}
    for result in results:
        found.setdefault(result.source, []).append(result)
    return found


@pytest.mark.parametrize("setting", ["mixed", "never", "at once"])
def test_several_live_sources_give_what_each_gives_alone(lively, sources, setting, tmp_path):
    bundle, thresholds = lively
    thresholds = {"mixed": thresholds, "never": NEVER, "at once": Thresholds.of(3, 0.0, 0.0)}[setting]
    with Recognizer.load(bundle, threads=1, thresholds=thresholds) as recognizer:
        expected = {source: list(recognizer.stream(source, seconds=0.4)) for source in sources}
    counts = [len(results) for results in expected.values()] if setting == "mixed" else [8, 5, 11]
    assert [len(results) for results in expected.values()] == ([7, 4, 10] if setting == "never" else counts)
    with BatchRecognizer.load(bundle, 5, threads=1, thresholds=thresholds) as recognizer:
        found = by_source(recognizer.stream(sources, seconds=0.4))
    for source in sources:
        check_same(found[source], expected[source])
    assert open_files(tmp_path) == []


class HeldSource(LiveSource):
    """A source that gives no frame for the time being, where it is called so."""

    go_on = threading.Event()

    def skip_to(self, position):
        assert not self.address.endswith("/held.mp4") or self.go_on.wait(120)
        super().skip_to(position)


class SlowSource(LiveSource):
    """A source that takes its time."""

    readers = 0

    def skip_to(self, position):
        assert not self.readers, "two threads read one source"
        self.readers += 1
        time.sleep(0.03)
        self.readers -= 1
        super().skip_to(position)


def test_a_slow_source_does_not_hold_up_the_others(lively, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_module, "LiveSource", HeldSource)
    frames = {"held.mp4": 8, "quick.mp4": 40}
    held, quick = [f"file://{write_clip(tmp_path / name, count, (192, 48))}" for name, count in frames.items()]
    order = []
    with BatchRecognizer.load(lively[0], 2, threads=1, thresholds=NEVER) as recognizer:
        for result in recognizer.stream([held, quick], seconds=0.4):
            order.append(result.source)
            if len(order) == 9:
                HeldSource.go_on.set()
    assert order[:9] == [quick] * 9 and sorted(order) == [held] * 2 + [quick] * 10


def test_what_a_window_no_longer_wants_is_read_before_the_next_windows_frames(lively, tmp_path, monkeypatch):
    bundle, _ = lively
    monkeypatch.setattr(batch_module, "LiveSource", SlowSource)
    address = f"file://{write_clip(tmp_path / 'slow.mp4', frames=12, size=(64, 48))}"
    at_once = Thresholds.of(3, 0.0, 0.0)
    with BatchRecognizer.load(bundle, 3, threads=1, thresholds=at_once) as recognizer:
        wait = recognizer._backend.wait  # meanwhile the second frame's reading has begun
        monkeypatch.setattr(recognizer._backend, "wait", lambda: time.sleep(0.015) or wait())
        found = list(recognizer.stream([address], seconds=0.4))  # the first one's second frame is read ahead
    with Recognizer.load(bundle, threads=1, thresholds=at_once) as recognizer:
        check_same(found, list(recognizer.stream(address, seconds=0.4)))
    assert len(found) == 3


def test_frames_go_to_the_last_window_that_was_asked_for(lively, sources):
    spec = lively[0].frames
    with LiveSource(sources[0]) as source:
        one, other = source.window(spec, 0, 1, []), source.window(spec, 4, 1, [])
        with pytest.raises(StreamEnd):
            next(one)
        assert len(list(other)) == 4 and source.position == 8
        last = source.window(spec, 8, 1, [])
    with pytest.raises(StreamEnd):
        next(last)


def test_leaving_a_stream_releases_the_cameras(lively, sources, tmp_path):
    with BatchRecognizer.load(lively[0], 3, threads=1) as recognizer:
        results = recognizer.stream(sources, seconds=0.4)
        next(results)
        assert len(open_files(tmp_path)) == 3
        results.close()
        assert open_files(tmp_path) == []


def test_more_sources_than_places_and_one_that_is_none_are_refused(lively, sources, tmp_path):
    with BatchRecognizer.load(lively[0], 2, threads=1) as recognizer:
        with pytest.raises(UsageError, match="live sources: 3 for a batch of 2"):
            next(recognizer.stream(sources))
        with pytest.raises(InputError, match="none.mp4: cannot be opened"):
            next(recognizer.stream([sources[0], f"file://{tmp_path}/none.mp4"]))
        assert open_files(tmp_path) == []


# -- what is run


class Counting(OnnxBackend):
    """Notes each run: the graph, and of how many videos."""

    def __init__(self, bundle, rows):
        super().__init__(bundle, 1, graphs=bundle.chain(), rows=rows)
        self.runs = []

    def run(self, graph, *inputs, rows=1):
        self.runs.append((graph, rows))
        return super().run(graph, *inputs, rows=rows)


def test_without_exits_eight_at_once_need_an_eighth_of_the_runs(lively):
    bundle, _ = lively
    backend = Counting(bundle, 8)
    recognizer = BatchRecognizer(bundle, backend, exit_policy("gm", 4, NEVER, early_exit=False), 8)
    assert len(list(recognizer.recognize(some_clips(16)))) == 16
    frames = 16 * 4  # each needs three splits and the tail's exit
    assert len(backend.runs) == frames * 4 / 8 and {rows for _, rows in backend.runs} == {8}


def test_a_video_that_stops_makes_room_at_once(lively):
    """One of four needs all frames, the others one exit: while places are taken, batches are full."""
    bundle, _ = lively
    backend = Counting(bundle, 4)
    policy = exit_policy("gm", 4, Thresholds.of(3, [0.0, 2.0, 2.0], [2.0, 0.0, 2.0], 2.0))
    recognizer = BatchRecognizer(bundle, backend, policy, 4)
    assert {(r.exit_frame, r.exit_layer) for r in recognizer.recognize(some_clips(40))} == {(0, 0)}
    assert backend.runs == [("split0", 4), ("exit0", 4)] * 10


def test_with_exits_runs_are_as_full_as_the_videos_allow(lively):
    bundle, thresholds = lively
    clips = some_clips(64)
    backend = Counting(bundle, 8)
    recognizer = BatchRecognizer(bundle, backend, exit_policy("gm", 4, thresholds), 8)
    found = list(recognizer.recognize(clips))
    steps = sum(rows for graph, rows in backend.runs if graph.startswith("split"))
    assert steps == sum(frame.exit_layer + 1 for result in found for frame in result.frames)  # nothing is run twice
    runs = sum(graph.startswith("split") for graph, _ in backend.runs)
    # One waits only where others are more: three queues for eight videos are at least 8 / 3 full, while there are many.
    assert steps / runs > 8 / 3


def test_nobody_starves(lively):
    """A video alone at a deep split is taken after at most so many rounds as there are rows and other splits."""
    bundle, _ = lively
    backend, rows = Counting(bundle, 5), 5
    stops, goes_on = exit_policy("gm", 4, Thresholds.of(3, 0.0, 0.0)), exit_policy("gm", 4, NEVER)
    chain = BatchChain(bundle, backend, stops, rows)
    lonely, others = Slot(0, goes_on), {}
    chain.begin(lonely)
    chain.put(lonely, CLIPS[0][0])
    chain.advance()
    waited = [0]
    while lonely.exit_state.frame == 0:
        for row in range(1, rows):  # the first split never waits for less than all others
            if not any(others.get(row) in queue.slots for queue in chain._queues):
                others[row] = Slot(row, stops)
                chain.begin(others[row])
                chain.put(others[row], CLIPS[1][0])
        if any(slot is lonely for slot, *_ in chain.advance()):
            waited.append(0)
        else:
            waited[-1] += 1
            assert waited[-1] <= rows + 2
    assert len(waited) == 3 and max(waited) > 0


def test_an_empty_queue_gathers_no_urgency(lively):
    """The first video that comes to a split which nobody needed for long waits for the others, as it always does."""
    bundle, _ = lively
    backend, rows = Counting(bundle, 5), 5
    stops, goes_on = exit_policy("gm", 4, Thresholds.of(3, 0.0, 0.0)), exit_policy("gm", 4, NEVER)
    chain = BatchChain(bundle, backend, stops, rows)

    def begin(policies, frame):
        for row, policy in policies.items():
            slot = Slot(row, policy)
            chain.begin(slot)
            chain.put(slot, frame)

    others = {row: stops for row in range(1, rows)}
    for _ in range(20):
        begin({0: stops, **others}, CLIPS[1][0])
        assert all(slot.exit_state.done for slot, *_ in chain.advance())
    begin({0: goes_on, **others}, CLIPS[0][0])
    chain.advance()
    begin(others, CLIPS[1][0])
    backend.runs.clear()
    chain.advance()
    assert backend.runs[0] == ("split0", 4)


# -- tlee-run


def without_times(text):
    if text.startswith("{"):
        rows = [json.loads(line) for line in text.splitlines()]
        for row in rows:
            del row["milliseconds"]
            for frame in row["frames"]:
                del frame["milliseconds"]
                frame["confidence"] = round(frame["confidence"], 4)
            row["confidence"] = round(row["confidence"], 4)
        return rows
    return [line.split()[:-1] for line in text.splitlines()]


def test_table_and_json_are_those_of_one_at_a_time(tlee_run, small_bundle, tmp_path):
    files = [write_clip(tmp_path / f"{i}.mp4", frames=3 + 2 * i, grey=40 * i) for i in range(5)]
    files.insert(2, tmp_path / "missing.mp4")
    thresholds = ["--first-threshold", "0.5", "--layer-threshold", "0.4", "--gate-threshold", "0.5"]
    runs = []
    for batch in (1, 3):
        path = tmp_path / f"{batch}.jsonl"
        run = tlee_run(small_bundle, *files, "--batch", batch, "--json", path, *thresholds)
        runs.append((run.returncode, run.stderr.splitlines(), without_times(run.stdout)))
        runs[-1] += (without_times(path.read_text()),)
    assert runs[0][:1] == (1,) and len(runs[0][1]) == 2 and len(runs[0][2]) == 6
    assert sorted(runs[0][1]) == sorted(runs[1][1])
    assert runs[0][2:] == runs[1][2:] and runs[0][0] == runs[1][0]


def test_wrong_use_is_one_line_and_status_2(tlee_run, small_bundle, clip):
    camera = f"file://{clip}"
    for arguments, words in (
        ([clip, "--batch", "0"], "invalid positive value: '0'"),
        ([clip, camera, "--batch", "2"], "files and live sources together"),
        ([clip, "--batch", "2", "--exit-graphs", "separate"], "a batch needs fused exits"),
        ([camera] * 3, "3 live sources, 1 at a time; add --batch 3"),
        ([camera] * 3 + ["--batch", "2"], "3 live sources, 2 at a time; add --batch 3"),
    ):
        run = tlee_run(small_bundle, *arguments)
        assert run.returncode == 2 and words in run.stderr and "Traceback" not in run.stderr
        assert run.stderr.splitlines()[-1].startswith("tlee-run: ") and run.stdout == ""
        assert "usage" in run.stderr or run.stderr.count("\n") == 1


@pytest.mark.parametrize("batch", [1, 2])
def test_results_of_live_sources_are_appended_at_once_and_stay_when_interrupted(small_bundle, tmp_path, batch):
    video = write_clip(tmp_path / "long.avi", frames=20000, size=(48, 48), fourcc="MJPG")
    output = tmp_path / "out.jsonl"
    output.write_text('{"source": "of an earlier run"}\n')
    command = [*RUN, small_bundle, *[f"file://{video}"] * batch, "--batch", batch, "--seconds", "0.4"]
    command += ["--no-early-exit", "--json", output]
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() and process.stdout.readline()  # head and first result
    assert len(output.read_text().splitlines()) >= 2
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (130, "tlee-run: interrupted\n")
    before, *rows = [json.loads(line) for line in Path(output).read_text().splitlines()]
    assert before["source"] == "of an earlier run"
    assert 1 <= len(rows) < 5000 * batch and {row["source"] for row in rows} == {f"file://{video}"}


def test_what_is_recognised_together_is_what_the_bundle_says(small_bundle, clip):
    bundle = Bundle.open(small_bundle)
    with BatchRecognizer.load(small_bundle, 2, threads=1) as recognizer:
        assert recognizer.rows == 2 and recognizer.backend == "ONNX Runtime, CPU" and recognizer.notes == []
        assert recognizer.policy.thresholds == bundle.thresholds()
        assert live.LiveSource is LiveSource
        (result,) = recognizer.recognize([clip])
        assert sum(frame.milliseconds for frame in result.frames) < result.milliseconds
