from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from singleshot.errors import DataError
from singleshot.metrics.coco_ap import CocoFigures, CocoTruths, coco_ap
from singleshot.metrics.detections import FlatDetections

NAMES = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip


def truths(rows: list[tuple[int, int, list[float]]], **more: Any) -> CocoTruths:
    """Rows of picture, class, box."""
    return CocoTruths(
        np.array([row[2] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[0] for row in rows], np.int64),
        **more,
    )


def found(rows: list[tuple[int, int, float, list[float]]]) -> FlatDetections:
    """Rows of picture, class, score, box."""
    return FlatDetections(
        np.array([row[3] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], np.float64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[0] for row in rows], np.int64),
    )


def by_pycocotools(detections: FlatDetections, there: CocoTruths, num_classes: int) -> tuple[list[float], np.ndarray]:
    """The oracle: the twelve figures, and AP by class; −1 for nothing to measure."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(boxes: np.ndarray) -> list[list[float]]:
        return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(float).tolist()

    sizes = (there.boxes_xyxy[:, 2:] - there.boxes_xyxy[:, :2]).prod(1)
    areas = sizes if there.areas is None else there.areas
    crowd = np.zeros(len(there), bool) if there.is_crowd is None else there.is_crowd
    images = 1 + max(detections.image_indices.max(), there.image_indices.max())
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": index} for index in range(images)],
            "categories": [{"id": index} for index in range(num_classes)],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": int(im),
                    "category_id": int(c),
                    "bbox": b,
                    "iscrowd": int(k),
                    "area": float(a),
                }
                for i, (im, c, b, k, a) in enumerate(
                    zip(there.image_indices, there.class_ids, xywh(there.boxes_xyxy), crowd, areas, strict=True)
                )
            ],
        }
        truth.createIndex()
        rows = zip(detections.image_indices, detections.class_ids, xywh(detections.boxes_xyxy), detections.scores,
                   strict=True)  # fmt: skip
        results = truth.loadRes(
            [{"image_id": int(im), "category_id": int(c), "bbox": b, "score": float(s)} for im, c, b, s in rows]
        )
        run = COCOeval(truth, results, "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    table = run.eval["precision"][:, :, :, 0, 2]
    by_class = [table[:, :, k][table[:, :, k] > -1] for k in range(num_classes)]
    return list(run.stats), np.array([some.mean() if len(some) else -1.0 for some in by_class])


def assert_same(ours: CocoFigures, theirs: tuple[list[float], np.ndarray]) -> None:
    figures = [getattr(ours, name) for name in NAMES]
    np.testing.assert_allclose([-1.0 if f is None else f for f in figures], theirs[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose([-1.0 if f is None else f for f in ours.class_ap], theirs[1], rtol=0, atol=1e-9)


def example(shared: Path) -> tuple[FlatDetections, CocoTruths, int]:
    """COCO's own example, its picture and category ids as places."""
    folder = shared / "data" / "eval_coco"
    truth = json.loads((folder / "ground_truth.json").read_text())
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    image_of = {number: i for i, number in enumerate(sorted(image["id"] for image in truth["images"]))}
    class_of = {number: i for i, number in enumerate(sorted(each["id"] for each in truth["categories"]))}

    def corners(box: list[float]) -> list[float]:
        return [box[0], box[1], box[0] + box[2], box[1] + box[3]]

    there = truths(
        [(image_of[a["image_id"]], class_of[a["category_id"]], corners(a["bbox"])) for a in truth["annotations"]],
        is_crowd=np.array([bool(a["iscrowd"]) for a in truth["annotations"]]),
        areas=np.array([a["area"] for a in truth["annotations"]], np.float64),
    )
    rows = [(image_of[d["image_id"]], class_of[d["category_id"]], d["score"], corners(d["bbox"])) for d in results]
    return found(rows), there, len(class_of)


def random_split(seed: int, classes: int = 5, images: int = 30) -> tuple[FlatDetections, CocoTruths]:
    """Boxes of all sizes, tied scores, crowd regions, areas of their own, a class that is nowhere, empty pictures."""
    rng = np.random.default_rng(seed)
    count = 150
    low = rng.random((count, 2)) * 300
    size = np.exp(rng.normal(3.8, 0.9, (count, 2)))
    boxes = np.concatenate([low, low + size], 1)
    class_ids, places = rng.integers(0, classes - 1, count), rng.integers(0, images, count)
    there = CocoTruths(boxes, class_ids, places, rng.random(count) < 0.15, size.prod(1) * rng.uniform(0.3, 1, count))
    rows = rng.integers(0, count, 900)
    moved = boxes[rows] + rng.normal(0, 0.12, (900, 4)) * np.tile(size[rows], 2)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 0.5)
    labels = np.where(rng.random(900) < 0.2, rng.integers(0, classes, 900), class_ids[rows])
    return FlatDetections(moved, rng.integers(0, 50, 900) / 50, labels, places[rows]), there


def test_cocos_own_example_has_its_published_figures(shared: Path) -> None:
    expected = json.loads((shared / "data" / "eval_coco" / "expected.json").read_text())
    ours = coco_ap(*example(shared))
    for name in NAMES:
        assert getattr(ours, name) == pytest.approx(expected[name[:2].upper() + name[2:].lstrip("_")], abs=1e-6), name
    assert (ours.ground_truths, ours.detections, ours.cut) == (830, 734, 0)


def test_cocos_own_example_is_pycocotools_to_the_last_digits(shared: Path) -> None:
    detections, there, num_classes = example(shared)
    assert_same(coco_ap(detections, there, num_classes), by_pycocotools(detections, there, num_classes))


