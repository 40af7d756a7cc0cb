"""What the published loader made of a folder of pictures, here and through everything that reads frames."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import enliven, small_model
from PIL import Image

from tlee.bundle import Bundle
from tlee.data.clips import open_clip
from tlee.data.labelled.augment import AugmentConfig
from tlee.data.labelled.cache import FrameCache
from tlee.data.labelled.listing import read_listing
from tlee.data.labelled.loader import ClipDataset
from tlee.data.sampling import sampled_indices
from tlee.evaluation.evaluate import evaluate
from tlee.evaluation.evaluated import open_model
from tlee.export.exporter import export_bundle
from tlee.frames import prepare, published_numbers
from tlee.info import describe
from tlee.models.checkpoint import save_checkpoint
from tlee.models.config import PUBLISHED_MEAN, PUBLISHED_ORDERS, PUBLISHED_STD, Config
from tlee.modes import NONE
from tlee.runtime import Recognizer
from tlee.runtime.cli import command

FOLDER = Path(__file__).parent / "loader"
CLIP = FOLDER / "v_Waves_g01_c01"
GOLDEN = json.loads((FOLDER / "golden_loader.json").read_text())
RULES = {"count": 10, "sampling": "published", "interpolation": "bilinear"}
WANTED = [GOLDEN["indices"][i] - 1 for i in PUBLISHED_ORDERS[10]]  # in processing order, counted from 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    changes = {"width": 0.35, "input_size": 32, "branches": 1, "crm_num": 1, "classes": 101}
    model = enliven(small_model(model=changes, frames={**RULES, "resize": 36}, labels=[]))
    save_checkpoint(folder / "small.safetensors", model)
    export_bundle(model, folder / "small.tlee", folder / "small.safetensors", verified=False)
    return folder / "small.tlee"


@pytest.fixture(scope="module")
def listing(tmp_path_factory):
    source = tmp_path_factory.mktemp("list") / "testlist01.txt"
    source.write_text(GOLDEN["list_line"] + "\n")
    return read_listing("ucf101", source, FOLDER)


@pytest.mark.parametrize("total", GOLDEN["indices_of_other_lengths"])
def test_numbers_are_those_of_the_published_loader(total):
    assert published_numbers(int(total), 10) == GOLDEN["indices_of_other_lengths"][total]


def test_pixels_are_those_of_the_published_loader():
    spec = Config(model={"classes": 101}, frames=RULES).frame_spec()
    with open_clip(str(CLIP)) as clip:
        indices = sampled_indices(clip, spec)
        frames = np.stack([prepare(clip.frame(i), spec) for i in indices])
    assert [i + 1 for i in indices] == GOLDEN["indices"]
    normalised = (frames / 255.0 - PUBLISHED_MEAN) / PUBLISHED_STD
    found = np.array([normalised[p["frame"], p["y"], p["x"]] for p in GOLDEN["pixels"]])
    differences = np.abs(found - [p["rgb"] for p in GOLDEN["pixels"]])
    # The loader does not round to grey levels (one is 0.018), and decoders of JPEG may differ by one or two.
    assert differences.mean() < 0.02 and differences.max() < 0.05
    assert np.abs(normalised.mean((1, 2)) - GOLDEN["mean"]).max() < 0.01


def by_pillow(index: int) -> np.ndarray:
    """Picture `index` as the bundle wants it: 240 x 180 to 48 x 36, of which 32 x 32."""
    picture = Image.open(CLIP / f"img_{index + 1:05d}.jpg").resize((48, 36), Image.Resampling.BILINEAR)
    return np.asarray(picture)[2:34, 8:40]


def test_a_bundle_recognises_the_published_frames(bundle, tmp_path):
    command([str(bundle), str(CLIP), "--no-early-exit", "--json", str(tmp_path / "answer.jsonl"), "--backend", "cpu"])
    (line,) = (tmp_path / "answer.jsonl").read_text().splitlines()
    answer = json.loads(line)
    assert [frame["video_frame"] for frame in answer["frames"]] == WANTED
    with Recognizer.load(bundle, backend="cpu", early_exit=False) as recognizer:
        given = recognizer.recognize(np.stack([by_pillow(index) for index in WANTED]))
    assert given.class_index == answer["class_index"]
    # Decoders of JPEG, and Pillow's order of the two passes, may differ by a grey level.
    assert given.confidence == pytest.approx(answer["confidence"], abs=1e-3)


def test_evaluation_and_training_read_the_same(bundle, listing):
    spec = Bundle.open(bundle).frames
    evaluated = ClipDataset(listing, spec)[(0, 0)].frames
    expected = np.stack([by_pillow(index) for index in WANTED]).astype(int)
    assert np.abs(evaluated.numpy() - expected).max() <= 2
    for cache in (False, True):
        trained = ClipDataset(listing, spec, AugmentConfig(flip=False), cache=FrameCache() if cache else None)
        assert all(torch.equal(trained[(epoch, 0)].frames, evaluated) for epoch in range(2))
    with Recognizer.load(bundle, backend="cpu", early_exit=False) as recognizer:
        result = recognizer.recognize(CLIP)
    answers = evaluate(open_model(bundle), listing).modes[NONE]
    assert answers.predicted.tolist() == [result.class_index]
    assert float(answers.probabilities.max()) == pytest.approx(result.confidence, abs=1e-5)


def test_the_list_says_how_many_pictures_there_are(bundle, listing):
    stated = replace(listing, entries=[replace(listing.entries[0], frames=16)])
    spec = Bundle.open(bundle).frames
    numbers = GOLDEN["indices_of_other_lengths"]["16"]
    expected = np.stack([by_pillow(numbers[i] - 1) for i in spec.order]).astype(int)
    assert listing.entries[0].frames == 37
    assert np.abs(ClipDataset(stated, spec)[(0, 0)].frames.numpy() - expected).max() <= 2


def test_the_manifest_and_tlee_info_say_which_frames_a_bundle_reads(bundle):
    opened = Bundle.open(bundle)
    assert {key: opened.manifest["frames"][key] for key in RULES} == RULES
    assert "sampling: published; short side 36, bilinear interpolation" in describe(opened)
