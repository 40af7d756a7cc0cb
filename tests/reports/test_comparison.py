"""Two reports beside each other: real differences are told, and nothing else."""

import copy
import json
import math

import numpy as np
import pytest
from helpers.measurement_reports import example_report, without_power
from helpers.simulated_launches import LENGTHS, launch

from tlee.errors import UsageError
from tlee.modes import EARLY, FRAME, NONE
from tlee.reports import statistics
from tlee.reports.comparison import SAME, compare, lines

MODES = (EARLY, FRAME, NONE)
EMPTY = without_power(example_report(rounds=1, modes=(EARLY, NONE), videos=len(LENGTHS)))


def launched(seed, slower=1.0, shift=0.0, rounds=10):
    """The report of a simulated launch with a warm-up; each mode is shifted up or down by `shift`."""
    rng = np.random.RandomState(seed)
    report = dict(EMPTY, graphs=[], modes=[])
    for mode in EMPTY["modes"]:
        level = slower * (1 + shift * rng.choice([-1, 1]))
        blocks = launch(rng, rounds, lambda i, level=level: level * (1 + 0.5 * np.exp(-i / 20)))
        runs, steady = statistics.warm_up(np.concatenate(statistics.normalised(*zip(*blocks))))
        parts = [
            {"start": 0.0, "end": 1.0, "milliseconds": times.tolist(), "video": videos.tolist()}
            for times, videos in blocks
        ]
        report["modes"].append(dict(mode, blocks=parts, warm_up={"runs": runs, "steady": steady}))
    return report


def changed(report, change):
    report = copy.deepcopy(report)
    change(report)
    return report


def faster_by(factor):
    def change(report):
        for mode in report["modes"]:
            for block in mode["blocks"]:
                block["milliseconds"] = [time / factor for time in block["milliseconds"]]

    return change


def verdicts(before, after, metric="median ms", **options):
    return [row["verdict"] for row in compare(before, after, **options)["rows"] if row["metric"] == metric]


def row_of(comparison, metric, name=None):
    return next(row for row in comparison["rows"] if row["metric"] == metric and name in (None, row["name"]))


def numbers(value):
    """All numbers anywhere in a comparison."""
    if isinstance(value, dict):
        return [number for part in value.values() for number in numbers(part)]
    if isinstance(value, list):
        return [number for part in value for number in numbers(part)]
    return [value] if isinstance(value, float) else []


# Simulated launches. The rates over a thousand launches of six modes stand in docs/benchmarks.md.
launches = pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.full)])


@launches
def test_two_launches_of_the_same_do_not_differ(count):
    clean = 0
    for seed in range(count):
        rows = compare(launched(1000 + seed), launched(5000 + seed, shift=0.01))["rows"]
        clean += all(row["verdict"] == SAME for row in rows)
    assert clean >= 0.95 * count


@launches
def test_ten_percent_slower_is_told(count):
    told = 0
    for seed in range(count):
        found = verdicts(launched(1000 + seed), launched(5000 + seed, slower=1.1, shift=0.01))
        told += found == ["slower"] * 2
    assert told >= 0.95 * count


# What is compared


@pytest.fixture(scope="module")
def full():
    return example_report(rounds=10, modes=MODES)


def test_a_report_does_not_differ_from_itself(full):
    found = compare(full, full, ("a.json", "b.json"))
    assert {row["verdict"] for row in found["rows"]} == {SAME}
    assert all(row["ratio"]["value"] == pytest.approx(1) for row in found["rows"])
    assert (found["format"], found["program"], found["margin"], found["level"]) == (
        1,
        "tlee-report",
        0.03,
        0.95,
    )
    assert found["a"]["file"] == "a.json" and found["b"]["bundle"] == full["bundle"]
    assert found["a"]["environment"] == full["environment"] and found["a"]["started"] == full["started"]


def test_rows_are_of_modes_energy_and_graphs(full):
    rows = compare(full, full)["rows"]
    of_modes = ["median ms", "p90 ms", "mJ per video (net)"]
    assert [row["metric"] for row in rows] == of_modes * len(MODES) + ["median ms"] * 6
    assert rows[0]["name"] == "early exits (balanced)" and rows[-1]["name"] == "graph branch2"


def test_faster_and_slower_are_seen_from_the_second_report(full):
    other = changed(full, faster_by(1.3))
    found = compare(full, other)
    assert row_of(found, "median ms")["verdict"] == row_of(found, "p90 ms")["verdict"] == "faster"
    assert row_of(found, "median ms")["ratio"]["value"] == pytest.approx(1 / 1.3)
    assert set(verdicts(other, full)[: len(MODES)]) == {"slower"}
    assert verdicts(other, full, margin=0.5)[: len(MODES)] == [SAME] * len(MODES)


def test_energy_is_compared_net_or_else_gross(full):
    def thirsty(report):
        for mode in report["modes"]:
            mode["energy"]["blocks"] = [value and 2 * value for value in mode["energy"]["blocks"]]

    def without_idle(report):
        report["power"]["idle"] = None
        for mode in report["modes"]:
            mode["energy"]["net"] = None

    net, gross = "mJ per video (net)", "mJ per video (gross)"
    assert row_of(compare(full, changed(full, thirsty)), net)["verdict"] == "more energy"
    found = row_of(compare(changed(changed(full, thirsty), without_idle), full), gross)
    assert found["verdict"] == "less energy" and found["ratio"]["value"] == pytest.approx(0.5)
    assert not any("mJ" in row["metric"] for row in compare(full, without_power(copy.deepcopy(full)))["rows"])


