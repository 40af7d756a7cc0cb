"""Draws what early exits save: the frames of a video, those that were used, and how deep in the network each one went.

python examples/early_exit.py build/digits.tlee examples/clips/digit4*.mp4 -o exits.svg
"""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

import cv2

from tlee.data.clips import open_clip
from tlee.data.sampling import sampled_indices
from tlee.files import atomic_write
from tlee.runtime import Recognizer, Result

SIDE, CELL, GAP, LEFT, TOP = 64, 9, 8, 92, 26  # pixels
STYLE = """text { font: 13px sans-serif; fill: #24292f } .unused { opacity: 0.25 }
.run { fill: #0072B2 } .saved { fill: none; stroke: #8c959f; stroke-width: 0.7 }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .run { fill: #56B4E9 } }"""


def thumbnail(picture, x: int, y: int, used: bool) -> str:
    """A frame, (H, W, 3) RGB, as an element of an SVG."""
    small = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)[:, :, ::-1]
    jpeg = base64.b64encode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()).decode()
    style = "" if used else ' class="unused"'
    return f'<image{style} x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" href="data:image/jpeg;base64,{jpeg}"/>'


def row(recognizer: Recognizer, clip: str, result: Result, top: int) -> list[str]:
    """One video: its frames in processing order, and below each the layers, filled as far as the frame went."""
    exits, frames = recognizer.bundle.exits, recognizer.bundle.frames
    parts = [f'<text x="0" y="{top + SIDE // 2}">says {result.label}</text>']
    parts += [f'<text x="0" y="{top + SIDE // 2 + 18}">{result.share:.0%} of</text>']
    parts += [f'<text x="0" y="{top + SIDE // 2 + 34}">the work</text>']
    with open_clip(clip) as video:
        indices = sampled_indices(video, frames)
        for t, position in enumerate(frames.order):
            x, used = LEFT + t * (SIDE + GAP), t < len(result.frames)
            parts.append(thumbnail(video.frame(indices[position]), x, top, used))
            for layer in range(exits):
                style = "run" if used and layer <= result.frames[t].exit_layer else "saved"
                y = top + SIDE + 4 + layer * (CELL + 2)
                parts.append(f'<rect class="{style}" x="{x}" y="{y}" width="{SIDE}" height="{CELL}" rx="2"/>')
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw which frames and layers of videos were computed.")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("clips", metavar="CLIP", nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.svg")
    options = parser.parse_args()
    with Recognizer.load(options.bundle) as recognizer:
        height = SIDE + 4 + recognizer.bundle.exits * (CELL + 2) + 2 * GAP
        width = LEFT + recognizer.bundle.frames.length * (SIDE + GAP)
        title = "the ten frames of a video, in processing order; blue: the parts of the network that ran for them"
        parts = [f'<text x="{LEFT}" y="14">{title}</text>']
        for i, clip in enumerate(options.clips):
            parts += row(recognizer, clip, recognizer.recognize(clip), TOP + i * height)
    size = f'viewBox="0 0 {width} {TOP + len(options.clips) * height}" width="{width}"'
    with atomic_write(options.output) as stream:
        stream.write(f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>{STYLE}</style>\n')
        stream.write("\n".join(parts) + "\n</svg>\n")


if __name__ == "__main__":
    main()
