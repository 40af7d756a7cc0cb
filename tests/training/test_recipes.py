"""What a training does where its configuration leaves that open."""

import pytest

from tlee.errors import UsageError
from tlee.models.config import validated
from tlee.training import cli
from tlee.training.config import TrainingConfig
from tlee.training.schedule import fitting_stages


def configuration(**content):
    return validated("c.yml", {"model": {"classes": 3}, "data": {"train": "clips"}, **content}, TrainingConfig)


def stages_of(config):
    return [stage.stage for stage in config.stages]


def test_the_default_trains_all_exits_alone_and_keeps_imagenets_statistics():
    config = configuration()
    assert (stages_of(config), config.model.branch) == (["frames", "joint", "gate"], "blocks")
    assert all(stage.alone for stage in config.stages)
    assert [stage.freeze_norm for stage in config.stages] == [True, True, False]
    assert config.data.augment.crop == (0.5, 1.0)


def test_from_random_weights_nothing_is_kept_and_the_rate_is_higher():
    config = configuration(init="random")
    assert not any(stage.freeze_norm for stage in config.stages)
    assert config.stages[0].learning_rate > configuration().stages[0].learning_rate


def test_the_published_recipe_is_the_published_order_and_loss():
    config = configuration(recipe="published")
    assert (stages_of(config), config.model.branch) == (["backbone", "branches", "gate"], "crm")
    assert not any(stage.alone or stage.freeze_norm for stage in config.stages)
    assert config.data.augment.crop is None


@pytest.mark.parametrize(
    ("content", "stages"),
    [
        ({"model": {"classes": 3, "branches": 0}}, ["frames", "joint", "gate"]),
        ({"model": {"classes": 3, "branches": 0}, "recipe": "published"}, ["backbone", "gate"]),
        ({"model": {"classes": 3, "gate": "none"}}, ["frames", "joint"]),
        ({"frames": {"count": 2}}, ["frames", "joint"]),
        ({"model": {"classes": 3, "heads": "per_frame", "gate": "eg"}}, ["joint", "gate"]),
    ],
)
def test_a_recipe_leaves_out_what_the_model_cannot_learn(content, stages):
    assert stages_of(configuration(**content)) == stages


def test_what_the_configuration_says_is_not_the_recipes():
    own = {"stage": "backbone", "epochs": 2}
    config = configuration(stages=[own], data={"train": "clips", "augment": {"flip": True}})
    assert (stages_of(config), config.model.branch) == (["backbone"], "crm")
    augment = {"flip": True, "crop": None}
    config = configuration(model={"classes": 3, "branch": "conv"}, data={"train": "clips", "augment": augment})
    assert (config.model.branch, config.data.augment.crop, config.data.augment.colour) == ("conv", None, 0.2)


def test_single_values_of_a_recipes_stages_are_changed_on_the_command_line(tmp_path):
    file = tmp_path / "own.yml"
    file.write_text("{model: {classes: 3}, data: {train: clips}}")
    config = cli.load(str(file), ["stages.1.epochs=9", "model.branches=0"])
    assert [stage.epochs for stage in config.stages] == [30, 9, 6]
    with pytest.raises(UsageError, match="recipe 'mine' is not known"):
        cli.load(str(file), ["recipe=mine", "stages.1.epochs=9"])


def test_an_unknown_recipe_is_an_error():
    with pytest.raises(UsageError, match="recipe 'mine' is not known; choose of default, published"):
        configuration(recipe="mine")


@pytest.mark.parametrize(("videos", "epochs"), [(160, 100), (1000, 30), (8, 1000)])
def test_a_small_set_gets_as_many_epochs_as_its_steps_take(videos, epochs):
    stage = {"stage": "frames", "epochs": 30, "batch": 16, "least_steps": 1000}
    assert fitting_stages(configuration(stages=[stage]), videos).stages[0].epochs == epochs
