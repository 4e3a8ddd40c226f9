"""Every recipe is whole, says what it reaches, and takes three real steps on drawn data."""

from __future__ import annotations

import importlib
import json
import pkgutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from singleshot import recipes
from singleshot.data.anchor_fit import report
from singleshot.data.boxes import voc
from singleshot.detection.ssd import config_for
from singleshot.recipes import streets_demo
from singleshot.streets import write
from singleshot.training.load_pretrained import new_network
from singleshot.training.recipe import Recipe
from singleshot.training.run import train

LARGE_INPUT = ("fcn8s_cityscapes",)
NAMES = [module.name for module in pkgutil.iter_modules(recipes.__path__)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write.make(tmp_path_factory.mktemp("recipes") / "data", train=4, val=1, test=1, workers=1)


@pytest.fixture(scope="module")
def drawn_coco(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn training scenes in COCO's layout, with ids that have gaps."""
    root = tmp_path_factory.mktemp("recipes-coco")
    dataset = voc.read(drawn, "train")
    content: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    (root / "annotations").mkdir()
    (root / "train").mkdir()
    for class_id, name in enumerate(dataset.label_map.names):
        content["categories"].append({"id": 10 * class_id + 1, "name": name})
    for place, sample in enumerate(dataset.samples):
        height, width = sample.size_hw or (0, 0)
        (root / "train" / sample.image_path.name).write_bytes(sample.image_path.read_bytes())
        row = {"id": place + 7, "file_name": sample.image_path.name, "height": height, "width": width}
        content["images"].append(row)
        for (x1, y1, x2, y2), class_id in zip(sample.boxes_xyxy.tolist(), sample.class_ids.tolist(), strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
            ids = {"id": len(content["annotations"]) + 1, "image_id": place + 7, "category_id": 10 * class_id + 1}
            content["annotations"].append(ids | box)
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_short_and_says_command_and_score(name: str) -> None:
    module = importlib.import_module(f"singleshot.recipes.{name}")
    text = Path(module.__file__ or "").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 50
    assert isinstance(module.RECIPE, Recipe)
    assert "    singleshot " in (module.__doc__ or "")
    assert "core" in text or "not yet measured here" in text


@pytest.mark.parametrize("name", ["ssd300_voc0712", "ssd512_voc0712", "ssd300_2017", "ssd300_coco", "lite320_coco"])
def test_a_published_recipe_computes_and_decodes_as_its_source_and_says_where_it_starts(name: str) -> None:
    module = importlib.import_module(f"singleshot.recipes.{name}")
    recipe: Recipe = module.RECIPE
    assert (recipe.precision, recipe.fast_decode) == ("fp32", False)
    said = " ".join((module.__doc__ or "").split())
    assert recipe.weights is None  # nothing is fetched that nobody asked for
    assert ("from an ImageNet backbone" in said) == ("--weights vgg16-" in said)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_three_real_steps(name: str, drawn: Path, drawn_coco: Path, tmp_path: Path) -> None:
    recipe: Recipe = importlib.import_module(f"singleshot.recipes.{name}").RECIPE
    short = replace(recipe, epochs=None, minutes=None, steps=3, batch_size=2, workers=0, train_subset=0)
    if name in LARGE_INPUT:
        # The step at half the sides, because it takes a quarter of the time; the network at its own size, in shapes.
        height, width = recipe.input_size_hw or (512, 512)
        with torch.device("meta"), torch.no_grad():
            network = new_network(replace(recipe, weights=None), ["road", "car"]).network.eval()
            assert network(torch.empty(1, 3, height, width)).shape == (1, 2, height, width)
        short = replace(short, input_size_hw=(height // 2, width // 2))
    short = replace(short, weights=None, freeze=0)  # what a network would have to fetch
    if name in ("ssd300_coco", "ssd300_voc0712", "ssd512_voc0712"):  # without their backbone these rates diverge
        short = replace(short, optimizer=replace(recipe.optimizer, lr=recipe.optimizer.lr / 100))
    run = train(drawn_coco if name.endswith("_coco") else drawn, short, out=tmp_path / "run", val_split=None)
    assert run.steps == 3 and run.weights.is_file()


def test_the_demos_default_boxes_reach_more_of_its_scenes_than_the_models_own(tmp_path: Path) -> None:
    recipe = streets_demo.RECIPE
    scenes = voc.read(write.make(tmp_path / "data", train=100, val=1, test=1), "train")
    names = scenes.label_map.names
    own, fitted = (
        report(scenes.samples, config_for(recipe.model, names, recipe.input_size_hw, anchors=anchors)).unreached
        for anchors in (None, recipe.anchors)
    )
    assert fitted < own - 0.03, (fitted, own)
