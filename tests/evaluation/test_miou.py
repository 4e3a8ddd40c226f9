from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from singleshot.classes import CITYSCAPES
from singleshot.data.masks import cityscapes
from singleshot.data.masks import folders as mask_folders
from singleshot.data.masks.cityscapes import AVERAGE_SIZES
from singleshot.errors import DataError
from singleshot.evaluation.miou import InstanceCounts, MeanIoU, absent_note, instances_note, miou_table
from singleshot.metrics.mean_iou import confusion
from singleshot.structures import VOID, LabelMap


def test_the_report_has_what_evaluate_promises(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    split = replace(split, label_map=LabelMap(("dark", "bright", "unseen")))
    metric = MeanIoU(split)
    truth = np.array([[0, 0, 1, VOID]], np.uint8)
    metric.add(0, truth, np.array([[0, 1, 1, 0]], np.uint8))
    metric.add(1, truth, truth)
    said = metric.compute().as_json()
    assert said["iou"] == {"dark": pytest.approx(3 / 4), "bright": pytest.approx(2 / 3), "unseen": None}
    assert said["miou"] == pytest.approx((3 / 4 + 2 / 3) / 2) and said["absent"] == ["unseen"]
    assert said["pixel_accuracy"] == pytest.approx(5 / 6) and said["images"] == 2 and said["metric"] == "miou"
    assert "unseen" in (absent_note(metric.compute()) or "")
    assert miou_table(metric.compute()).row_count == 7


def test_g12_a_split_of_void_is_reported(halves: Any) -> None:
    metric = MeanIoU(mask_folders.read(halves.root, "val"))
    metric.add(0, np.full((2, 2), VOID, np.uint8), np.zeros((2, 2), np.uint8))
    assert metric.compute().as_json()["miou"] is None
    assert "nothing to evaluate" in (absent_note(metric.compute()) or "")
    assert MeanIoU(mask_folders.read(halves.root, "val")).compute().figures.miou is None


def test_g14_ranks_that_share_the_work_give_the_same_figures(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    rng = np.random.default_rng(0)
    pictures = [
        (rng.integers(0, 2, (9, 9)).astype(np.uint8), rng.integers(0, 2, (9, 9)).astype(np.uint8)) for _ in "ab"
    ]
    alone, first, second, whole = (MeanIoU(split) for _ in range(4))
    for index, (truth, found) in enumerate(pictures):
        alone.add(index, truth, found)
        (first, second)[index].add(index, truth, found)
    whole.merge([first.state(), second.state()])
    assert whole.compute().as_json() == alone.compute().as_json()


def test_cityscapes_has_categories_and_instances_too(tmp_path: Path) -> None:
    images, truths = tmp_path / "leftImg8bit/val/ulm", tmp_path / "gtFine/val/ulm"
    images.mkdir(parents=True)
    truths.mkdir(parents=True)
    name = "ulm_000000_000019"
    cv2.imwrite(str(images / f"{name}_leftImg8bit.png"), np.zeros((1, 6, 3), np.uint8))
    cv2.imwrite(str(truths / f"{name}_gtFine_labelIds.png"), np.array([[7, 8, 26, 26, 24, 0]], np.uint8))
    split = cityscapes.read(tmp_path, "val")
    truth = np.array([[0, 1, 13, 13, 11, VOID]], np.uint8)
    found = np.array([[1, 1, 13, 14, 11, 4]], np.uint8)
    metric = MeanIoU(split)
    metric.add(0, truth, found)
    said = metric.compute().as_json()
    # Road taken for sidewalk is flat all the same; car for truck is a vehicle. Void is not judged.
    assert said["category_iou"]["flat"] == said["category_iou"]["vehicle"] == 1.0
    assert said["iou"]["sidewalk"] == 0.5 and said["iou"]["truck"] == 0.0 and "iiou" not in said
    assert CITYSCAPES[13] == "car" and said["iou"]["car"] == 0.5

    numbers = np.array([[7, 8, 26001, 26001, 24001, 0]], np.uint16)
    cv2.imwrite(str(truths / f"{name}_gtFine_instanceIds.png"), numbers)
    metric = MeanIoU(split)
    metric.add(0, truth, found)
    said = metric.compute().as_json()
    assert said["iiou"]["person"] == 1.0 and said["iiou"]["car"] == pytest.approx(0.5)
    # Truck, which nobody is, has one false pixel and nothing right.
    assert said["mean_iiou"] == pytest.approx((1.0 + 0.5 + 0.0) / 3)
    cv2.imwrite(str(truths / f"{name}_gtFine_instanceIds.png"), numbers[:, :3])
    with pytest.raises(DataError, match="not of its image's size"):
        MeanIoU(split).add(0, truth, found)


def test_a_missing_file_of_instances_is_named_and_training_asks_for_none(halves: Any) -> None:
    split = mask_folders.read(halves.root, "val")
    split = replace(split, layout="cityscapes", label_map=LabelMap(tuple(CITYSCAPES)))
    samples = [replace(each, mask_path=Path(f"a_{i}_gtFine_labelIds.png")) for i, each in enumerate(split.samples)]
    split, truth = replace(split, samples=samples), np.zeros((1, 2), np.uint8)
    metric, other, asks_none = MeanIoU(split), MeanIoU(split), MeanIoU(split, instances=False)
    metric.add(0, truth, truth)
    asks_none.add(0, truth, truth)
    assert "a_0_gtFine_instanceIds.png" in (instances_note(metric.compute()) or "")
    assert instances_note(asks_none.compute()) is None and asks_none.compute().iiou is None
    other.merge([other.state(), metric.state()])
    assert instances_note(other.compute()) == instances_note(metric.compute())


ROAD, CAR, TRUCK = (CITYSCAPES.index(name) for name in ("road", "car", "truck"))


def test_by_hand_a_large_car_is_found_and_a_small_one_missed() -> None:
    # Ten pixels: car 26001 has 4, car 26002 has 2, the rest is road. The answer: the first car, and one road pixel too.
    numbers = np.array([[26001] * 4 + [26002] * 2 + [7] * 4], dtype=np.uint16)
    truth = np.array([[CAR] * 6 + [ROAD] * 4], dtype=np.uint8)
    found = np.array([[CAR] * 4 + [TRUCK] + [ROAD] + [CAR] + [ROAD] * 3], dtype=np.uint8)
    figures = InstanceCounts().with_image(numbers, found).scores(confusion(truth, found, 19))
    average = AVERAGE_SIZES["car"]
    right, missed = 4 * average / 4, 2 * average / 2  # each instance weighs `average` in all, whatever its size
    assert figures["car"] == pytest.approx(right / (right + missed + 1))
    # Of the category vehicle the truck's pixel is right: half of the second car.
    assert figures["vehicle"] == pytest.approx(1.5 * average / (1.5 * average + 0.5 * average + 1))
    assert figures["person"] is None and figures["human"] is None and "road" not in figures


def test_groups_and_classes_without_instances_do_not_count() -> None:
    numbers = np.array([[26, 26, 7, 29001, 33]], dtype=np.uint16)  # a group of cars, road, a caravan
    counts = InstanceCounts().with_image(numbers, np.zeros((1, 5), np.uint8))
    assert counts.by_class.sum() == 0 and counts.by_category.sum() == 0


def test_instance_counts_add_up_in_any_order() -> None:
    rng = np.random.default_rng(0)
    numbers = rng.choice([26001, 26002, 24001, 7], (2, 6, 6)).astype(np.uint16)
    found = rng.choice([CAR, ROAD, 11], (2, 6, 6)).astype(np.uint8)
    both = InstanceCounts().with_image(numbers[0], found[0]).with_image(numbers[1], found[1])
    apart = [InstanceCounts().with_image(number, ids) for number, ids in zip(numbers, found, strict=True)]
    np.testing.assert_allclose(apart[1].plus(apart[0]).by_class, both.by_class)
    np.testing.assert_allclose(apart[1].plus(apart[0]).by_category, both.by_category)
