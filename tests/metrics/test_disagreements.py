"""Each kind of disagreement, the empty cases, and the laws of their ranking."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from singleshot.metrics.disagreements import Disagreement, disagreements
from singleshot.structures import Detections, Sample

CAR, BUS = 0, 1
BOX = (10.0, 10.0, 50.0, 50.0)
ELSEWHERE = (60.0, 60.0, 90.0, 90.0)


def sample(*rows: tuple[int, tuple[float, ...]], difficult: bool = False) -> Sample:
    boxes = np.array([box for _, box in rows], np.float64).reshape(-1, 4)
    class_ids = np.array([class_id for class_id, _ in rows], np.int64)
    return Sample("a", Path("a.jpg"), (100, 100), boxes, class_ids, np.full(len(rows), difficult))


def found(*rows: tuple[int, tuple[float, ...], float]) -> Detections:
    boxes = np.array([box for _, box, _ in rows], np.float32).reshape(-1, 4)
    class_ids = np.array([class_id for class_id, _, _ in rows], np.int64)
    names = np.array(["car", "bus"], dtype=object)[class_ids]
    return Detections(boxes, np.array([score for _, _, score in rows], np.float32), class_ids, names, (100, 100))


def only(annotated: Sample, detected: Detections) -> Disagreement:
    (row,) = disagreements([annotated], [detected])
    return row


def test_a_detection_on_no_annotation_is_missing() -> None:
    row = only(sample((CAR, BOX)), found((CAR, BOX, 0.9), (CAR, ELSEWHERE, 0.8)))
    assert (row.kind, row.annotation, row.detection, row.iou) == ("missing", None, 1, 0.0)
    assert row.score == pytest.approx(0.8)


def test_an_annotation_without_any_detection_is_spurious() -> None:
    row = only(sample((CAR, BOX)), found())
    assert (row.kind, row.annotation, row.detection, row.score) == ("spurious", 0, None, None)


def test_a_better_detection_of_another_class_on_an_annotation_is_a_wrong_class() -> None:
    row = only(sample((CAR, BOX)), found((BUS, BOX, 0.9), (CAR, BOX, 0.2)))
    assert (row.kind, row.annotation, row.detection) == ("wrong class", 0, 0)
    assert row.iou == pytest.approx(1.0)
    assert disagreements([sample((CAR, BOX))], [found((CAR, BOX, 0.9), (BUS, BOX, 0.2))]) == []


def test_a_detection_beside_an_annotation_is_a_poor_box_and_one_row() -> None:
    row = only(sample((CAR, BOX)), found((CAR, (30.0, 10.0, 70.0, 50.0), 0.9)))
    assert (row.kind, row.annotation, row.detection) == ("poor box", 0, 0)
    assert row.iou == pytest.approx(1 / 3)
    # Its support is 0.9 · (1/3 − 0.1) / 0.4, and the detection is on nothing, as in the test of one alone below.
    own = -math.log((0.5 + 2 * 0.9 * (1 / 3 - 0.1) / 0.4) / 2.5)
    assert row.surprise == pytest.approx(0.6 * (own - math.log(1 - 0.9)), rel=1e-5)


def test_a_detection_of_another_class_beside_an_annotation_leaves_two_rows() -> None:
    rows = disagreements([sample((CAR, BOX))], [found((BUS, (30.0, 10.0, 70.0, 50.0), 0.9))])
    assert sorted(row.kind for row in rows) == ["missing", "spurious"]


def test_agreement_nothing_and_no_images_give_no_rows() -> None:
    assert disagreements([], []) == []
    assert disagreements([sample()], [found()]) == []
    assert disagreements([sample((CAR, BOX))], [found((CAR, BOX, 0.9))]) == []


def test_a_second_box_on_a_found_object_is_not_missing() -> None:
    beside = (20.0, 20.0, 60.0, 60.0)
    assert disagreements([sample((CAR, BOX))], [found((CAR, BOX, 0.9), (CAR, beside, 0.8))]) == []


def test_two_classes_on_one_unannotated_object_are_one_row_of_the_better() -> None:
    row = only(sample(), found((CAR, BOX, 0.6), (BUS, BOX, 0.5)))
    assert (row.kind, row.detection) == ("missing", 0)


def test_difficult_annotations_and_what_is_in_them_are_not_listed() -> None:
    inside = (20.0, 20.0, 30.0, 30.0)
    assert disagreements([sample((CAR, BOX), difficult=True)], [found((BUS, inside, 0.9))]) == []


def test_the_more_certain_of_two_false_detections_ranks_higher() -> None:
    images = [sample(), sample()]
    rows = disagreements(images, [found((CAR, BOX, 0.3)), found((CAR, BOX, 0.99))])
    assert [row.index for row in rows] == [1, 0]
    assert rows[0].surprise > rows[1].surprise


def test_surprise_never_falls_with_the_score() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.01, 1, 60).tolist()
    images = [sample((CAR, BOX)) if rng.random() < 0.6 else sample() for _ in scores]
    rows = disagreements(images, [found((CAR, BOX, score)) for score in scores])
    missing = sorted((row.score or 0.0, row.surprise) for row in rows if row.kind == "missing")
    assert len(missing) > 10
    assert [surprise for _, surprise in missing] == sorted(surprise for _, surprise in missing)


def test_one_detection_alone_is_as_surprising_as_its_score_says() -> None:
    # One is off, none is on, and the score counts as two more: (1 + 2 · 0.1) / (1 + 2).
    row = only(sample(), found((CAR, BOX, 0.9)))
    assert row.surprise == pytest.approx(-math.log(1.2 / 3), rel=1e-5)


def test_a_certain_miss_of_a_reliable_class_ranks_above_one_of_a_class_that_is_often_missed() -> None:
    # All 30 cars but one are found, of 30 buses ten are not.
    images, results = [], []
    for place in range(30):
        images += [sample((CAR, BOX)), sample((BUS, BOX))]
        results += [found((CAR, BOX, 0.9)) if place else found()]
        results += [found((BUS, BOX, 0.9)) if place >= 10 else found()]
    rows = disagreements(images, results)
    assert len(rows) == 11 and {row.kind for row in rows} == {"spurious"}
    assert rows[0].index == 0 and rows[0].surprise > rows[1].surprise + 1


def test_equal_rows_keep_the_order_of_the_images() -> None:
    rows = disagreements([sample((CAR, BOX))] * 3, [found()] * 3)
    assert [row.index for row in rows] == [0, 1, 2]


def test_a_score_of_one_is_finite() -> None:
    assert all(math.isfinite(row.surprise) for row in disagreements([sample()] * 2, [found((CAR, BOX, 1.0))] * 2))
