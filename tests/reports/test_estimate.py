"""Estimates for boards that one does not have: what they are fitted to, how far off they are, what they refuse."""

import copy
import json

import numpy as np
import pytest

from tlee.benchmarks.development import published
from tlee.bundle import Bundle
from tlee.errors import UsageError
from tlee.reports import estimate, fit

FITTED = ["jetson-nano", "tx2", "agx-xavier"]


@pytest.fixture()
def bundle(small_bundle):
    return Bundle.open(small_bundle)


@pytest.fixture()
def large(bundle):
    """The bundle with so much to do that launching it does not show."""
    for entry in bundle.manifest["segments"].values():
        entry.update({key: 100_000 * entry[key] for key in ("macs", "elements", "parameters")})
    return bundle


@pytest.fixture()
def changed(monkeypatch):
    """The published content, to be changed by a test."""
    content = copy.deepcopy(fit._published())
    monkeypatch.setattr(fit, "_published", lambda: content)
    return content


def left_out(board, network):
    found = [c for c in fit.leave_one_out(board) if c.figure.network == network]
    assert found
    return found


@pytest.mark.parametrize("network", ["resnet50-224", "mobilenet_v2-300"])
def test_nvidias_rates_on_the_nano_are_estimated_within_a_quarter_by_a_fit_that_has_not_seen_the_network(network):
    for comparison in left_out("jetson-nano", network):
        rate = comparison.figure.milliseconds / comparison.milliseconds - 1  # of frames a second
        assert abs(comparison.error) < 0.25 and abs(rate) < 0.25


def test_the_nanos_figures_are_those_that_nvidia_published():
    rates = {f.network: 1000 / f.milliseconds for f in fit.figures("jetson-nano") if f.source == "nano-blog"}
    assert rates == pytest.approx({"resnet50-224": 36, "mobilenet_v2-300": 64, "inception_v4-299": 11})


@pytest.mark.parametrize(("board", "median"), [("jetson-nano", 0.10), ("agx-xavier", 0.25), ("tx2", 0.35)])
def test_most_estimates_are_near_what_was_published(board, median):
    error = fit.error_of(board, "fp16")
    assert error.left_out and error.board == board and error.median < median
    assert error.worst == max(abs(c.error) for c in fit.leave_one_out(board) if c.figure.precision == "fp16")


@pytest.mark.parametrize("board", FITTED)
def test_a_network_left_out_is_not_seen_at_any_size_or_precision(changed, board):
    before = {c.figure: c.milliseconds for c in left_out(board, "resnet50-224")}
    for entry in changed["figures"]:
        if entry["network"].startswith("resnet50-"):
            entry.pop("fps", None)
            entry["milliseconds"] = 1e4
    assert [c.milliseconds for c in left_out(board, "resnet50-224")] == pytest.approx(list(before.values()))


@pytest.mark.parametrize("board", FITTED)
def test_no_factor_promises_more_than_the_peak_rates(board):
    assert (fit.fit(board) >= fit.LEAST).all()


def test_the_fit_is_the_least_squares_solution_within_its_bounds():
    random = np.random.RandomState(0)
    matrix, least = random.uniform(0, 1, (20, 4)), np.array([0.3, 0.2, 0.1, 0.0])
    wanted = matrix.dot(np.array([0.0, 1.0, 0.05, 2.0]))
    found = fit._least_squares(matrix, wanted, least)
    others = least + random.uniform(0, 2, (20000, 4)) * (random.uniform(0, 1, (20000, 4)) < 0.7)
    squares = ((others.dot(matrix.T) - wanted) ** 2).sum(1)
    assert (found >= least).all() and ((matrix.dot(found) - wanted) ** 2).sum() <= squares.min()


def test_every_figure_names_a_source_and_its_network_is_counted():
    with open(fit.PUBLISHED, encoding="utf-8") as stream:
        content = json.load(stream)
    for figure in content["figures"]:
        source = content["sources"][figure["source"]]
        assert source["title"] and source["url"].startswith("https://") and (source["opened"] or source["quoted"])
        assert figure["fitted"] == (source["by"] == "NVIDIA")
        assert set(content["networks"][figure["network"]]) == {"macs", "parameters", "elements", "layers"}
        assert figure["board"] in estimate.BOARDS and figure["precision"] in fit.BYTES


@pytest.mark.parametrize("network", ["mobilenet_v2-224", pytest.param("resnet50-224", marks=pytest.mark.full)])
def test_published_networks_are_counted_as_an_export_counts(network):
    assert published.count(network) == fit._published()["networks"][network]


def test_a_unit_takes_as_long_as_its_segments(bundle):
    times = estimate.estimate(bundle, "jetson-nano").milliseconds
    assert set(times) == set(bundle.segments) | set(bundle.fused_exits)
    for name, fused in bundle.fused_exits.items():
        assert times[name] == pytest.approx(sum(times[part] for part in fused.segments))


