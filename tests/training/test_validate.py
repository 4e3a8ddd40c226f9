"""Validation of a detector: how images are read for it, and the means of its losses."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot.data.boxes import voc
from singleshot.detection.ssd import SSD, config_for
from singleshot.evaluation.loop import eval_loader
from singleshot.images import read_image
from singleshot.training import validate
from singleshot.training.criterion import DetectionCriterion
from singleshot.training.recipe import Recipe
from singleshot.training.setup import Setup, set_up
from singleshot.training.validate import mean_losses


def test_a_short_last_batch_weighs_by_its_images() -> None:
    # 16 pictures of loss 1 and one of loss 18: the mean over 17 pictures is 2, over two batches it would be 9.5.
    batches = [({"class": 1.0, "box": 0.5}, 16), ({"class": 18.0, "box": 0.5}, 1)]
    assert mean_losses(batches, ("class", "box")) == {"class": 2.0, "box": 0.5}
    assert mean_losses([], ("class", "box")) == {"class": None, "box": None}


def setup_of(squares: Path, **changes: Any) -> Setup:
    torch.manual_seed(0)
    data = voc.read(squares, "train")
    recipe = Recipe(input_size_hw=(64, 96), batch_size=2, train_subset=0, **changes)
    return set_up(SSD(config_for("lite320-fine", ("square",), (64, 96))), recipe, data, data)


@pytest.mark.parametrize("fast", [True, False])
def test_images_are_decoded_fast_for_training_where_the_recipe_is_reported_and_never_for_evaluating(
    standing_squares: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    honest, asked = read_image, []

    def read(path: Path, *, fast: bool = False, **options: Any) -> Any:
        asked.append(fast)
        return honest(path, fast=fast, **options)

    monkeypatch.setattr("singleshot.data.load.loader.read_image", read)
    setup = setup_of(standing_squares, fast_decode=fast)
    next(iter(setup.loader.epoch(0)))
    assert asked and set(asked) == {fast}
    asked.clear()
    setup.validate(setup.network)
    assert asked and set(asked) == {False}
    setup.loader.close()


def test_validation_losses_do_not_depend_on_how_images_are_batched(
    standing_squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = setup_of(standing_squares)
    monkeypatch.setattr(validate, "eval_loader", partial(eval_loader, batch_size=3))
    monkeypatch.setattr(DetectionCriterion, "targets", lambda _self, batch: batch.indices.float())
    monkeypatch.setattr(DetectionCriterion, "totals", lambda _self, targets: targets)
    monkeypatch.setattr(DetectionCriterion, "__call__", lambda _self, raw, targets, totals: _parts(targets))
    columns = setup.validate(setup.network).columns
    assert columns["val_class"] == pytest.approx(sum(range(4)) / 4)
    setup.loader.close()


def _parts(indices: torch.Tensor) -> dict[str, torch.Tensor]:
    """Losses that are the means over a batch of the images' indices."""
    return {"class": indices.mean(), "box": indices.mean()}
