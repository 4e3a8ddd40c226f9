from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from singleshot.data.augment.augment import NONE, Augmentation
from singleshot.data.augment.sampling import WHOLE
from singleshot.data.load.loader import Loader, LoaderOptions, Shard, TrainSegmentation
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import ConfigError, DataError
from singleshot.preprocess import Preprocess
from singleshot.structures import VOID

MILD = Augmentation(expand_probability=0.5, max_expand=1.5, samplers=(WHOLE,))
INPUT = Preprocess(size_hw=(24, 32))


def loader(
    halves: Any, *, augmentation: Augmentation = MILD, rank: int = 0, batch_size: int = 2, **changes: Any
) -> Loader[torch.Tensor]:
    options = LoaderOptions(batch_size, **({"seed": 3, "shuffle": True} | changes))
    dataset = mask_folders.read(halves.root, "train")
    return Loader(dataset, TrainSegmentation(INPUT, augmentation), options, Shard(rank))


def test_batches_have_images_and_masks_of_the_networks_size(halves: Any) -> None:
    with loader(halves, augmentation=NONE, shuffle=False) as batches:
        first, second = list(batches.epoch(0))
    assert first.images.shape == (2, 24, 32, 3) and first.images.dtype == torch.uint8
    assert first.targets.shape == (2, 24, 32) and first.image_ids == ("00", "01") and len(second) == 2
    assert set(first.targets.unique().tolist()) == {0, 1, VOID}
    bright = first.images.float().mean(dim=-1) > 100
    inside = first.targets[:, 2:] != VOID
    assert ((first.targets[:, 2:] == 1) == bright[:, 2:])[inside].float().mean() > 0.95
    assert first.to("cpu").targets.equal(first.targets)


def test_a_batch_is_the_same_for_any_number_of_workers_and_from_the_middle(halves: Any) -> None:
    with loader(halves) as alone, loader(halves, workers=1, cache_bytes=10_000_000) as helped:
        mine, theirs = list(alone.epoch(4)), list(helped.epoch(4))
        again = list(helped.epoch(4))
        late = list(alone.epoch(4, start=1))
    for one, other in zip(mine, theirs, strict=True):
        assert one.images.equal(other.images) and one.targets.equal(other.targets) and one.image_ids == other.image_ids
    assert again[1].targets.equal(mine[1].targets)  # out of the cache
    assert len(late) == 1 and late[0].images.equal(mine[1].images)


def test_b31_an_unknown_value_ends_the_epoch_or_is_left_out_and_named(halves: Any) -> None:
    bad = halves.mask("train", 1)
    cv2.imwrite(str(bad), np.full((48, 64), 7, np.uint8))
    with loader(halves) as strict, pytest.raises(DataError, match="unknown value 7") as raised:
        list(strict.epoch(0))
    assert raised.value.file == bad
    with loader(halves, on_bad="skip", shuffle=False) as lenient:
        first, second = list(lenient.epoch(0))
        list(lenient.epoch(1))
        assert first.blank.tolist() == [False, True] and second.blank.tolist() == [False, False]
        assert (first.targets[1] == VOID).all() and first.image_ids == ("00", "01")
        assert [fault.file for fault in lenient.faults] == [bad]


def test_b32_an_all_void_mask_keeps_its_place_and_is_counted_and_named(halves: Any) -> None:
    void = halves.mask("train", 2)
    cv2.imwrite(str(void), np.full((48, 64), VOID, np.uint8))
    with loader(halves, shuffle=False, augmentation=NONE) as batches:
        found = list(batches.epoch(0))
        assert [batch.image_ids for batch in found] == [("00", "01"), ("02", "03")]
        assert [batch.blank.tolist() for batch in found] == [[False, False], [True, False]]
        (fault,) = batches.faults
    assert (fault.file, fault.kind, fault.severity) == (void, "void-mask", "warning")


def test_b33_a_mask_that_changed_its_size_since_it_was_read_is_refused(halves: Any) -> None:
    with loader(halves) as batches:
        cv2.imwrite(str(halves.mask("train", 0)), np.zeros((20, 20), np.uint8))
        with pytest.raises(DataError, match="20×20"):
            list(batches.epoch(0))


def test_images_without_masks_and_bad_numbers_are_refused(halves: Any) -> None:
    split = mask_folders.read(halves.root, "train")
    bare = replace(split, samples=[replace(sample, mask_path=None) for sample in split.samples])
    with pytest.raises(ConfigError, match="no masks"):
        Loader(bare, TrainSegmentation(INPUT, MILD), LoaderOptions(2))
    for wrong in ({"batch_size": 0}, {"seed": -1}, {"rank": 1}, {"batch_size": 5, "drop_last": True}):
        with pytest.raises(ConfigError):
            loader(halves, **wrong)
