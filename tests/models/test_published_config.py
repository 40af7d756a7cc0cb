"""Configuration files of the published code: taken as they are, and turned into ours."""

import copy

import pytest
import yaml

from tlee.errors import UsageError
from tlee.models import convert
from tlee.models.config import PUBLISHED_MEAN, Config, load_config
from tlee.models.published_config import load_model_config

PUBLISHED = {
    "data": {
        "name": "hmdb51",
        "num_frames": 10,
        "path_frame": "/data/hmdb51/jpg",
        "path_split": "/data/split.txt",
        "path_label": "/data/split.txt",
        "path_classid": "/data/classInd.txt",
        "preprocessing": {"resize": 256, "crop_center": 224, "normalize": True},
    },
    "model": {
        "backbone": "efficientnetb3",
        "branch_num": 2,
        "crm_num": 2,
        "branch_scale": 3,
        "useFeatureFunc": "ema",
        "useGateFunc": "eg",
        "schedule": [15, 25],
    },
    "checkpoint": {"init": "/data/imagenet.pth"},
}


def written(tmp_path, **changes):
    """The file, with `section__key` changed; None takes the key out."""
    content = copy.deepcopy(PUBLISHED)
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
        if value is None:
            del place[key]
    path = tmp_path / "published.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_a_published_file_describes_its_model(tmp_path):
    config, unknown = load_model_config(written(tmp_path))
    assert unknown == []
    model = {"backbone": "efficientnet_b3", "branches": 2, "crm_num": 2, "branch_scale": 3, "frm": "ema", "gate": "eg"}
    assert config.model.model_dump() == Config(model={**model, "shift": False, "classes": 51}).model.model_dump()
    assert (config.frames.count, config.frames.resize, config.frames.mean) == (10, 256, PUBLISHED_MEAN)
    assert config.frame_spec().order == [5, 0, 9, 2, 7, 4, 6, 3, 8, 1] and config.labels == []


def test_ucf101_models_have_a_neck_and_the_shift_is_off_as_published(tmp_path):
    config, _ = load_model_config(written(tmp_path, data__name="ucf101", model__backbone="mobilenetv2_tsm"))
    assert config.model.neck == 4096 and config.model.classes == 101 and not config.model.shifts


@pytest.mark.parametrize(
    ("value", "mean"),
    [
        ("imagenet", (0.485, 0.456, 0.406)),
        ([[0.5, 0.4, 0.3], [0.2, 0.2, 0.2]], (0.5, 0.4, 0.3)),
        ({"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}, (0.5, 0.4, 0.3)),
    ],
)
def test_the_normalisation_may_be_given_in_numbers(tmp_path, value, mean):
    config, _ = load_model_config(written(tmp_path, data__preprocessing__normalize=value))
    assert config.frames.mean == mean


@pytest.mark.parametrize(("value", "frm", "gate"), [(True, "max", "gm"), (False, "none", "none")])
def test_modules_may_be_switched(tmp_path, value, frm, gate):
    config, _ = load_model_config(written(tmp_path, model__useFeatureFunc=value, model__useGateFunc=value))
    assert (config.model.frm, config.model.gate) == (frm, gate)


def test_keys_left_empty_are_as_if_absent(tmp_path):
    path = tmp_path / "a.yml"
    path.write_text(
        "data: {name: ssv2, num_frames: 8, path_split: , preprocessing: {resize: , normalize: }}\n"
        "model: {backbone: resnet50, schedule: , useGateFunc: }\ncheckpoint:\n"
    )
    config, unknown = load_model_config(path)
    assert (config.model.gate, config.model.classes, config.frames.resize, unknown) == ("gm", 174, 224, [])


def test_unknown_keys_are_named(tmp_path):
    _, unknown = load_model_config(written(tmp_path, data__batch=8, log="here", model__dropout=0.5))
    assert unknown == ["log", "data.batch", "model.dropout"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data__num_classes": 50}, "data: num_classes 50, but hmdb51 has 51"),
        ({"data__name": "kinetics"}, "name 'kinetics' is none of ucf101, .*; add num_classes"),
        ({"data__preprocessing__crop_center": 300}, "crop_center 300 is larger than resize 256"),
        ({"model__branch_num": 4}, "model.branch_num: "),
        ({"model__schedule": [25, 15]}, r"schedule \[25, 15\] does not rise"),
        ({"model__backbone": "alexnet"}, "backbone 'alexnet' is not known; choose of vgg16, bn_inception"),
        ({"model__backbone": None}, "model.backbone: Field required"),
        ({"model__useGateFunc": "xy"}, "gate 'xy' is not known; choose of gm, eg, random, none"),
        ({"data__num_frames": 0}, "data.num_frames: "),
        ({"model__crm_num": 9}, "9 reductions from scale 3 leave nothing of 48 channels; lower model.branch_scale"),
    ],
)
def test_contradictions_are_one_line(tmp_path, changes, words):
    path = written(tmp_path, **changes)
    with pytest.raises(UsageError, match=words) as caught:
        load_model_config(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_class_names_are_taken_where_the_list_is_here(tmp_path):
    names = tmp_path / "classInd.txt"
    names.write_text("".join(f"{i + 1} Class {i}\n" for i in reversed(range(51))))
    config, _ = load_model_config(written(tmp_path, data__path_classid=str(names)))
    assert config.labels[:2] == ["Class 0", "Class 1"] and len(config.labels) == 51
    names.write_text("1 Only\n")
    with pytest.raises(UsageError, match="is not a list of 51 numbered names; correct the list"):
        load_model_config(written(tmp_path, data__path_classid=str(names)))


def test_the_converted_file_is_the_same_model(tmp_path, capsys):
    published, own = written(tmp_path, data__batch=8), tmp_path / "own.yml"
    convert.command([str(published), "-o", str(own)])
    assert load_config(own, Config) == load_model_config(published)[0] == load_model_config(own)[0]
    shown = capsys.readouterr()
    assert shown.err == f"tlee-convert: {published}: warning: not known and left out: data.batch\n"
    assert "only concern training: checkpoint.init, data.path_classid, data.path_frame" in shown.out


def test_a_file_of_ours_is_not_converted(tmp_path):
    (tmp_path / "own.yml").write_text("model: {backbone: resnet18, branches: 2, classes: 3}")
    with pytest.raises(UsageError, match="not a configuration of the published code; use it as it is"):
        convert.command([str(tmp_path / "own.yml"), "-o", str(tmp_path / "x.yml")])
    assert not (tmp_path / "x.yml").exists()


def test_a_broken_class_list_is_one_line(tmp_path):
    (tmp_path / "names").write_bytes(b"1 \xff\xfe\n")
    with pytest.raises(UsageError, match="is not a list"):
        load_model_config(written(tmp_path, data__path_classid=str(tmp_path / "names")))