@pytest.mark.parametrize("board", sorted(estimate.BOARDS))
def test_more_work_takes_longer_and_half_precision_less(large, board):
    times = estimate.estimate(large, board).milliseconds
    slower = estimate.estimate(large, board, "fp32").milliseconds
    assert all(slower[name] > times[name] > 0 for name in times if name.startswith("split"))
    for entry in large.manifest["segments"].values():
        entry.update({key: 3 * entry[key] for key in ("macs", "elements", "parameters", "layers")})
    longer = estimate.estimate(large, board).milliseconds
    assert longer == pytest.approx({name: 3 * time for name, time in times.items()})


def test_the_delicate_segments_count_in_float32(large):
    half, full = (estimate.estimate(large, "jetson-nano", p).milliseconds for p in ("fp16", "fp32"))
    assert {name for name in large.segments if half[name] == full[name]} == {"frm", "head", "gate"}


@pytest.mark.parametrize("board", sorted(estimate.BOARDS))
def test_nothing_takes_less_than_launching_it(bundle, board):
    launch = 1e-3 * fit.fit("agx-xavier")[-1]
    assert 0.01 < launch < 0.1
    for name, time in estimate.estimate(bundle, board).milliseconds.items():
        assert time >= 0.999 * launch * bundle.graph(name).layers


def test_int8_is_refused_where_it_is_not_fast(bundle):
    with pytest.raises(UsageError, match="Jetson Nano: computes nothing fast in int8; choose of: fp16, fp32"):
        estimate.estimate(bundle, "jetson-nano", "int8")
    assert estimate.estimate(bundle, "agx-xavier", "int8").error.left_out is False


def test_an_unknown_board_is_one_line_with_those_that_are_known(bundle):
    with pytest.raises(UsageError, match="nano: no such board is known; choose of: agx-orin, .*jetson-nano"):
        estimate.estimate(bundle, "nano")


def test_the_first_line_says_that_nothing_was_measured_and_the_second_how_far_off_it_may_be(bundle):
    estimated = estimate.estimate(bundle, "jetson-nano")
    text = estimate.lines(bundle, estimated)
    assert text[0].startswith("ESTIMATE, nothing was measured: ") and "Jetson Nano" in text[0]
    assert f"{estimated.error.median:.0%} in the median" in text[1]
    assert any("https://github.com/NVIDIA-AI-IOT/torch2trt" in line for line in text)


def test_a_board_without_figures_says_whose_factors_it_borrows(bundle):
    text = "\n".join(estimate.lines(bundle, estimate.estimate(bundle, "orin-nano")))
    assert "no published times of Jetson Orin Nano 8GB are fitted" in text and "Jetson AGX Xavier" in text


def test_a_video_is_the_sum_of_the_splits_and_exits_that_ran(bundle):
    estimated = estimate.estimate(bundle, "jetson-nano")
    t = estimated.milliseconds
    videos = {v.what: v for v in estimate.video_milliseconds(bundle, estimated, [[1, 0]])}
    count = bundle.frames.length
    assert videos["no exit"].milliseconds == pytest.approx(
        count * (t["split0"] + t["split1"] + t["split2"] + t["exit2"])
    )
    one, three = (videos[name] for name in ("one frame", "three frames"))
    assert (one.frames, three.frames) == (1, 3)
    assert three.milliseconds == pytest.approx(3 * one.milliseconds)
    assert one.milliseconds == pytest.approx(videos["no exit"].milliseconds / count)
    assert videos["all frames to exit 0"].milliseconds == pytest.approx(count * (t["split0"] + t["exit0"]))
    first = t["split0"] + t["split1"] + t["exit0"] + t["exit1"]
    assert videos["these videos"] == ("these videos", 2, pytest.approx(first + t["split0"] + t["exit0"]))


def test_the_json_is_plain_and_says_that_it_is_an_estimate(bundle):
    content = json.loads(json.dumps(estimate.estimate(bundle, "agx-xavier").as_json()))
    assert content["estimate"] is True and content["board"] == "agx-xavier" and content["sources"]


def test_exits_are_those_of_results_of_tlee_run(bundle, tmp_path):
    path = tmp_path / "results.jsonl"
    path.write_text('{"frames": [{"exit_layer": 1}, {"exit_layer": 0}]}\n{"frames": [{"exit_layer": 2}]}\n')
    assert estimate.read_exits(str(path), bundle) == [[1, 0], [2]]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2 is not a result of tlee-run"),
        ("[]", "line 2 is not a result of tlee-run"),
        ('{"frames": 3}', "line 2 is not a result of tlee-run"),
        ('{"frames": []}', "line 2 names exits that small does not have"),
        ('{"frames": [{"exit_layer": 3}]}', "line 2 names exits that small does not have"),
        ('{"frames": [{"exit_layer": "0"}]}', "line 2 names exits that small does not have"),
    ],
)
def test_results_that_are_none_are_refused_in_one_line(bundle, tmp_path, line, problem):
    path = tmp_path / "results.jsonl"
    path.write_text('{"frames": [{"exit_layer": 1}]}\n' + line)
    with pytest.raises(UsageError, match=problem):
        estimate.read_exits(str(path), bundle)