def test_only_videos_in_both_are_compared_wherever_they_lie(full):
    def moved(report):  # and the first one is another, that takes ten times as long
        videos = report["load"]["videos"]
        report["load"]["videos"] = ["another.mp4"] + [f"/elsewhere/{name}" for name in videos[1:]]
        for mode in report["modes"]:
            for block in mode["blocks"]:
                block["milliseconds"] = [
                    10 * time if video == 0 else time for time, video in zip(block["milliseconds"], block["video"])
                ]

    found = compare(full, changed(full, moved))
    assert row_of(found, "median ms")["ratio"]["value"] == pytest.approx(1)
    assert row_of(found, "median ms")["a"] == row_of(found, "median ms")["b"]
    assert not any("mJ" in row["metric"] for row in found["rows"])
    assert any(warning.startswith("other videos") for warning in found["warnings"])


def test_videos_of_different_length_count_alike(full):
    def shorter(report):  # every other video is twice as fast
        for mode in report["modes"]:
            for block in mode["blocks"]:
                block["milliseconds"] = [
                    time / (1 + video % 2) for time, video in zip(block["milliseconds"], block["video"])
                ]

    assert row_of(compare(full, changed(full, shorter)), "median ms")["ratio"]["value"] == pytest.approx(
        math.sqrt(0.5), rel=0.02
    )


def test_reports_with_nothing_in_common_are_refused(full):
    other = changed(full, lambda report: report["load"].update(videos=[f"{i}.avi" for i in range(20)]))
    with pytest.raises(UsageError, match=r"^x.json and y.json: have no video in common; "):
        compare(full, other, ("x.json", "y.json"))
    with pytest.raises(UsageError, match="have no mode in common"):
        compare(example_report(modes=(EARLY,)), example_report(modes=(NONE,)))


def test_one_block_has_no_interval_and_no_verdict(full):
    one = example_report(rounds=1, modes=MODES)
    found = compare(one, changed(full, faster_by(3)))
    row = row_of(found, "median ms")
    assert (row["ratio"]["low"], row["ratio"]["high"], row["verdict"]) == (None, None, SAME)
    assert any(warning.startswith("few blocks in a (1)") for warning in found["warnings"])
    lines(found)


def test_equal_times_and_times_of_zero_give_numbers(full):
    def all_equal(value):
        def change(report):
            for mode in report["modes"]:
                for block in mode["blocks"]:
                    block["milliseconds"] = [value] * len(block["milliseconds"])

        return change

    ones, zeros, twos = (changed(full, all_equal(value)) for value in (1.0, 0.0, 2.0))
    assert verdicts(ones, twos)[: len(MODES)] == ["slower"] * len(MODES)
    for pair in ((ones, ones), (ones, twos), (zeros, ones), (zeros, zeros)):
        found = compare(*pair)
        assert all(math.isfinite(number) for number in numbers(found))
        json.dumps(found, allow_nan=False)


# What to mind


@pytest.mark.parametrize(
    "change, warning",
    [
        (lambda r: r["bundle"].update(sha256="f" * 64), "other bundle (sha256): digits and digits"),
        (lambda r: r["environment"].update(precision="int8"), "other precision: fp16 and int8"),
        (lambda r: r["environment"].update(sampling="keyframes"), "other sampling: uniform and keyframes"),
        (
            lambda r: r["power"]["state"].update(nvpmodel="5W"),
            "other state of power: jetson_clocks on, nvpmodel MAXN and ",
        ),
        (lambda r: r["modes"][0].update(point="fast"), "another operating point of early exits: balanced and fast"),
        (lambda r: r["modes"].pop(), "only in a: no exit"),
        (lambda r: r["power"].update(throttled=["9 s: hot"]), "b throttled (9 s: hot)"),
        (lambda r: r["environment"].update(background_cpu=1.26), "other programs kept 1.3 cores busy in b"),
        (lambda r: r["modes"][0]["warm_up"].update(steady=False), "early exits (balanced) never settled in b"),
    ],
)
def test_what_makes_reports_hard_to_compare_is_said(full, change, warning):
    full = changed(full, lambda report: report["power"].update(throttled=[]))
    assert not compare(full, full)["warnings"]
    found = compare(full, changed(full, change))["warnings"]
    assert len(found) == 1 and found[0].startswith(warning)


def test_the_terminal_shows_both_sides_the_rows_and_what_to_mind(full):
    shown = lines(compare(full, changed(full, faster_by(2)), ("a.json", "b.json")))
    assert shown[0].startswith("a: a.json, digits on Made-up Board 4000") and shown[1].startswith("b: b.json")
    row = next(line for line in shown if line.startswith("early exits (balanced)  median ms"))
    assert row.endswith("faster") and " 0.500 " in row
    assert shown[-1].startswith("Mind: b throttled")
