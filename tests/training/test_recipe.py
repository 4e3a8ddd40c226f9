from __future__ import annotations

import dataclasses
import json

import pytest

from singleshot.cli.train import find_recipe
from singleshot.data.augment.augment import POST_2017, Augmentation
from singleshot.errors import ConfigError
from singleshot.training.optimizer import OptimizerConfig
from singleshot.training.recipe import PIXELS, Recipe, default_recipe, limited, override
from singleshot.training.run import recipe_for


def test_a_wrong_value_of_a_setting_is_answered_with_what_the_field_is_for() -> None:
    for setting, message in (
        ("optimizer.lr=-1", "optimizer.lr is -1.0. Give a number above 0 (Base learning rate, that of the weights)."),
        ("metric=voc2012", "recipe.metric is 'voc2012'. Did you mean voc12? (Metric that chooses the best epoch of a "),
        ("batch_size=0", "batch_size is 0. Give a whole number of 1 or more (Images per step, "),
    ):
        with pytest.raises(ConfigError) as caught:
            override(Recipe(), [setting])
        assert str(caught.value).startswith(message)


def test_a_recipe_comes_back_from_json_as_it_was() -> None:
    recipe = Recipe(epochs=None, steps=7, augmentation=POST_2017, input_size_hw=(240, 320))
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_e7_an_older_versions_recipe_lacks_what_came_later_and_is_read() -> None:
    tree = json.loads(Recipe(epochs=None, steps=7).to_json())
    del tree["train_subset"], tree["optimizer"]["clip_norm"], tree["checkpoint"]
    recipe = Recipe.from_json(json.dumps(tree))
    assert recipe.optimizer.clip_norm == OptimizerConfig().clip_norm and recipe.optimizer.kind == "adamw"
    assert dataclasses.replace(recipe, optimizer=Recipe().optimizer) == Recipe(epochs=None, steps=7)
    with pytest.raises(ConfigError, match="unknown fields: new"):
        Recipe.from_json(json.dumps(tree | {"new": 1}))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("batch_sise=8", "Did you mean batch_size"),
        ("optimizer.learning=1", "no field 'optimizer.learning'"),
        ("batch_size=many", "batch_size"),
        ("batch_size", "not field=value"),
        ("optimizer.kind=sdg", "optimizer.kind"),
        ("batch_size=0", "batch_size is 0. Give a whole number of 1 or more"),
        ("optimizer.lr=0", "optimizer.lr"),
        ("ema_decay=1.0", "ema_decay"),
        ("augmentation.mirror_probability=2", "mirror_probability"),
        ("batch_size.more=1", "no field"),
        ("train_subset=-3", "train_subset is -3"),
        ("validate_every=0", "validate_every is 0"),
        ("seed=-1", "seed is -1"),
        ("ema_decay=NaN", "ema_decay is nan"),
        ("schedule.warmup_steps=-5", "schedule.warmup_steps is -5"),
        ("schedule.gamma=Infinity", "schedule.gamma is inf"),
        ("schedule.boundaries=[20, 10]", "schedule.boundaries"),
        ("schedule.floor=2", "schedule.floor is 2.0. Give a number from 0 to 1"),
        ("optimizer.clip_norm=-1", "optimizer.clip_norm is -1.0. Give a number above 0"),
        ("optimizer.clip_norm=0", "optimizer.clip_norm is 0.0"),
        ("optimizer.momentum=1", "optimizer.momentum is 1.0"),
        ("optimizer.betas=[0.9, 1.0]", "optimizer.betas[1] is 1.0"),
        ("optimizer.weight_decay=NaN", "optimizer.weight_decay is nan"),
        ("loss.iou_threshold=NaN", "loss.iou_threshold is nan"),
        ("loss.iou_threshold=0", "loss.iou_threshold is 0.0"),
        ("loss.negatives_when_empty=-4", "loss.negatives_when_empty is -4"),
        ("loss.negatives_per_match=-1", "loss.negatives_per_match is -1.0"),
        ("loss.negative_iou=1.5", "loss.negative_iou is 1.5"),
        ("loss.quality=2", "loss.quality is 2, and lite320-fine has softmax scores"),
        ("norm=batch", "norm is batch, which lite320-fine has no choice of"),
    ],
)
def test_j3_a_wrong_setting_is_named(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        override(Recipe(), [setting])
    assert said in str(raised.value)
    assert raised.value.exit_code == 78


def test_values_at_the_ends_of_their_ranges_are_taken() -> None:
    ends = ["train_subset=0", "schedule.warmup_steps=0", "loss.negatives_when_empty=0", "loss.iou_threshold=1"]
    ends += ["loss.negative_iou=null", "optimizer.clip_norm=null", "optimizer.momentum=0", "ema_decay=null"]
    changed = override(Recipe(model="vgg300"), [*ends, "norm=batch", "optimizer.weight_decay=0"])
    assert (changed.norm, changed.optimizer.clip_norm, changed.loss.iou_threshold) == ("batch", None, 1.0)


@pytest.mark.parametrize("limits", [{"epochs": None}, {"steps": 5}, {"epochs": 0}, {"epochs": None, "minutes": -1.0}])
def test_f22_a_run_without_exactly_one_sensible_limit_is_refused(limits: dict) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(Recipe(), **limits)


def test_a_limit_on_the_command_line_replaces_the_recipes_own() -> None:
    assert limited(Recipe(), epochs=None, steps=None, minutes=2.0) == {"epochs": None, "steps": None, "minutes": 2.0}
    assert limited(Recipe(epochs=9), epochs=None, steps=None, minutes=None)["epochs"] == 9


@pytest.mark.parametrize("model", ["fcn8s-lite", "fcn8s-fine", "fcn8s"])
def test_python_and_the_command_line_resolve_the_same_recipe_for_a_segmenter(model: str) -> None:
    recipe = Recipe(model=model)
    assert recipe == default_recipe(model) == recipe_for(default_recipe(model), None)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert (recipe.batch_size, recipe.augmentation) == (8, PIXELS)
    given = Recipe(model=model, batch_size=16, augmentation=Augmentation())
    assert (given.batch_size, given.augmentation) == (16, Augmentation()) and type(given.batch_size) is int
    assert (Recipe().batch_size, Recipe().augmentation) == (16, Augmentation())


def test_a_run_without_a_recipe_starts_from_the_backbone_in_the_package_with_fitted_anchors():
    for chosen in (recipe_for(None, None), default_recipe(), find_recipe("default"), find_recipe(None)):
        assert (chosen.model, chosen.weights, chosen.anchors) == ("lite320-fine2", "residual-fine2", "auto")
    assert default_recipe("fcn8s-fine2").weights == "residual-fine2" and default_recipe("fcn8s-fine2").anchors is None
    assert default_recipe("vgg300").weights is None and default_recipe("fcn8s").weights is None


def test_weights_none_start_from_random_weights():
    assert recipe_for(None, "none") == dataclasses.replace(default_recipe(), weights=None)
    given = Recipe(weights="residual-fine2", model="lite320-fine2", steps=3, epochs=None)
    assert recipe_for(given, "none") == dataclasses.replace(given, weights=None)


def test_the_fields_of_a_recipe_keep_the_behaviour_of_0_1_0_where_they_are_not_given():
    chosen = Recipe()
    assert (chosen.model, chosen.weights, chosen.anchors, chosen.scores) == ("lite320-fine", None, None, None)
    assert (chosen.loss.matching, chosen.loss.box_iou, chosen.loss.quality) == ("bipartite", None, None)
    assert (chosen.patience, chosen.repeat_rare, chosen.choose_thresholds) == (None, 0.0, False)
    assert chosen.augmentation.mosaic_probability == 0.0
