"""Configuration files of the published code: taken as they are, and turned into ours."""

import copy
import json

import pytest
import yaml
from conftest import ROOT

from tlee.errors import UsageError
from tlee.models.config import PUBLISHED_MEAN, Config
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
    config, warnings = load_model_config(written(tmp_path))
    assert warnings == []
    model = {"backbone": "efficientnet_b3", "branches": 2, "crm_num": 2, "branch_scale": 3, "frm": "ema", "gate": "eg"}
    assert config.model.model_dump() == Config(model={**model, "shift": False, "classes": 51}).model.model_dump()
    assert (config.frames.count, config.frames.resize, config.frames.mean) == (10, 256, PUBLISHED_MEAN)
    assert (config.frames.sampling, config.frames.interpolation) == ("published", "bilinear")
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
    config, warnings = load_model_config(path)
    assert (config.model.gate, config.model.classes, config.frames.resize, warnings) == ("gm", 174, 224, [])


def test_unknown_keys_are_named(tmp_path):
    changes = {"data__batch": 8, "log": "here", "model__dropout": 0.5, "model__pooling": {"size": 2}}
    _, warnings = load_model_config(written(tmp_path, **changes))
    assert warnings == ["not known and left out: log, data.batch, model.dropout, model.pooling.size"]


def test_keys_that_change_nothing_are_known(tmp_path):
    changes = {"help": False, "show_model": False, "base_path": "ckpt", "model__pooling": {"name": "max"}}
    changes.update(model__type="ts", model__single_frame_mac=[0.1], data__shuffle=False, model__input_order8=[0] * 8)
    assert load_model_config(written(tmp_path, **changes))[1] == []


def as_mapping(name, **keys):
    return {"type": "2d", "pretrained": True, "name": name, "requires_grad": True, "truncate_modules": -1, **keys}


@pytest.mark.parametrize(
    ("changes", "network", "branches"),
    [
        ({"model__backbone": as_mapping("a.a"), "model__name": "vgg16"}, "vgg16", 2),
        ({"model__backbone": as_mapping("a.a"), "model__name": "resnet50", "model__branch_num": 0}, "resnet50", 0),
        ({"model__backbone": as_mapping("branch.resnet50.2"), "model__branch_num": None}, "resnet50", 2),
        ({"model__backbone": as_mapping("branch.resnet50.3")}, "resnet50", 2),  # branch_num says it
        ({"model__backbone": as_mapping("branch.resnet18.1"), "model__name": "resnet18"}, "resnet18", 2),
        ({"model__backbone": as_mapping("torchvision.resnet50"), "model__name": "adaptive"}, "resnet50", 0),
    ],
)
def test_the_network_stands_in_one_of_two_places(tmp_path, changes, network, branches):
    config, warnings = load_model_config(written(tmp_path, **changes))
    assert (config.model.backbone, config.model.branches, warnings) == (network, branches, [])


def test_a_file_of_frameexits_form_has_no_branches_whatever_its_backbone_is_called(tmp_path):
    changes = {"model__backbone": as_mapping("branch.resnet50.3"), "model__name": "adaptive"}
    config, warnings = load_model_config(written(tmp_path, **changes))
    assert (config.model.branches, config.model.neck, config.model.frm) == (0, 4096, "max")
    assert warnings == ["the branches of branch.resnet50.3 are not read: model.name is adaptive"]


def test_frameexits_own_file_is_of_its_form(tmp_path):
    trace = json.loads((ROOT / "tests" / "golden" / "frameexit_minikinetics.json").read_text())
    (tmp_path / "a.yml").write_text(yaml.safe_dump(trace["config"]))
    config, warnings = load_model_config(tmp_path / "a.yml")
    assert (config.model.heads, config.model.gate, config.model.neck, config.model.classes) == (
        *("per_frame", "eg"),
        *(4096, 200),
    )
    assert (config.exits.first, config.frames.order[:3], warnings) == (0.95, [5, 0, 9], [])


def test_thresholds_are_in_the_file(tmp_path):
    config, _ = load_model_config(written(tmp_path, model__first_threshold=0.95, model__exit_thresh=0.3))
    assert (config.exits.first, config.exits.layer, config.exits.gate) == (0.95, 0.3, 0.5)
    assert load_model_config(written(tmp_path))[0].exits == Config(model={"classes": 2}).exits