@pytest.mark.parametrize("seed", range(4))
def test_crowds_ties_areas_and_absent_classes_are_pycocotools_too(seed: int) -> None:
    detections, there = random_split(seed)
    ours = coco_ap(detections, there, 5)
    assert_same(ours, by_pycocotools(detections, there, 5))
    assert ours.class_ap[4] is None and there.is_crowd is not None
    assert ours.ground_truths == (~there.is_crowd).sum()


def test_one_of_two_objects_found_exactly_has_51_of_101_points_of_recall() -> None:
    there = truths([(0, 0, [0, 0, 10, 10]), (1, 0, [0, 0, 100, 100])])
    ours = coco_ap(found([(1, 0, 0.9, [0, 0, 100, 100])]), there, 1)
    assert ours.ap == pytest.approx(51 / 101) and ours.ar1 == 0.5
    assert (ours.ap_small, ours.ap_medium) == (0.0, None)
    assert ours.ap_large == pytest.approx(1.0)


def test_a_crowd_region_takes_detections_without_a_verdict() -> None:
    there = truths([(0, 0, [0, 0, 50, 50]), (0, 0, [100, 100, 200, 200])], is_crowd=np.array([False, True]))
    inside = [(0, 0, 0.9 - k / 100, [110.0 + k, 110, 150 + k, 150]) for k in range(5)]
    assert coco_ap(found([*inside, (0, 0, 0.5, [0, 0, 50, 50])]), there, 1).ap == pytest.approx(1.0)


def test_g1_no_detections_give_zero() -> None:
    ours = coco_ap(found([]), truths([(0, 0, [0, 0, 50, 50])]), 2)
    assert (ours.ap, ours.ap_medium, ours.ar100) == (0.0, 0.0, 0.0)
    assert ours.class_ap == (0.0, None) and ours.ap_small is None


@pytest.mark.parametrize("rows", [[], [(3, 0, 0.5, [0.0, 0, 5, 5])]])
def test_g2_no_ground_truths_give_none_and_not_minus_one(rows: list[Any]) -> None:
    ours = coco_ap(found(rows), truths([]), 2)
    assert [getattr(ours, name) for name in NAMES] == [None] * 12
    assert ours.class_ap == (None, None) and ours.ground_truths == 0


def test_g4_a_detection_given_twice_is_a_false_one() -> None:
    there = truths([(0, 0, [0, 0, 50, 50]), (1, 0, [0, 0, 50, 50])])
    once, last = (0, 0, 0.9, [0, 0, 50, 50]), (1, 0, 0.8, [0, 0, 50, 50])
    assert coco_ap(found([once, last]), there, 1).ap == pytest.approx(1.0)
    # Precision 1 up to recall 1/2 (51 points), then 2/3 (50 points).
    assert coco_ap(found([once, once, last]), there, 1).ap == pytest.approx((51 + 50 * 2 / 3) / 101)


@pytest.mark.parametrize("class_id", [-1, 2])
def test_g5_an_unknown_class_is_refused_and_not_dropped(class_id: int) -> None:
    there = truths([(0, 0, [0, 0, 50, 50])])
    with pytest.raises(DataError, match=f"1 detections have a class id outside 0…1, the first one is {class_id}"):
        coco_ap(found([(0, class_id, 0.5, [0, 0, 50, 50])]), there, 2)
    with pytest.raises(DataError, match="annotations have a class id"):
        coco_ap(found([]), truths([(0, class_id, [0, 0, 50, 50])]), 2)


@pytest.mark.parametrize("row", [(0, 0, np.nan, [0, 0, 5, 5]), (0, 0, 0.5, [0, np.inf, 5, 5])])
def test_g6_a_score_or_box_that_is_not_finite_is_refused(row: Any) -> None:
    with pytest.raises(DataError, match="not finite"):
        coco_ap(found([row]), truths([(0, 0, [0, 0, 50, 50])]), 1)


def test_g7_a_box_inside_out_is_refused() -> None:
    with pytest.raises(DataError, match="negative width or height, the first one is row 2"):
        coco_ap(found([(0, 0, 0.5, [0, 0, 5, 5]), (0, 0, 0.5, [9, 0, 5, 5])]), truths([]), 1)


def test_g8_images_may_come_in_any_order_and_their_ties_keep_the_splits() -> None:
    detections, there = random_split(7)
    # Whole pictures are moved; within one the order, which settles its ties, stays.
    order = np.concatenate([np.flatnonzero(detections.image_indices == i) for i in reversed(range(30))])
    moved = FlatDetections(
        detections.boxes_xyxy[order],
        detections.scores[order],
        detections.class_ids[order],
        detections.image_indices[order],
    )
    assert coco_ap(moved, there, 5) == coco_ap(detections, there, 5)


def test_g9_the_hundred_and_first_detection_of_a_class_in_an_image_is_cut_and_counted() -> None:
    there = truths([(0, 0, [0, 0, 50, 50])])
    misses = [(0, 0, 0.9, [200.0, 200, 250, 250])] * 100
    hit = (0, 0, 0.1, [0, 0, 50, 50])
    ours = coco_ap(found([*misses, hit, (0, 1, 0.5, [0, 0, 5, 5])]), there, 2)
    assert (ours.cut, ours.ap, ours.detections) == (1, 0.0, 102)
    assert (coco_ap(found([*misses[1:], hit]), there, 2).ap or 0.0) > 0


def test_g10_only_crowd_regions_give_none() -> None:
    ours = coco_ap(found([(0, 0, 0.5, [0, 0, 5, 5])]), truths([(0, 0, [0, 0, 9, 9])], is_crowd=np.array([True])), 1)
    assert ours.ap is None and ours.ground_truths == 0
