from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.classes import CITYSCAPES
from singleshot.data.masks import cityscapes
from singleshot.data.masks import files as mask_files
from singleshot.data.masks import folders as mask_folders
from singleshot.errors import DataError, Fault
from singleshot.evaluation.given_masks import given
from singleshot.structures import LabelMap


def test_answers_come_in_the_splits_order_and_pictures_without_a_file_are_passed_over(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    (seen,) = given([None, halves.mask("val", 1)], split, metric="miou")
    assert seen.index == 1 and seen.truth is not None and np.array_equal(seen.class_ids, seen.truth)
    assert list(given([None, None], split, metric="miou")) == []


def test_a_truth_that_cannot_be_read_is_left_out_when_asked(halves: Any, tmp_path: Path) -> None:
    split = mask_folders.read(halves.root, "val")
    theirs = [tmp_path / "0.png", tmp_path / "1.png"]
    for place, path in enumerate(theirs):
        path.write_bytes(halves.mask("val", place).read_bytes())
    halves.mask("val", 0).write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a PNG"):
        list(given(theirs, split, metric="miou"))
    faults: list[Fault] = []
    (seen,) = given(theirs, split, metric="miou", on_bad="skip", on_skipped=faults.append)
    assert seen.index == 1 and [fault.file for fault in faults] == [halves.mask("val", 0)]


def test_a_result_that_cannot_be_read_is_never_left_out(halves: Any, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a PNG"):
        list(given([tmp_path / "0.png", None], mask_folders.read(halves.root, "val"), metric="miou", on_bad="skip"))


def test_maps_of_road_are_given_as_they_stand_and_must_have_a_size_that_is_judged(halves: Any, tmp_path: Path) -> None:
    split, path = mask_folders.read(halves.root, "val"), tmp_path / "0.png"
    values = np.arange(48 * 64, dtype=np.int64).reshape(48, 64).astype(np.uint8)
    for each in (values, np.zeros((800, 400), np.uint8)):
        path.write_bytes(mask_files.encode(each))
        (seen,) = given([path, None], split, metric="maxf")
        assert np.array_equal(seen.class_ids, each)
    path.write_bytes(mask_files.encode(values[:5]))
    with pytest.raises(DataError, match="the result is 64×5"):
        list(given([path, None], split, metric="maxf"))


def test_a_set_in_train_ids_is_refused_at_its_end(halves: Any, tmp_path: Path) -> None:
    """Each file holds 4 % of pixels below 7, as few as original ids may have; the set has nothing above 18."""
    names = LabelMap(tuple(CITYSCAPES))
    split = replace(mask_folders.read(halves.root, "val"), layout="cityscapes", label_map=names)
    split = replace(split, mask_code=cityscapes.CODE)
    for place in (0, 1):
        cv2.imwrite(str(halves.mask("val", place)), np.full((1, 100), 7, np.uint8))
    theirs = [tmp_path / "0.png", tmp_path / "1.png"]
    for path in theirs:
        cv2.imwrite(str(path), np.array([[2] * 4 + [8] * 96], np.uint8))
    answers = given(theirs, split, metric="miou")
    assert [next(answers).index, next(answers).index] == [0, 1]
    with pytest.raises(DataError, match="no value above 18 in the whole set"):
        next(answers)
