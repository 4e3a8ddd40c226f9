"""Every recipe is whole, says what it reaches, and takes three real steps on drawn data."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest

from singleshot import recipes
from singleshot.data import streets
from singleshot.training.recipe import Recipe
from singleshot.training.run import train

NAMES = [module.name for module in pkgutil.iter_modules(recipes.__path__)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return streets.make(tmp_path_factory.mktemp("recipes") / "data", train=4, val=1, test=1, workers=1)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_short_and_says_command_and_score(name: str) -> None:
    module = importlib.import_module(f"singleshot.recipes.{name}")
    text = Path(module.__file__ or "").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 50
    assert isinstance(module.RECIPE, Recipe)
    assert "    singleshot " in (module.__doc__ or "")
    assert "core" in text or "not yet measured here" in text


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_three_real_steps(name: str, drawn: Path, tmp_path: Path) -> None:
    recipe: Recipe = importlib.import_module(f"singleshot.recipes.{name}").RECIPE
    short = replace(recipe, epochs=None, minutes=None, steps=3, batch_size=2, workers=0, train_subset=0)
    run = train(drawn, short, out=tmp_path / "run", val_split=None)
    assert run.steps == 3 and run.weights.is_file()
