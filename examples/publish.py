"""Makes the files of this folder from the trained sample model: checkpoint, clips, results, plots, model card.

    python examples/publish.py build/digits build/digits-run build/digits-tuning

Thresholds and temperatures are those of tlee-tune's operating point `balanced`. Every number is measured in the same
run, with the runtime, on the test videos.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import statistics
from pathlib import Path

from matplotlib.figure import Figure
from moving_digits import LEVELS

from tlee.bundle import Bundle
from tlee.calibration.thresholds.cli import command as tlee_tune
from tlee.cli import table
from tlee.data.labelled.listing import read_listing
from tlee.evaluation.evaluate import evaluate
from tlee.evaluation.evaluated import open_model
from tlee.evaluation.results import UNUSED, Evaluation
from tlee.export.exporter import export_bundle
from tlee.files import atomic_write, write_json
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.models.config import ExitConfig
from tlee.modes import EARLY, NONE
from tlee.reports.plots import standalone
from tlee.reports.thresholds_page import front, point_rows
from tlee.runtime import Recognizer
from tlee.training.run_folder import BEST, RunFolder

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
SAMPLE_CLIPS = 12
POINT = "balanced"  # the operating point that is shipped
TIMED = 200  # videos, spread over the test set
FRAME_GROUPS = ((1, 1), (2, 2), (3, 4), (5, 9), (10, 10))
SHADES = ("#F0F4D4", "#A8D5A2", "#4DB0A3", "#1F7896", "#123B6D")  # light to dark: few to many


def by_difficulty(evaluation: Evaluation) -> dict[str, Evaluation]:
    """All videos, and those of each difficulty."""
    levels = [entry.path.stem.split("_")[1] for entry in evaluation.entries]
    chosen = {level: [i for i, own in enumerate(levels) if own == level] for level in LEVELS}
    return {"all": evaluation, **{level: evaluation.select(videos) for level, videos in chosen.items()}}


def milliseconds(bundle: Path, videos: list[Path]) -> dict[str, float]:
    """Median time of a video, decoding included, with and without early exits, alternating."""
    recognizers = {mode: Recognizer.load(bundle, early_exit=mode == EARLY) for mode in (EARLY, NONE)}
    times: dict[str, list[float]] = {mode: [] for mode in recognizers}
    for video in [videos[0], *videos]:  # the first one twice, to warm up
        for mode, recognizer in recognizers.items():
            times[mode].append(recognizer.recognize(video).milliseconds)
    return {mode: statistics.median(values[1:]) for mode, values in times.items()}


def results(groups: dict[str, Evaluation], times: dict[str, float]) -> dict[str, object]:
    summaries = {name: group.summary() for name, group in groups.items()}
    kept = {name: {key: found[key] for key in ("videos", "modes", "fixed_exits")} for name, found in summaries.items()}
    return {"machine": machine(), "median_milliseconds": times, "groups": kept}


def plot(groups: dict[str, Evaluation], path: Path) -> None:
    """Number of frames used and exits taken, by difficulty."""
    figure = Figure(figsize=(9, 2.9), layout="constrained", facecolor="white")
    frames, layers = figure.subplots(1, 2, sharey=True)
    exits = groups["all"].fixed_macs.shape[1]
    names = [f"branch {b}" for b in range(exits - 1)] + ["tail"]
    for place, level in enumerate(reversed(LEVELS)):
        answers = groups[level].modes[EARLY]
        used, deep = answers.frame + 1, answers.layers[answers.layers != UNUSED]
        shares = [float(((used >= low) & (used <= high)).mean()) for low, high in FRAME_GROUPS]
        bar(frames, place, shares, [str(a) if a == b else f"{a}-{b}" for a, b in FRAME_GROUPS], SHADES)
        bar(layers, place, [float((deep == b).mean()) for b in range(exits)], names, SHADES[:: 5 // exits or 1])
    frames.set(title="Frames used of 10, share of videos", yticks=range(3), yticklabels=list(reversed(LEVELS)))
    layers.set(title="Where used frames leave, share of frames")
    for axes, count in ((frames, len(FRAME_GROUPS)), (layers, exits)):
        axes.set(xlim=(0, 100), xlabel="%")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=count, frameon=False, handlelength=1)
    with atomic_write(str(path)) as stream:
        figure.savefig(stream, format="svg", metadata={"Date": None})


def bar(axes, place: int, shares: list[float], names: list[str], colours: tuple[str, ...]) -> None:
    """One stacked bar; the first one carries the labels of the legend."""
    left = 0.0
    for share, name, colour in zip(shares, names, colours):
        axes.barh(place, 100 * share, left=left, color=colour, edgecolor="#555", linewidth=0.5,
                  label=name if place == 0 else None)  # fmt: skip
        if share > 0.06:
            dark = colours.index(colour) >= 3
            axes.text(left + 50 * share, place, f"{share:.0%}", ha="center", va="center", fontsize=8,
                      color="white" if dark else "black")  # fmt: skip
        left += 100 * share


def choose_clips(videos: list[Path]) -> list[Path]:
    """A dozen clips: digits in turn, difficulties in turn, the first of each kind."""
    chosen: list[Path] = []
    for number in range(SAMPLE_CLIPS):
        digit, wanted = str(number % 10), LEVELS[number % 3]
        chosen.append(next(v for v in videos if v.parent.name == digit and v.stem.endswith(wanted) and v not in chosen))
    return chosen


def result_rows(groups: dict[str, Evaluation], times: dict[str, float]) -> list[list[str]]:
    rows = [["videos", "accuracy", "frames", "exit layer", "computation", "ms (median)"]]
    for mode in (EARLY, NONE):
        for name, group in groups.items():
            numbers = group.summary()["modes"][mode]
            row = [f"{mode}, {name} ({len(group.entries)})", f"{numbers['top1']:.1%}"]
            row += [f"{numbers['mean_frames']:.1f} of 10", f"{numbers['mean_frame_layer']:.2f} of 3"]
            row += [f"{numbers['share_of_macs']:.1%}", f"{times[mode]:.1f}" if name == "all" else ""]
            rows.append(row)
    return rows


def mode_rows(evaluation: Evaluation) -> list[list[str]]:
    rows = [["mode", "accuracy", "frames", "computation"]]
    for mode, found in evaluation.summary()["modes"].items():
        frames = f"{found['mean_frames']:.1f} of 10"
        rows.append([mode, f"{found['top1']:.1%}", frames, f"{found['share_of_macs']:.1%}"])
    return rows


def markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def fill(path: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- NAME -->` and `<!-- /NAME -->`."""
    content = path.read_text(encoding="utf-8")
    block = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    content, count = re.subn(f"<!-- {name} -->.*<!-- /{name} -->", lambda _: block, content, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{path}: no place for '{name}'")
    with atomic_write(str(path)) as stream:
        stream.write(content)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{platform.machine()}, {cpu}, ONNX Runtime on the CPU"


def training_table(run: RunFolder) -> list[list[str]]:
    """Duration and accuracy of each stage."""
    rows = [["stage", "epochs", "minutes", "validation accuracy by exit"]]
    lines = run.metrics()
    for stage in (line["stage"] for line in lines if line["event"] == "stage"):
        epochs = [line for line in lines if line["event"] == "epoch" and line["stage"] == stage]
        best = max(epochs, key=lambda line: line["score"])
        accuracy = ", ".join(f"{value:.1%}" for value in best["val_accuracy"][-1])
        rows.append([stage, str(len(epochs)), f"{sum(line['seconds'] for line in epochs) / 60:.1f}", accuracy])
    return rows


def tune(bundle: Path, videos: Path) -> dict:
    """Tune a bundle's exits, and draw the front. Returns tlee-tune's report."""
    report = ROOT / "build" / "digits-tuned"
    options = ["--data", str(videos / "val"), "--held-out", str(videos / "test"), "-o", str(report), "--replace"]
    if tlee_tune([str(bundle), *options]):
        raise SystemExit("tuning failed")
    found = json.loads((report / "report.json").read_text(encoding="utf-8"))
    with atomic_write(str(FOLDER / "front.svg")) as stream:
        stream.write(standalone(front(found)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate the sample model and write the files of examples/.")
    parser.add_argument("data", type=Path, help="folder that moving_digits.py wrote")
    parser.add_argument("run", type=Path, help="folder that tlee-train wrote")
    parser.add_argument("tuning", type=Path, help="another one: val to tune the exits, test to report")
    options = parser.parse_args()

    run = RunFolder(options.run)
    model, bundle = load_checkpoint(options.run / BEST), ROOT / "build" / "digits.tlee"
    export_bundle(model, bundle, options.run / BEST, replace=True)
    tuned = tune(bundle, options.tuning)
    exits = ExitConfig(**Bundle.open(str(bundle)).thresholds(POINT).as_dict())
    model.config = model.config.model_copy(update={"exits": exits})
    shipped = FOLDER / "digits.safetensors"
    save_checkpoint(shipped, model, {"stages": [line for line in run.metrics() if line["event"] == "stage"]})
    export_bundle(model, bundle, shipped, replace=True)

    listing = read_listing("folders", options.data / "test")
    evaluation = evaluate(open_model(bundle), listing, workers=1)
    videos = [entry.path for entry in listing.entries]
    times = milliseconds(bundle, videos[:: max(1, len(videos) // TIMED)])
    groups = by_difficulty(evaluation)
    write_json(str(FOLDER / "results.json"), results(groups, times))
    plot(groups, FOLDER / "exits.svg")

    clips = FOLDER / "clips"
    shutil.rmtree(clips, ignore_errors=True)
    clips.mkdir()
    for clip in choose_clips(videos):
        shutil.copy(clip, clips / f"digit{clip.parent.name}_{clip.stem.split('_')[1]}_{clip.stem.split('_')[0]}.mp4")

    rows = result_rows(groups, times)
    fill(FOLDER / "README.md", "results", markdown(rows) + f"\n\nMeasured on {machine()}.")
    for path in (ROOT / "README.md", FOLDER / "README.md"):
        fill(path, "points", markdown([row[:7] for row in point_rows(tuned)]))
    fill(FOLDER / "README.md", "modes", markdown(mode_rows(evaluation)))
    fill(FOLDER / "README.md", "training", markdown(training_table(run)))
    print("\n".join(table(rows, "lrrrrr")))


if __name__ == "__main__":
    main()
