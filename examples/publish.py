"""From a trained sample model to what this folder ships: checkpoint, clips, model card, the README's results.

    python examples/publish.py build/digits.safetensors build/digits

Every number it writes was measured in the same run, through the runtime, on the test videos.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import shutil
import statistics
from collections import Counter
from pathlib import Path

import safetensors
from moving_digits import LEVELS
from tqdm import tqdm

from tlee.cli import table
from tlee.export.exporter import export_bundle
from tlee.files import whole_file, write_json
from tlee.models.checkpoint import HEADER, load_checkpoint, save_checkpoint
from tlee.models.config import load_config
from tlee.runtime import Recognizer, Result
from tlee.training.config import TrainingConfig

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
SAMPLE_CLIPS = 12


def evaluate(recognizer: Recognizer, videos: list[Path], name: str) -> dict[str, dict[str, float]]:
    """Accuracy, frames, share of the full computation and milliseconds, for all videos and per difficulty."""
    results = [(video, recognizer.recognize(video)) for video in tqdm(videos, desc=name, disable=None)]
    groups = {"all": results, **{lv: [r for r in results if r[0].stem.endswith(lv)] for lv in LEVELS}}
    return {group: summarise(members) for group, members in groups.items()}


def summarise(results: list[tuple[Path, Result]]) -> dict[str, float]:
    answers = [result for _, result in results]
    layers = Counter(result.exit_layer for result in answers)
    return {
        "videos": len(answers),
        "accuracy": statistics.mean(video.parent.name == result.label for video, result in results),
        "frames": statistics.mean(len(result.frames) for result in answers),
        "share": statistics.mean(result.share for result in answers),
        "mmacs": statistics.mean(result.macs for result in answers) / 1e6,
        "milliseconds": statistics.median(result.milliseconds for result in answers),
        "exit_layers": {str(layer): layers[layer] for layer in sorted(layers)},
    }


def choose_clips(videos: list[Path]) -> list[Path]:
    """A dozen clips: digits in turn, difficulties in turn, the first of each kind."""
    chosen: list[Path] = []
    for number in range(SAMPLE_CLIPS):
        digit, wanted = str(number % 10), LEVELS[number % 3]
        chosen.append(next(v for v in videos if v.parent.name == digit and v.stem.endswith(wanted) and v not in chosen))
    return chosen


def result_rows(results: dict[str, dict[str, dict[str, float]]]) -> list[list[str]]:
    rows = [["videos", "accuracy", "frames", "computation", "ms (median)"]]
    for mode, groups in results.items():
        for group, r in groups.items():
            if group == "all" or mode == "early exits":
                name = f"{mode}, {group} ({r['videos']})"
                rows.append([name, f"{r['accuracy']:.1%}", f"{r['frames']:.1f} of 10", f"{r['share']:.1%}"])
                rows[-1].append(f"{r['milliseconds']:.1f}")
    return rows


def markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def fill(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->`."""
    content = path.read_text(encoding="utf-8")
    block = f"<!-- {name} -->\n{text}\n<!-- /{name} -->"
    content, count = re.subn(f"<!-- {name} -->.*<!-- /{name} -->", lambda _: block, content, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{path}: no place for '{name}'")
    with whole_file(str(path)) as stream:
        stream.write(content)


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{platform.machine()}, {cpu}, ONNX Runtime on the CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description="Evaluate the sample model and write what examples/ ships.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("data", type=Path, help="folder that moving_digits.py wrote")
    options = parser.parse_args()

    config = load_config(FOLDER / "digits.yml", TrainingConfig)
    assert isinstance(config, TrainingConfig)
    model = load_checkpoint(options.checkpoint)
    with safetensors.safe_open(options.checkpoint, framework="pt") as file:
        training = json.loads(file.metadata()[HEADER])["training"]
    # Thresholds may be chosen after training: those of the configuration hold.
    model.config = model.config.model_copy(update={"exits": config.exits})
    shipped = FOLDER / "digits.safetensors"
    save_checkpoint(shipped, model, training)
    bundle = export_bundle(model, ROOT / "build" / "digits.tlee", shipped, replace=True)

    videos = sorted((options.data / "test").glob("*/*.mp4"))
    results = {}
    for mode, early in (("early exits", True), ("no early exit", False)):
        recognizer = Recognizer.load(bundle, early_exit=early)
        recognizer.recognize(videos[0])
        results[mode] = evaluate(recognizer, videos, mode)
    write_json(str(FOLDER / "results.json"), {"machine": machine(), "results": results})

    clips = FOLDER / "clips"
    shutil.rmtree(clips, ignore_errors=True)
    clips.mkdir()
    for clip in choose_clips(videos):
        shutil.copy(clip, clips / f"digit{clip.parent.name}_{clip.stem.split('_')[1]}_{clip.stem.split('_')[0]}.mp4")

    rows = result_rows(results)
    text = markdown(rows) + f"\n\nMeasured on {machine()}."
    for path in (ROOT / "README.md", FOLDER / "README.md"):
        fill(path, "results", text)
    print("\n".join(table(rows, "lrrrr")))


if __name__ == "__main__":
    main()
