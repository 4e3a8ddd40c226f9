"""The task of a detector: what its recipe asks of the loader, and the means of what it validates."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from singleshot.data.boxes import voc
from singleshot.detection.ssd import SSD, config_for
from singleshot.evaluation.detect import detect
from singleshot.images import read_image
from singleshot.training import detection
from singleshot.training.detection import DetectionTask, mean_losses
from singleshot.training.recipe import Recipe


def test_a_short_last_batch_weighs_by_its_pictures() -> None:
    # 16 pictures of loss 1 and one of loss 18: the mean over 17 pictures is 2, over two batches it would be 9.5.
    assert mean_losses([(1.0, 0.5, 16), (18.0, 0.5, 1)]) == (2.0, 0.5)
    assert mean_losses([]) == (None, None)


def task(squares: Path, **changes: Any) -> DetectionTask:
    torch.manual_seed(0)
    data = voc.read(squares, "train")
    recipe = Recipe(input_size_hw=(64, 96), batch_size=2, train_subset=0, **changes)
    return DetectionTask(SSD(config_for("lite320-fine", ("square",), (64, 96))), recipe, data, data, workers=0)


@pytest.mark.parametrize("fast", [True, False])
def test_pictures_are_decoded_fast_for_training_where_the_recipe_says_so_and_never_for_judging(
    standing_squares: Path, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    honest, asked = read_image, []

    def read(path: Path, *, fast: bool = False, **options: Any) -> Any:
        asked.append(fast)
        return honest(path, fast=fast, **options)

    monkeypatch.setattr("singleshot.data.load.loader.read_image", read)
    doing = task(standing_squares, fast_decode=fast)
    next(iter(doing.batches(0)))
    assert asked and set(asked) == {fast}
    asked.clear()
    doing.validate(doing.network)
    assert asked and set(asked) == {False}
    doing.close()


def test_validation_losses_do_not_depend_on_how_pictures_are_batched(
    standing_squares: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    doing = task(standing_squares)
    monkeypatch.setattr(detection, "detect", partial(detect, batch_size=3))
    monkeypatch.setattr(DetectionTask, "_loss", lambda _self, raw, batch: _parts(batch))
    columns = doing.validate(doing.network).columns
    assert columns["val_class"] == pytest.approx(sum(range(4)) / 4)
    doing.close()


def _parts(batch: Any) -> Any:
    """Losses that are the means over a batch of the pictures' places."""
    mean = batch.indices.float().mean()
    return {"class": mean, "box": mean}
