"""Compares what an emulated machine answered with this one; writes clips as pictures of the same pixels anywhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path

# What must be the same of an answer, whatever the machine.
SAME = ("label", "class_index", "exit_frame", "exit_layer", "reason", "macs", "warning")


def pictures(folder: Path, bundle: Path, clips: list[Path]) -> None:
    """Writes every frame of each clip, as large as the model wants it, into a folder of its own."""
    import cv2

    from tlee.bundle import Bundle
    from tlee.data.clips import open_clip
    from tlee.frames import prepare

    spec = Bundle.open(str(bundle)).frames
    if spec.resize != spec.crop:
        sys.exit(f"{bundle}: crops its frames, so pictures of them would be resized again")
    for path in clips:
        (folder / path.stem).mkdir(parents=True)
        with open_clip(str(path)) as clip:
            for number in range(clip.frame_count):
                frame = prepare(clip.frame(number), spec).round().astype("uint8")
                cv2.imwrite(str(folder / path.stem / f"{number:04d}.png"), frame[:, :, ::-1])


def answers(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def compare(here: list[dict], there: list[dict], tolerance: float) -> tuple[list[str], float]:
    """What differs, and the largest difference of a confidence, over all frames that were used."""
    if not here or len(here) != len(there):
        return [f"{len(there)} answers there, {len(here)} here"], 0.0
    problems, largest = [], 0.0
    for a, b in zip(here, there):
        name = Path(a["source"]).stem
        problems += [f"{name}: {key} {b[key]} there, {a[key]} here" for key in SAME if a[key] != b[key]]
        frames = [[(f["video_frame"], f["exit_layer"], f["reason"]) for f in answer["frames"]] for answer in (a, b)]
        if frames[0] != frames[1]:
            problems.append(f"{name}: frames {frames[1]} there, {frames[0]} here")
            continue
        pairs = [(a["confidence"], b["confidence"])]
        pairs += [(f["confidence"], g["confidence"]) for f, g in zip(a["frames"], b["frames"])]
        difference = max(abs(x - y) for x, y in pairs)
        largest = max(largest, difference)
        if not difference <= tolerance:
            problems.append(f"{name}: confidence differs by {difference:.1e}, more than {tolerance:.0e}")
    return problems, largest


def main(arguments: list[str]) -> int:
    if arguments[0] == "pictures":
        pictures(Path(arguments[1]), Path(arguments[2]), [Path(clip) for clip in arguments[3:]])
        return 0
    here, there, tolerance = arguments[1:]
    problems, largest = compare(answers(Path(here)), answers(Path(there)), float(tolerance))
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print(f"  {len(answers(Path(here)))} answers the same, confidences within {largest:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
