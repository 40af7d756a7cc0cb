"""What documents suppose to be there: clips, models and reports, made small, and only when a command asks for one."""

from __future__ import annotations

import functools
import re
import shutil
import venv
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from conftest import CLIPS, EXAMPLES, SMALL, enliven, small_model, write_clip

from tlee import cli
from tlee.benchmarks import cli as bench
from tlee.bundle import Bundle
from tlee.calibration.thresholds import cli as tune
from tlee.export.bundle_writer import amend_bundle
from tlee.export.exporter import export_bundle, plain
from tlee.models.checkpoint import load_checkpoint, save_checkpoint
from tlee.models.config import Config
from tlee.models.model import Tlee
from tlee.models.published import published_names

CLASSES = ("jump", "run", "walk")
QUICK = ["--rounds", "3", "--block", "0.02", "--cold", "0", "--sustained", "0.05"]
# A model as ucf101_branch.yml describes it, of a few small frames.
PUBLISHED = {
    "data": {
        "name": "ucf101",
        "num_frames": 4,
        "path_frame": "jpg",
        "path_split": "ucf101_train_list.txt",
        "preprocessing": {"resize": 36, "crop_center": 32, "normalize": True},
    },
    "model": {"backbone": "mobilenetv2", "branch_num": 2, "crm_num": 1, "branch_scale": 0, "epochs": 1},
    "train_mode": 1,
}
PUBLISHED["data_val"] = {**PUBLISHED["data"], "path_split": "ucf101_val_list.txt"}
PUBLISHED_MODEL = {"backbone": "mobilenetv2", "input_size": 32, "branches": 2, "crm_num": 1, "branch_scale": 0}
TRAINING = {
    **SMALL,
    "labels": [],
    "init": "random",
    "data": {"train": "my_clips"},
    "stages": [{"stage": "joint", "epochs": 1, "batch": 4}],
}


def labelled(folder: Path, each: int, tint: int, classes: tuple[str, ...] = CLASSES) -> None:
    """A folder per class, no two videos alike, nor those of another tint."""
    for c, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            write_clip(folder / name / f"{name}-{i:02}.mp4", frames=6 + i % 5, grey=60 * c + 3 * i + tint)


def published(path: Path) -> None:
    """A checkpoint of the published code, for `PUBLISHED`."""
    torch.manual_seed(0)
    model = Tlee(Config(model={**PUBLISHED_MODEL, "classes": 101, "neck": 4096, "shift": False}))
    names = published_names(model)
    state = {names[name]: tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 1, "best_prec1": 1.0}, path)


# As minikinetics_inference_2d.yml of FrameExit, of a few small frames.
FRAMEEXIT = {
    "data": {"name": "minikinetics", "num_frames": 4, "preprocessing": {"resize": 36, "crop_center": 32}},
    "model": {
        "name": "adaptive",
        "first_threshold": 0.95,
        "backbone": {"type": "2d", "name": "torchvision.resnet18", "pretrained": True},
        "num_class": 200,
    },
}


def frameexit(path: Path) -> None:
    """A checkpoint of FrameExit, for `FRAMEEXIT`."""
    torch.manual_seed(0)
    parts = {"backbone": "resnet18", "input_size": 32, "branches": 0, "heads": "per_frame", "gate": "eg"}
    model = Tlee(Config(model={**parts, "classes": 200, "neck": 4096}, frames={"count": 4}))
    names = published_names(model, project="FrameExit")
    torch.save({names[name]: tensor for name, tensor in model.state_dict().items()}, path)


def gestures(path: Path) -> None:
    """A checkpoint of TSM's demo, for examples/tsm_jester.yml."""
    torch.manual_seed(0)
    config = yaml.safe_load((EXAMPLES / "tsm_jester.yml").read_text(encoding="utf-8"))
    model = Tlee(Config(**config))
    names = published_names(model, project="TSM online")
    torch.save({names[name]: tensor for name, tensor in model.state_dict().items()}, path)


def published_configuration(path: Path) -> None:
    """`PUBLISHED`, and the videos that it lists."""
    path.write_text(yaml.safe_dump(PUBLISHED))
    pictures(path.parent / "jpg", ("v_train0", "v_train1", "v_val"))
    (path.parent / "ucf101_train_list.txt").write_text("v_train0 6 0\nv_train1 6 1\n")
    (path.parent / "ucf101_val_list.txt").write_text("v_val 6 0\n")


def pictures(path: Path, videos: tuple[str, ...] = ("v_one", "v_two")) -> None:
    """Videos as folders of pictures, as UCF101's list below names them."""
    import cv2
    import numpy as np

    for video in videos:
        (path / video).mkdir(parents=True)
        for t in range(6):
            cv2.imwrite(str(path / video / f"img_{t + 1:05}.jpg"), np.full((48, 64, 3), 30 * t, np.uint8))


def kinetics(path: Path) -> None:
    for i in range(len(CLASSES)):
        path.mkdir(exist_ok=True)
        write_clip(path / f"video{i}_000000_000010.mp4", frames=8, grey=50 * i)


KINETICS = "label,youtube_id,time_start,time_end,split,is_cc\n" + "".join(
    f"{name},video{i},0,10,val,0\n" for i, name in enumerate(CLASSES)
)


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content, encoding="utf-8")


