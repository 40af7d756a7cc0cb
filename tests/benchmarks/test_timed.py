"""Timing the steps of a recognition changes no answer, and accounts for all of its time."""

import pytest

from tlee.benchmarks.modes import chosen_modes, plain_mode
from tlee.benchmarks.timed import PARTS
from tlee.benchmarks.videos import find_videos, synthetic_videos
from tlee.bundle import FUSED, SEPARATE
from tlee.errors import UsageError
from tlee.modes import EARLY, FRAME, LAYER, NONE, ONE, RANDOM, THREE
from tlee.runtime import Recognizer
from tlee.runtime.backends import BackendConfig, open_backend

ALL = [EARLY, LAYER, FRAME, RANDOM, ONE, THREE, NONE]


@pytest.fixture
def modes(bundle):
    opened = []

    def make(names=ALL, points=(None,), content=True, exit_graphs=FUSED):
        opened.append(open_backend(bundle, BackendConfig("cpu", exit_graphs)))
        return {mode.name: mode for mode in chosen_modes(bundle, opened[-1], names, points, content)}

    yield make
    for one in opened:
        one.backend.close()


@pytest.mark.parametrize("exit_graphs", [FUSED, SEPARATE])
@pytest.mark.parametrize("early", [True, False])
def test_answers_are_those_of_a_recogniser(bundle, clips, modes, exit_graphs, early):
    mode = modes([EARLY if early else NONE], exit_graphs=exit_graphs)[EARLY if early else NONE]
    with Recognizer.load(bundle, backend="cpu", early_exit=early, exit_graphs=exit_graphs) as recognizer:
        for video in find_videos([str(clips)], bundle.labels):
            one, other = mode.recognize(video), recognizer.recognize(video.clip)
            timeless = [frame._replace(milliseconds=0) for frame in other.frames]
            assert [frame._replace(milliseconds=0) for frame in one.frames] == timeless
            assert (one.source, one.label, one.macs, one.warning) == (other.source, other.label, other.macs, None)


@pytest.mark.parametrize("name", [EARLY, NONE])
def test_the_parts_are_all_of_the_time(bundle, clips, modes, name):
    mode = modes()[name]
    total = 0.0
    videos = find_videos([str(clips)], bundle.labels)
    for video in videos:
        total += mode.recognize(video).milliseconds / 1000
    parts = mode.chain.parts(total, len(videos))
    assert list(parts) == list(PARTS) and all(value > 0 for value in parts.values())
    # What lies between the answer and a result is no part but the rest.
    assert sum(parts.values()) == pytest.approx(1000 * total / len(videos), rel=0.02)
    decided = [len(times) for times in mode.chain.decisions]
    assert decided == [0, 0, 8] if name == NONE else sum(decided) >= 2
    mode.chain.reset()
    assert not any(mode.chain.seconds.values()) and not any(mode.chain.decisions)


def test_early_exits_are_measured_at_every_point_and_others_once(amended, modes):
    found = modes(points=[None, "fast"])
    assert list(found) == [EARLY, f"{EARLY} (fast)", LAYER, FRAME, RANDOM, ONE, THREE, NONE]
    assert found[f"{EARLY} (fast)"].policy.thresholds.first == [0.25] * 3
    assert found[NONE].policy.only == 2 and found[FRAME].policy.frame_exit


@pytest.fixture
def amended(bundle):
    thresholds = {"first": [0.25] * 3, "layer": [0.25] * 3, "gate": [0.5] * 3, "temperature": [1.0] * 3}
    bundle.manifest["exit_rule"]["operating_points"]["fast"] = {"thresholds": thresholds}


def test_noise_measures_only_what_does_not_depend_on_content(bundle, modes):
    found = modes(content=False)
    assert list(found) == [RANDOM, ONE, THREE, NONE]
    results = [found[mode].recognize(synthetic_videos(bundle)[0]) for mode in (ONE, THREE, NONE)]
    assert [[frame.exit_layer for frame in result.frames] for result in results] == [[2], [2] * 3, [2] * 4]
    assert [result.share for result in results] == [0.25, 0.75, 1]
    with pytest.raises(UsageError, match="early exits cannot be measured on noise; give videos"):
        modes([EARLY], content=False)


def test_a_bundle_with_exits_is_no_plain_backbone(bundle):
    opened = open_backend(bundle, BackendConfig("cpu"))
    with pytest.raises(UsageError, match="has 3 exits; export it with --plain"):
        plain_mode(bundle, opened)
    opened.backend.close()
