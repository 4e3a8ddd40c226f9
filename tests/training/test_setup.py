from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from singleshot.data.masks import files as mask_files
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import ConfigError, DataError, InputMissingError
from singleshot.segmentation.loss import PixelLossConfig, log_weights
from singleshot.training import setup as module
from singleshot.training.ranks import Ranks
from singleshot.training.recipe import Recipe
from singleshot.training.setup import class_pixels, class_weights

LOG = Recipe(model="fcn8s-fine", pixel_loss=PixelLossConfig("log"))


def by_hand(halves: Any, places: list[int]) -> list[int]:
    total = np.zeros(2, np.int64)
    for place in places:
        mask = mask_files.read_grey(halves.mask("train", place))
        total += [(mask == 0).sum(), (mask == 1).sum()]
    return total.tolist()


def test_pixels_are_counted_over_the_split_and_void_is_not(halves: Any) -> None:
    split = mask_folders.read(halves.root, "train")
    found = class_pixels(split, 0, "fail")
    assert found.tolist() == by_hand(halves, [0, 1, 2, 3]) and found.sum() == 4 * 46 * 64
    weights = class_weights(LOG, split, ranks=Ranks())
    assert weights is not None and torch.equal(weights, torch.from_numpy(log_weights(found)))


def test_workers_count_the_same(halves: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW", 0)
    monkeypatch.setattr(module, "BATCH_SIZE", 1)
    assert class_pixels(mask_folders.read(halves.root, "train"), 1, "fail").tolist() == by_hand(halves, [0, 1, 2, 3])


def test_masks_that_cannot_be_read_or_are_gone_end_it_or_are_left_out(halves: Any) -> None:
    split = mask_folders.read(halves.root, "train")
    halves.mask("train", 0).write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a PNG"):
        class_weights(LOG, split, ranks=Ranks())
    halves.mask("train", 0).unlink()
    with pytest.raises(InputMissingError):
        class_weights(LOG, split, ranks=Ranks())
    assert class_pixels(split, 0, "skip").tolist() == by_hand(halves, [1, 2, 3])


def test_no_class_anywhere_and_a_wrong_number_of_weights_are_refused(halves: Any) -> None:
    split = mask_folders.read(halves.root, "train")
    for place in range(4):
        halves.mask("train", place).write_bytes(mask_files.encode(np.full((48, 64), 255, np.uint8)))
    with pytest.raises(DataError, match="no mask has a class"):
        class_weights(LOG, split, ranks=Ranks())
    three = Recipe(model="fcn8s-fine", pixel_loss=PixelLossConfig((1.0, 2.0, 3.0)))
    with pytest.raises(ConfigError, match="3 class weights for 2 classes"):
        class_weights(three, split, ranks=Ranks())
    assert class_weights(Recipe(model="fcn8s-fine"), split, ranks=Ranks()) is None
