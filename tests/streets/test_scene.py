from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
import pytest

from singleshot.boxes import pairwise_iou
from singleshot.streets.objects import CLASS_NAMES, FIRST_CLASS_LABEL, MASK_NAMES
from singleshot.streets.scene import MAX_HIDDEN, Scene, scene
from singleshot.streets.write import SIZE_HW, TEST


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    # New processes do not check the annotations of every call, which makes drawing five times as slow.
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(scene, 0, "test", size_hw=SIZE_HW), range(TEST), chunksize=20))


@pytest.fixture(scope="module")
def boxes_xyxy(scenes: list[Scene]) -> np.ndarray:
    return np.concatenate([drawn.boxes_xyxy for drawn in scenes])


@pytest.fixture(scope="module")
def class_ids(scenes: list[Scene]) -> np.ndarray:
    return np.concatenate([drawn.class_ids for drawn in scenes])


def test_there_are_two_hundred_scenes_with_objects_of_16_to_200_pixels(scenes, boxes_xyxy) -> None:
    assert len(scenes) >= 200
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    assert sides.min() == 16
    assert 150 < sides.max() <= 200
    assert 0.1 <= (sides < 24).mean() <= 0.2


def test_every_class_is_frequent_and_occurs_small_and_large(boxes_xyxy, class_ids) -> None:
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).max(axis=1)
    for class_id in range(len(CLASS_NAMES)):
        of_class = sides[class_ids == class_id]
        assert len(of_class) > 0.25 * len(sides)
        assert of_class.min() < 20 and of_class.max() > 70


def test_scenes_have_up_to_ten_objects_and_some_have_none(scenes) -> None:
    counts = np.array([len(drawn.boxes_xyxy) for drawn in scenes])
    assert counts.max() <= 10 and (counts >= 8).any()
    assert 0.02 <= (counts == 0).mean() <= 0.1
    assert 3.5 < counts.mean() < 6


def test_objects_are_hidden_by_up_to_forty_percent(scenes) -> None:
    occlusion = np.concatenate([drawn.occlusion for drawn in scenes])
    assert occlusion.min() >= 0 and 0.35 < occlusion.max() <= MAX_HIDDEN == 0.4
    assert (occlusion > 0.1).mean() > 0.1


def test_the_light_varies_from_night_to_day(scenes) -> None:
    means = np.array([drawn.image.mean() for drawn in scenes])
    assert (means < 60).mean() > 0.05 and (means > 140).mean() > 0.15


def test_boxes_are_inside_the_image_on_whole_pixels(scenes) -> None:
    height, width = SIZE_HW
    for drawn in scenes:
        boxes = drawn.boxes_xyxy
        assert (boxes == np.rint(boxes)).all()
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= (width, height)).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()


def test_the_mask_touches_every_side_of_every_box(scenes) -> None:
    for drawn in scenes:
        assert drawn.mask.max() < len(MASK_NAMES)
        for (x1, y1, x2, y2), class_id in zip(drawn.boxes_xyxy.astype(int), drawn.class_ids, strict=True):
            inside = drawn.mask[y1:y2, x1:x2] == FIRST_CLASS_LABEL + class_id
            assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()


def test_an_empty_scene_has_no_class_in_its_mask_and_empty_arrays(scenes) -> None:
    empty = next(drawn for drawn in scenes if len(drawn.boxes_xyxy) == 0)
    assert empty.boxes_xyxy.shape == (0, 4)
    assert empty.class_ids.shape == empty.occlusion.shape == empty.truncated.shape == (0,)
    assert empty.mask.max() < FIRST_CLASS_LABEL


def test_all_pixels_of_a_class_are_in_its_boxes(scenes) -> None:
    for drawn in scenes:
        left = drawn.mask.copy()
        for (x1, y1, x2, y2), class_id in zip(drawn.boxes_xyxy.astype(int), drawn.class_ids, strict=True):
            inside = left[y1:y2, x1:x2]
            inside[inside == FIRST_CLASS_LABEL + class_id] = 0
        assert left.max() < FIRST_CLASS_LABEL


def test_objects_of_one_class_hardly_ever_share_a_box(scenes) -> None:
    pairs, close = 0, 0
    for drawn in scenes:
        iou = np.triu(pairwise_iou(drawn.boxes_xyxy, drawn.boxes_xyxy), 1)
        iou *= drawn.class_ids[:, None] == drawn.class_ids
        pairs, close = pairs + np.count_nonzero(iou), close + np.count_nonzero(iou > 0.5)
    assert pairs > 20 and close <= 0.1 * pairs


def test_a_scene_depends_on_seed_split_index_and_size_alone(scenes) -> None:
    again = scene(0, "test", 7, size_hw=SIZE_HW)
    for field in ("image", "boxes_xyxy", "class_ids", "occlusion", "truncated", "mask"):
        np.testing.assert_array_equal(getattr(again, field), getattr(scenes[7], field))
    for seed, split, index in ((1, "test", 7), (0, "train", 7), (0, "test", 8)):
        assert not np.array_equal(scene(seed, split, index, size_hw=SIZE_HW).image, again.image)


@pytest.mark.parametrize("size_hw", [(64, 64), (720, 1280)])
def test_sizes_scale_with_the_height_of_the_image(size_hw: tuple[int, int]) -> None:
    for index in range(4):
        drawn = scene(5, "train", index, size_hw=size_hw)
        assert drawn.image.shape == (*size_hw, 3) and drawn.mask.shape == size_hw
        sides = (drawn.boxes_xyxy[:, 2:] - drawn.boxes_xyxy[:, :2]).max(axis=1, initial=0)
        if len(sides):
            assert 16 * size_hw[0] / 300 <= sides.min() and sides.max() <= 200 * size_hw[0] / 300
