from __future__ import annotations

import numpy as np
import pytest

from singleshot.classes import CITYSCAPES
from singleshot.data.masks.cityscapes import AVERAGE_SIZES
from singleshot.evaluation.instance_iou import InstanceCounts
from singleshot.metrics.mean_iou import confusion

ROAD, CAR, TRUCK = (CITYSCAPES.index(name) for name in ("road", "car", "truck"))


def test_by_hand_a_large_car_that_is_seen_and_a_small_one_that_is_not() -> None:
    # Ten pixels: car 26001 has 4, car 26002 has 2, the rest is road. The answer: the first car, and one road pixel too.
    numbers = np.array([[26001] * 4 + [26002] * 2 + [7] * 4], dtype=np.uint16)
    truth = np.array([[CAR] * 6 + [ROAD] * 4], dtype=np.uint8)
    found = np.array([[CAR] * 4 + [TRUCK] + [ROAD] + [CAR] + [ROAD] * 3], dtype=np.uint8)
    figures = InstanceCounts().with_picture(numbers, found).figures(confusion(truth, found, 19))
    average = AVERAGE_SIZES["car"]
    right, missed = 4 * average / 4, 2 * average / 2  # each instance weighs `average` in all, whatever its size
    assert figures["car"] == pytest.approx(right / (right + missed + 1))
    # Of the category vehicle the truck's pixel is right: half of the second car.
    assert figures["vehicle"] == pytest.approx(1.5 * average / (1.5 * average + 0.5 * average + 1))
    assert figures["person"] is None and figures["human"] is None and "road" not in figures


def test_groups_and_classes_without_instances_are_passed_over() -> None:
    numbers = np.array([[26, 26, 7, 29001, 33]], dtype=np.uint16)  # a group of cars, road, a caravan
    counts = InstanceCounts().with_picture(numbers, np.zeros((1, 5), np.uint8))
    assert counts.by_class.sum() == 0 and counts.by_category.sum() == 0


def test_pictures_add_up_in_any_order() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.choice([26001, 26002, 24001, 7], (2, 6, 6)).astype(np.uint16)
    found = rng.choice([CAR, ROAD, 11], (2, 6, 6)).astype(np.uint8)
    both = InstanceCounts().with_picture(numbers[0], found[0]).with_picture(numbers[1], found[1])
    apart = [InstanceCounts().with_picture(number, ids) for number, ids in zip(numbers, found, strict=True)]
    np.testing.assert_allclose(apart[1].plus(apart[0]).by_class, both.by_class)
    np.testing.assert_allclose(apart[1].plus(apart[0]).by_category, both.by_category)