def test_so_is_the_order_of_frames(tmp_path):
    orders = {"model__input_order4": [3, 0, 1, 2], "model__input_order8": [3, 6, 7, 0, 4, 5, 2, 1]}
    for frames, order in ((4, [3, 0, 1, 2]), (5, [2, 0, 4, 1, 3])):  # ours where the file has none
        config, _ = load_model_config(written(tmp_path, data__num_frames=frames, **orders))
        assert config.frame_spec().order == order
    adaptive = {"input_order": [1, 0, 2]}
    config, _ = load_model_config(written(tmp_path, data__num_frames=3, model__adaptive=adaptive))
    assert config.frame_spec().order == [1, 0, 2]


@pytest.mark.parametrize(
    "place",
    ["model__num_classes", "model__num_class", "data__num_classes", "data__preprocessing_label__one_hot_encoding"],
)
def test_another_set_needs_its_number_of_classes_in_any_place(tmp_path, place):
    config, _ = load_model_config(written(tmp_path, data__name="mine", **{place: 7}))
    assert config.model.classes == 7


def test_a_training_configuration_of_ours_is_taken_for_its_model(tmp_path):
    path = tmp_path / "own.yml"
    path.write_text("model: {branches: 2, classes: 3}\ndata: {train: clips}\nseed: 3\nstages: []\ninit: random")
    assert load_model_config(path) == (Config(model={"branches": 2, "classes": 3}), [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data__num_classes": 50}, "data.num_classes 50, but hmdb51 has 51"),
        ({"data__name": "kinetics"}, "name 'kinetics' is none of ucf101, .*; add num_classes"),
        ({"data__preprocessing__crop_center": 300}, "crop_center 300 is larger than resize 256"),
        ({"model__branch_num": 4}, "model.branch_num: "),
        ({"model__num_class": 50}, "model.num_class 50, but hmdb51 has 51"),
        (
            {"data__name": "x", "data__num_classes": 3, "model__num_classes": 4},
            "model.num_classes 4, but data.num_c.* 3",
        ),
        ({"model__schedule": [25, 15]}, r"schedule \[25, 15\] falls"),
        ({"model__output_dim": [512]}, r"model.output_dim \[512\], but the features of efficientnet_b3 are of .* 1536"),
        ({"model__backbone": {"name": "resnet50"}}, "'resnet50' is not torchvision.NETWORK or branch.NETWORK.BRANCHES"),
        ({"model__backbone": {"name": "a.a"}}, "no network is named"),
        ({"model__backbone": {"name": "a.a", "truncate_modules": -2}, "model__name": "vgg16"}, "truncate_modules: "),
        (
            {"model__backbone": {"name": "branch.resnet50.2"}, "model__name": "vgg16"},
            "name 'vgg16', but backbone.name 'branch.resnet50.2'",
        ),
        ({"model__name": "adaptive", "model__backbone": {"name": "a.a"}}, "'adaptive' needs backbone.name"),
        ({"model__input_order10": [0, 1]}, r"frames: order \[0, 1\] does not name each of 10 frames"),
        ({"train_mode": 3}, "train_mode: "),
        ({"resume": True}, "resume is true, but resume_path is empty"),
        ({"data_val": {"name": "hmdb51", "num_frames": 8}}, "data_val.num_frames 8, but data has 10"),
        ({"model__backbone": "alexnet"}, "backbone 'alexnet' is not known; choose of vgg16, bn_inception"),
        ({"model__backbone": None}, "no network is named"),
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
    names.write_text("".join(f"Class {i}\n" for i in range(51)))
    assert load_model_config(written(tmp_path, data__path_classid=str(names)))[0].labels == config.labels
    names.write_text(json.dumps({f"Class {i}": str(i) for i in reversed(range(51))}))
    assert load_model_config(written(tmp_path, data__path_classid=str(names)))[0].labels == config.labels
    names.write_text("1 Only\n")
    with pytest.raises(UsageError, match="data.path_classid: .*not a list of 51 names"):
        load_model_config(written(tmp_path, data__path_classid=str(names)))


def test_a_broken_class_list_is_one_line(tmp_path):
    (tmp_path / "names").write_bytes(b"1 \xff\xfe\n")
    with pytest.raises(UsageError, match="data.path_classid: .*names: not text in UTF-8"):
        load_model_config(written(tmp_path, data__path_classid=str(tmp_path / "names")))
