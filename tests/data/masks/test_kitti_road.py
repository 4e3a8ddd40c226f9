from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from singleshot.data.masks import kitti_road, mask_files
from singleshot.errors import DataError, InputMissingError
from singleshot.structures import VOID

RED, MAGENTA, BLACK = (255, 0, 0), (255, 0, 255), (0, 0, 0)


@pytest.fixture
def road(tmp_path: Path) -> Path:
    for part in ("training/image_2", "training/gt_image_2", "testing/image_2"):
        (tmp_path / "data_road" / part).mkdir(parents=True)
    training = tmp_path / "data_road" / "training"
    for category, count in (("um", 7), ("umm", 6), ("uu", 1)):
        for i in range(count):
            cv2.imwrite(str(training / "image_2" / f"{category}_{i:06d}.png"), np.zeros((4, 6, 3), np.uint8))
            truth = np.array([[RED, MAGENTA, BLACK] * 2] * 4, np.uint8)
            cv2.imwrite(str(training / "gt_image_2" / f"{category}_road_{i:06d}.png"), truth[..., ::-1])
            if category == "um":
                lane = np.array([[RED] * 6] * 4, np.uint8)
                cv2.imwrite(str(training / "gt_image_2" / f"um_lane_{i:06d}.png"), lane[..., ::-1])
    cv2.imwrite(str(tmp_path / "data_road/testing/image_2/um_000000.png"), np.zeros((4, 6, 3), np.uint8))
    return tmp_path


def test_every_sixth_picture_of_a_category_validates_and_no_picture_is_in_both(road: Path) -> None:
    train, val = (kitti_road.read(road, split) for split in ("train", "val"))
    assert [sample.image_id for sample in val.samples] == ["um_000005", "umm_000005"]
    assert len(train) == 12 and not train.faults
    assert len(kitti_road.read(road / "data_road", "trainval")) == 14


def test_black_is_not_judged_and_lanes_are_not_taken_for_roads(road: Path) -> None:
    split = kitti_road.read(road, "train")
    path = split.samples[0].mask_path
    assert path is not None and path.name == "um_road_000000.png" and split.mask_code is not None
    assert mask_files.read(path, split.mask_code)[0].tolist() == [0, 1, VOID] * 2


def test_the_test_split_has_no_masks(road: Path) -> None:
    (sample,) = kitti_road.read(road, "test").samples
    assert sample.mask_path is None
    assert kitti_road.result_name(sample.image_id) == "um_road_000000.png"


def test_a19_a_missing_truth_and_a_truth_without_picture_are_faults(road: Path) -> None:
    truths = road / "data_road/training/gt_image_2"
    (truths / "umm_road_000000.png").rename(truths / "uu_road_000009.png")
    split = kitti_road.read(road, "train")
    assert sorted(fault.kind for fault in split.faults) == ["missing-mask", "missing-picture"]


def test_an_unknown_split_or_folder_is_refused(road: Path, tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="There are: train, val"):
        kitti_road.read(road, "training")
    assert not kitti_road.looks_like(tmp_path / "elsewhere")
    with pytest.raises(InputMissingError, match="not a KITTI road folder"):
        kitti_road.read(tmp_path / "elsewhere", "train")
    for picture in (road / "data_road/testing/image_2").iterdir():
        picture.unlink()
    with pytest.raises(DataError, match="0 pictures"):
        kitti_road.read(road, "test")


def test_the_real_sample(shared: Path) -> None:
    split = kitti_road.read(shared / "data/kitti_road_sample", "train")
    (sample,) = split.samples
    assert sample.size_hw == (375, 1242) and sample.mask_path is not None and split.mask_code is not None
    counts = np.bincount(mask_files.read(sample.mask_path, split.mask_code).ravel(), minlength=256)
    assert counts[[0, 1, VOID]].tolist() == [398964, 61316, 5470]
