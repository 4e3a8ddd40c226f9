from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError
from singleshot.evaluation.segment import SegmentedBatch, segment
from singleshot.prediction.predictor import Segmenter
from singleshot.segmentation.fcn import FCN, config_for


@pytest.fixture
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    return Segmenter(FCN(config_for("fcn8s-fine", ["dark", "bright"], (32, 32))).eval())


def test_answers_come_in_order_at_the_truths_size_and_as_predict_gives_them(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "train")
    shown: list[SegmentedBatch] = []
    found = list(segment(segmenter, split, batch_size=3, chances_of=1, on_batch=shown.append))
    assert [seen.index for seen in found] == [0, 1, 2, 3] and [len(batch) for batch in shown] == [3, 1]
    for seen, sample in zip(found, split.samples, strict=True):
        alone = segmenter.predict(sample.image_path, probabilities=True)
        assert seen.truth is not None and seen.class_ids.shape == seen.truth.shape == (48, 64)
        assert (seen.class_ids == alone.class_ids).mean() > 0.99
        assert seen.chances is not None and alone.probabilities is not None
        np.testing.assert_allclose(seen.chances, alone.probabilities[1], atol=1e-4)


def test_g14_ranks_share_the_split_and_workers_change_nothing(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "train")
    every = {seen.index: seen for seen in segment(segmenter, split, batch_size=1)}
    parts = [list(segment(segmenter, split, batch_size=1, rank=rank, world=3)) for rank in range(3)]
    assert sorted(seen.index for part in parts for seen in part) == [0, 1, 2, 3]
    helped = list(segment(segmenter, split, batch_size=1, workers=1))
    for seen in (*(seen for part in parts for seen in part), *helped):
        assert (seen.class_ids == every[seen.index].class_ids).all()


def test_a_pair_that_cannot_be_read_ends_it_or_is_left_out_and_named(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "train")
    cv2.imwrite(str(halves.mask("train", 1)), np.full((48, 64), 9, np.uint8))
    with pytest.raises(DataError, match="unknown value 9"):
        list(segment(segmenter, split))
    faults: list[Any] = []
    found = list(segment(segmenter, split, on_bad="skip", on_skipped=faults.append))
    assert [seen.index for seen in found] == [0, 2, 3]
    assert [fault.file for fault in faults] == [halves.mask("train", 1)]


def test_pictures_without_masks_have_answers_without_truth(halves: Any, segmenter: Segmenter) -> None:
    split = mask_folders.read(halves.root, "val")
    bare = replace(split, samples=[replace(sample, mask_path=None) for sample in split.samples])
    assert [seen.truth for seen in segment(segmenter, bare)] == [None, None]
    assert list(segment(segmenter, replace(split, samples=[]))) == []
