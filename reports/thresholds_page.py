"""A tuning's report as rows for a terminal, and as a page with plots."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tlee.reports import plots
from tlee.reports.metrics import wilson
from tlee.reports.pages import Rows, cost_unit, figures, interval, percent, render
from tlee.reports.plots import Report, drawn

BASELINES = {
    "published rule": (plots.ORANGE, "."),
    "one threshold of each kind": (plots.PURPLE, "."),
    "random exit": (plots.GREEN, "X"),
    "fixed exits": (plots.SKY, "s"),
}


def page(report: Report) -> str:
    """The page of a report made by `tlee.calibration.thresholds.report.report_of`."""
    left_out = [[video["path"], video["problem"]] for video in report["data"]["unreadable"]]
    left_out += [[path, "has the frames of a video to choose by"] for path in report["data"]["repeated"]]
    return render(
        "thresholds.html",
        report=report,
        front=front(report),
        exit_map=exit_map,
        temperatures=temperatures(report),
        baseline_rows=baseline_rows(report),
        point_rows=point_rows(report),
        threshold_rows=threshold_rows,
        simulation_text=simulation_text(report),
        sentences=sentences(report),
        left_out=left_out,
    )


def videos_text(report: Report) -> str:
    """Which videos were chosen by and which measured, part of a sentence."""
    videos = report["data"]["videos"]
    if videos["held_out"]:
        return f"{videos['held_out']} held-out videos, {videos['tuning']} for tuning"
    return f"{videos['tuning']} videos for tuning, none held out: what points lose is cross-fitted"


def point_rows(report: Report) -> Rows:
    """A row per operating point, then fixed exits, the last of them no exit; the first column is text. `lost` and `at
    most` are points of accuracy against no exit, measured and promised."""
    full, without = report["metric"]["full"], report["full"]["held_out"]
    unit, name = cost_unit(full, report["metric"]["unit"])
    rows = [["point", "accuracy", "95 % interval", name, "times cheaper", "share of MACs", "frames", "lost", "at most"]]
    for point, found in report["points"].items():
        held = found["held_out"]
        row = [point, percent(held["top1"]), interval(held["top1_interval"]), figures(held["cost"] / unit)]
        row += [f"{full / held['cost']:.1f}", percent(held["share_of_macs"]), f"{held['mean_frames']:.2f}"]
        rows.append([*row, f"{found['promise']['loss']:.1f}", f"{found['promise']['bound']:.1f}"])
    for tail in report["tail"]:
        frames = tail["frames"]
        row = [_to_tail(report, frames), percent(tail["top1"]), interval(tail["top1_interval"])]
        row += [figures(tail["cost"] / unit), f"{full / tail['cost']:.1f}"]
        row += [percent(frames / report["subject"]["frames"]), f"{frames:.2f}"]
        rows.append([*row, f"{100 * (without - tail['top1']):.1f}", ""])
    return rows


def sentences(report: Report) -> list[str]:
    """What the table says, and what to do about it: promises that fall short, fixed exits, branches for nothing."""
    found = []
    for name, point in report["points"].items():
        promise = point["promise"]
        if promise["aim"] is not None and promise["bound"] > promise["aim"]:
            text = f"{name}: at most {promise['bound']:.1f} points are lost, with 95 % confidence; "
            text += f"{promise['videos']} videos are too few to promise {promise['aim']:g}"
            needed = promise["needed"] and int(float(f"{promise['needed']:.1e}"))  # two digits
            found.append(text + (f", about {needed:,} would do" if needed else ""))
    found += [_compared(report, tail) for tail in report["tail"][:-1]]  # the last is no exit
    used = report["branches"]["used"]
    closed = [str(b) for b in report["branches"]["all"] if b not in used]
    if closed:
        kept = ",".join(map(str, used)) or "none"
        which, them = (f"branches {', '.join(closed)}", "them") if len(closed) > 1 else (f"branch {closed[0]}", "it")
        command = f"tlee-export CHECKPOINT --branches {kept} -o NAME.tlee"
        found.append(f"no point uses {which}: {command} leaves {them} out; then tune again")
    return found


def _compared(report: Report, tail: Report) -> str:
    name = _to_tail(report, tail["frames"])
    if tail["front"] is None:
        return f"front: no point is as cheap as {name}"
    margin = 100 * (tail["front"] - tail["top1"])
    if tail["within"]:
        return f"front: within the interval of {name} at its cost ({margin:+.1f} points)"
    return f"front: {abs(margin):.1f} points {'above' if margin > 0 else 'below'} {name} at its cost"


def _to_tail(report: Report, frames: int) -> str:
    if frames == report["subject"]["frames"]:
        return "no exit"
    return f"{frames} frame{'s' if frames > 1 else ''} to the tail"


def threshold_rows(report: Report, point: Report) -> Rows:
    """A row per kind of threshold of an operating point, a column per exit; the first column is text."""
    exits = report["subject"]["exits"]
    rows = [[kind, *(f"{value:.6g}" for value in values)] for kind, values in point["thresholds"].items()]
    return [["", *(plots.exit_name(b, exits) for b in range(exits))], *rows]


def baseline_rows(report: Report) -> Rows:
    """A row per baseline; the first column is text."""
    held_out = report["data"]["videos"]["held_out"]
    on = "on the held-out videos" if held_out else "on the tuning videos"
    rows = [[on, "settings", "dominated by the front", "least margin, points"]]
    for name, found in report["baselines"].items():
        margin = "none as cheap" if found["margin"] is None else f"{found['margin']:+.1f}"
        rows.append([name, str(len(found["points"]["top1"])), percent(found["dominated"]), margin])
    return rows


def simulation_text(report: Report) -> str:
    """How closely what was simulated and what was run agree, a sentence."""
    found = report["simulation"]
    off = max(max(point["run_error"].values()) for point in report["points"].values())
    videos = "held-out" if report["data"]["videos"]["held_out"] else "tuning"
    return (
        f"simulation: {percent(found['guessed_max'])} of the videos guessed at most; front really run: accuracy within "
        f"{100 * found['accuracy_error']:.2f} points, cost within {percent(found['cost_error'])}; plain runtime on the "
        f"{videos} videos: {'the same' if off < 1e-6 else f'off by {off:.4f}'}"
    )


@drawn
def front(report: Report) -> Figure:
    """The front and its baselines, on the held-out videos."""
    canvas, axes = plots.figure(4.9)
    full = report["metric"]["full"]
    unit, name = cost_unit(full, report["metric"]["unit"])
    for baseline, (colour, mark) in BASELINES.items():
        points = report["baselines"][baseline]["points"]
        cost, accuracy = np.array(points["cost"]) / unit, 100 * np.array(points["top1"])
        many = mark == "."
        size, alpha = (14, 0.5) if many else (30, 0.9)
        style: dict[str, Any] = {"s": size, "alpha": alpha, "linewidths": 0, "marker": mark, "color": colour}
        axes.scatter(cost, accuracy, label=baseline, rasterized=many, **style)
    cost, accuracy = _honest(report)
    videos = report["data"]["videos"]["held_out"] or report["data"]["videos"]["tuning"]
    low, high = 100 * np.array([wilson(share / 100, videos) for share in accuracy]).T
    axes.fill_between(cost / unit, low, high, color=plots.VERMILION, alpha=0.15, linewidth=0)
    axes.plot(cost / unit, accuracy, color=plots.VERMILION, linewidth=2, label="tuned front")
    cost, tuned = _line(report, "tuning")
    axes.plot(cost / unit, tuned, "--", color=plots.VERMILION, linewidth=1, label="on the tuning videos")
    without = 100 * report["full"]["held_out"]
    for tail in report["tail"][:-1]:
        label = "1 frame, 3 frames to the tail" if tail is report["tail"][0] else None
        axes.plot(tail["cost"] / unit, 100 * tail["top1"], "d", color=plots.BLUE, markersize=6, label=label)
    axes.plot(full / unit, without, "D", color=plots.BLUE, markersize=6, label="no exit")
    by_cost = sorted(report["points"].items(), key=lambda item: item[1]["held_out"]["cost"])
    for i, (point, found) in enumerate(by_cost):
        place = (found["held_out"]["cost"] / unit, 100 * found["held_out"]["top1"])
        axes.plot(*place, "o", color=plots.INK, markersize=6, zorder=5)
        pointer = {"arrowstyle": "-", "color": plots.INK, "linewidth": 0.6}
        # One under the other, since points may lie close, where no baseline is: cheap and accurate.
        axes.annotate(point, place, (0.03, 0.94 - 0.06 * i), textcoords="axes fraction", zorder=5, arrowprops=pointer)
    top = max(high.max(), without)
    axes.set_ylim(min(accuracy.min(), top - 20), top + 1)
    plots.accuracy_by_cost(axes, f"{name} per video", columns=2)
    return canvas


@drawn
def exit_map(held_out: Report) -> Figure:
    """Where an operating point's answers come from."""
    return plots.exit_maps({"": held_out["exit_histogram"]}, held_out["videos"])


