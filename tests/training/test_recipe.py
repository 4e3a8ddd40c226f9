from __future__ import annotations

import dataclasses

import pytest

from singleshot.data.augment import POST_2017
from singleshot.errors import ConfigError
from singleshot.training.recipe import Recipe, limited, override


def test_a_recipe_comes_back_from_json_as_it_was() -> None:
    recipe = Recipe(epochs=None, steps=7, augmentation=POST_2017, input_size_hw=(240, 320))
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("batch_sise=8", "Did you mean batch_size"),
        ("optimizer.learning=1", "no field 'optimizer.learning'"),
        ("batch_size=many", "batch_size"),
        ("batch_size", "not field=value"),
        ("optimizer.kind=sdg", "optimizer.kind"),
        ("batch_size=0", "at least 1"),
        ("optimizer.lr=0", "optimizer.lr"),
        ("ema_decay=1.0", "ema_decay"),
        ("augmentation.mirror_probability=2", "mirror_probability"),
        ("batch_size.more=1", "no field"),
    ],
)
def test_j3_a_wrong_setting_is_named(setting: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        override(Recipe(), [setting])
    assert said in str(raised.value)
    assert raised.value.exit_code == 78


@pytest.mark.parametrize("limits", [{"epochs": None}, {"steps": 5}, {"epochs": 0}, {"epochs": None, "minutes": -1.0}])
def test_f22_a_run_without_exactly_one_sensible_limit_is_refused(limits: dict) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(Recipe(), **limits)


def test_a_limit_on_the_command_line_replaces_the_recipes_own() -> None:
    assert limited(Recipe(), epochs=None, steps=None, minutes=2.0) == {"epochs": None, "steps": None, "minutes": 2.0}
    assert limited(Recipe(epochs=9), epochs=None, steps=None, minutes=None)["epochs"] == 9