class Supposed:
    """Makes what a path names, as documents call it.

    Args:
        folder: for what several documents get a copy of.
        exported: a small bundle with variants in fp16 and int8.
    """

    def __init__(self, folder: Path, exported: Path) -> None:
        self._folder, self._exported = folder, exported
        # The first pattern that a path matches; what is made is what the pattern covers of it.
        self.makers: list[tuple[re.Pattern[str], Callable[[Path], object]]] = [
            (re.compile(pattern), make)
            for pattern, make in (
                (r"my_clips", lambda path: labelled(path, 4, 0)),
                (r"my_validation_clips", lambda path: labelled(path, 14, 1)),
                (r"my_test_clips", lambda path: labelled(path, 3, 2)),
                (r"build/digits(-tuning)?/(train|val|test)", lambda path: self._digit_clips(path)),
                (r"clips", lambda path: self._some_clips(path)),
                (r"frames", pictures),
                (r"tlee-env", venv.create),
                (r"videos", kinetics),
                (r"ucf101_val\.txt", text("v_one 6 0\nv_two 6 1\n")),
                (r"val\.csv", text(KINETICS)),
                (r"[\w-]+\.mp4", lambda path: write_clip(path, 40)),
                (r"(\w+/)*digits\.tlee", lambda path: shutil.copytree(self._digits, path)),
                (r"[\w-]*plain\.tlee", lambda path: shutil.copytree(self._plain, path)),
                (r"[\w-]+\.tlee", lambda path: shutil.copytree(self._bundle, path)),
                (r"(?!examples)(\w+/)?[\w-]+\.safetensors", lambda path: self._checkpoint(path)),
                (r"mobilenetv2_jester_online\.pth\.tar", gestures),
                (r"jester\.txt", text("".join(f"gesture {i}\n" for i in range(27)))),
                (r"minikinetics_checkpoint_19\.7gmac\.pth", frameexit),
                (r"minikinetics_inference_2d\.yml", text(yaml.safe_dump(FRAMEEXIT))),
                (r"[\w-]+\.pth\.tar", published),
                (r"ucf101_branch\.yml|PUBLISHED\.yml", published_configuration),
                (r"my\.yml", text(yaml.safe_dump(TRAINING))),
                (r"\w+/trace\.npz", lambda path: shutil.copy(self._trace, path)),
                (r"[\w-]+-costs\.json", lambda path: shutil.copy(self._measured / "costs.json", path)),
                (r"[\w-]+\.json", lambda path: shutil.copy(self._measured / "report.json", path)),
            )
        ]

    def make(self, home: Path, name: str) -> Path | None:
        """Make what is called so below `home`, if documents call something so and it is not there. Returns what was."""
        for pattern, make in self.makers:
            match = pattern.match(name)
            if match and name[match.end() : match.end() + 1] in ("", "/"):
                path = home / match.group()
                if path.exists():
                    return None
                path.parent.mkdir(parents=True, exist_ok=True)
                make(path)
                return path
        return None

    @functools.cached_property
    def _digits(self) -> Path:
        shipped = EXAMPLES / "digits.safetensors"
        return Path(export_bundle(load_checkpoint(shipped), self._folder / "digits.tlee", shipped, verified=False).path)

    @functools.cached_property
    def _bundle(self) -> Path:
        """With operating points, as tlee-tune leaves it."""
        path = shutil.copytree(self._exported, self._folder / "my.tlee")
        bundle = Bundle.open(path)
        point = {
            "thresholds": bundle.manifest["exit_rule"]["thresholds"],
            "measured": {"top1": 0.5, "top1_interval": [0.4, 0.6], "share_of_macs": 0.5},
        }
        with amend_bundle(bundle) as writer:
            points = {name: point for name in ("accurate", "balanced", "fast", "target")}
            rule = {**bundle.manifest["exit_rule"], "operating_points": points}
            writer.finish({**bundle.manifest, "exit_rule": rule})
        return path

    @functools.cached_property
    def _plain(self) -> Path:
        path = self._folder / "plain.safetensors"
        self._checkpoint(path)
        model = plain(load_checkpoint(path))
        return Path(export_bundle(model, self._folder / "my-plain.tlee", path, verified=False).path)

    @functools.cached_property
    def _trace(self) -> Path:
        labelled(self._folder / "traced", 16, 1)
        copy = shutil.copytree(self._bundle, self._folder / "tuned.tlee")
        options = ["--data", str(self._folder / "traced"), "-o", str(self._folder / "tuned"), "--workers", "0"]
        assert cli.run(tune.PROGRAM, tune.command, [str(copy), *options]) == 0
        return self._folder / "tuned" / "trace.npz"

    @functools.cached_property
    def _measured(self) -> Path:
        """The folder of a report and of costs."""
        labelled(self._folder / "measured", 1, 3)
        given = [str(self._bundle), str(self._folder / "measured"), *QUICK]
        given += ["--json", str(self._folder / "report.json"), "--profile", str(self._folder / "costs.json")]
        assert cli.run(bench.PROGRAM, bench.command, given) == 0
        return self._folder

    def _checkpoint(self, path: Path) -> None:
        save_checkpoint(path, enliven(small_model(labels=list(CLASSES))))

    def _digit_clips(self, path: Path) -> None:
        for clip in CLIPS.glob("*.mp4"):
            number, level, count = clip.stem[len("digit") :].split("_")
            (path / number).mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, path / number / f"{count}_{level}.mp4")

    def _some_clips(self, path: Path) -> None:
        path.mkdir()
        for i in range(3):
            write_clip(path / f"{i}.mp4", grey=40 * i)