@drawn
def temperatures(report: Report) -> Figure:
    """Calibration errors before and after, by exit."""
    canvas, axes = plots.figure(2.6)
    before, after = (100 * np.array(errors) for errors in report["temperature"]["error_held_out"])
    places = np.arange(len(before))
    axes.bar(places - 0.2, before, 0.38, color=plots.GREY, label="as trained")
    axes.bar(places + 0.2, after, 0.38, color=plots.BLUE, label="with temperatures")
    values = report["temperature"]["values"]
    axes.set_xticks(places, [f"{plots.exit_name(b, len(places))}\n({value:.2f})" for b, value in enumerate(values)])
    axes.set_ylabel("error, points")
    plots.legend(axes)
    return canvas


def _honest(report: Report) -> tuple[np.ndarray, np.ndarray]:
    """Costs and accuracies (per cent) on videos not chosen by: held out, or cross-fitted."""
    if report["data"]["videos"]["held_out"]:
        return _line(report, "held_out")
    rows = report["levels"][::-1]
    cost, loss = (np.array([row[key] for row in rows]) for key in ("cost", "loss"))
    return cost, 100 * report["full"]["held_out"] - loss


def _line(report: Report, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Costs and accuracies (per cent) of the front on a part of the videos."""
    places = [place[part] for place in report["front"]]
    return np.array([place["cost"] for place in places]), 100 * np.array([place["top1"] for place in places])
