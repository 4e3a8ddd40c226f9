"""Matching by the devkit's rules: each rule by hand, and all of them against a slow second writing of the devkit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.errors import DataError
from singleshot.metrics.voc_matching import (
    FALSE,
    IGNORED,
    NO_OBJECT,
    TRUE,
    FlatDetections,
    GroundTruths,
    match,
)
from singleshot.structures import Detections

BOX = (0.0, 0.0, 10.0, 10.0)


def table(rows: list, width: int) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, width)


def truths(*rows: tuple) -> GroundTruths:
    """Rows (box, class id, difficult, picture)."""
    boxes, class_ids, difficult, images = zip(*rows, strict=True) if rows else ((), (), (), ())
    return GroundTruths(
        table(list(boxes), 4), np.array(class_ids, int), np.array(difficult, bool), np.array(images, int)
    )


def found(*rows: tuple) -> FlatDetections:
    """Rows (box, score, class id, picture)."""
    boxes, scores, class_ids, images = zip(*rows, strict=True) if rows else ((), (), (), ())
    return FlatDetections(
        table(list(boxes), 4), np.array(scores, float), np.array(class_ids, int), np.array(images, int)
    )


def slow_match(detections: FlatDetections, ground_truths: GroundTruths, iou_threshold: float) -> list[int]:
    """VOCevaldet.m, loop by loop. Its "+1" is in the boxes already, as continuous boxes have it."""
    verdicts = [FALSE] * len(detections)
    taken = [False] * len(ground_truths)
    for class_id in sorted(set(detections.class_ids.tolist())):
        of_class = [row for row in range(len(detections)) if detections.class_ids[row] == class_id]
        of_class.sort(key=lambda row: (-detections.scores[row], detections.image_indices[row], row))
        for row in of_class:
            overlap_max, truth_max = -np.inf, None
            bb = [float(edge) for edge in detections.boxes_xyxy[row]]
            for truth in range(len(ground_truths)):
                if ground_truths.class_ids[truth] != class_id:
                    continue
                if ground_truths.image_indices[truth] != detections.image_indices[row]:
                    continue
                bbgt = [float(edge) for edge in ground_truths.boxes_xyxy[truth]]
                bi = [max(bb[0], bbgt[0]), max(bb[1], bbgt[1]), min(bb[2], bbgt[2]), min(bb[3], bbgt[3])]
                iw, ih = bi[2] - bi[0], bi[3] - bi[1]
                if iw > 0 and ih > 0:
                    ua = (bb[2] - bb[0]) * (bb[3] - bb[1]) + (bbgt[2] - bbgt[0]) * (bbgt[3] - bbgt[1]) - iw * ih
                    overlap = iw * ih / ua
                    if overlap > overlap_max:
                        overlap_max, truth_max = overlap, truth
            if truth_max is not None and overlap_max >= iou_threshold:
                if ground_truths.difficult[truth_max]:
                    verdicts[row] = IGNORED
                elif not taken[truth_max]:
                    verdicts[row] = TRUE
                    taken[truth_max] = True
    return verdicts


# Few places and few scores, so that ties, duplicates and overlaps of exactly the threshold are common.
edges = st.integers(0, 3)
boxes = st.builds(lambda x, y, w, h: (x, y, x + w, y + h), edges, edges, st.integers(0, 4), st.integers(0, 4))
detection_rows = st.lists(
    st.tuples(boxes, st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(0, 2), st.integers(0, 3)), max_size=40
)
truth_rows = st.lists(st.tuples(boxes, st.integers(0, 2), st.booleans(), st.integers(0, 3)), max_size=15)


@given(detection_rows, truth_rows, st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 0.75, 1.0]))
def test_every_verdict_equals_the_devkits(rows: list, objects: list, iou_threshold: float):
    detections, ground_truths = found(*rows), truths(*objects)
    verdicts = match(detections, ground_truths, 3, iou_threshold=iou_threshold).verdicts
    assert verdicts.tolist() == slow_match(detections, ground_truths, iou_threshold)


@given(detection_rows, truth_rows, st.randoms(use_true_random=False))
def test_g8_tied_scores_are_settled_by_place_whatever_the_order_of_pictures(rows: list, objects: list, random):
    # Pictures may come in any order; within a picture detections keep theirs.
    order = list(range(4))
    random.shuffle(order)
    moved = [row for image in order for row in rows if row[3] == image]
    places = [place for image in order for place, row in enumerate(rows) if row[3] == image]
    expected = match(found(*rows), truths(*objects), 3).verdicts
    np.testing.assert_array_equal(match(found(*moved), truths(*objects), 3).verdicts, expected[places])


def test_of_two_tied_detections_in_two_pictures_the_earlier_picture_ranks_first():
    detections = found((BOX, 0.5, 0, 1), (BOX, 0.5, 0, 0))
    assert match(detections, truths(), 1).ranking.tolist() == [1, 0]


def test_a_duplicate_is_false():
    matches = match(found((BOX, 0.9, 0, 0), (BOX, 0.8, 0, 0)), truths((BOX, 0, False, 0)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]
    assert matches.ground_truths.tolist() == [0, 0], "the duplicate met the same object"


def test_the_better_score_wins_whatever_its_overlap():
    matches = match(found(((0, 0, 10, 6), 0.9, 0, 0), (BOX, 0.8, 0, 0)), truths((BOX, 0, False, 0)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]


def test_a_detection_whose_best_object_is_taken_is_false_though_a_second_one_overlaps_enough():
    near = (0.0, 0.0, 10.0, 8.0)
    matches = match(found((BOX, 0.9, 0, 0), (BOX, 0.8, 0, 0)), truths((BOX, 0, False, 0), (near, 0, False, 0)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]


def test_a_difficult_object_is_never_used_up():
    detections = found(*[(BOX, score, 0, 0) for score in (0.9, 0.8, 0.7)])
    assert match(detections, truths((BOX, 0, True, 0)), 1).verdicts.tolist() == [IGNORED] * 3


def test_a_difficult_object_that_overlaps_most_hides_an_easy_one_behind_it():
    near = (0.0, 0.0, 10.0, 8.0)
    matches = match(found((BOX, 0.9, 0, 0)), truths((near, 0, False, 0), (BOX, 0, True, 0)), 1)
    assert matches.verdicts.tolist() == [IGNORED]
    assert matches.ground_truths.tolist() == [1]


def test_an_overlap_of_exactly_the_threshold_is_enough():
    half, below = (0.0, 0.0, 10.0, 5.0), (0.0, 0.0, 10.0, 4.999)
    matches = match(found((half, 0.9, 0, 0), (below, 0.8, 0, 1)), truths((BOX, 0, False, 0), (BOX, 0, False, 1)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]
    assert matches.ground_truths.tolist() == [0, NO_OBJECT]


def test_of_two_objects_that_overlap_the_same_the_first_is_taken():
    matches = match(found((BOX, 0.9, 0, 0)), truths((BOX, 0, False, 0), (BOX, 0, False, 0)), 1)
    assert matches.ground_truths.tolist() == [0]


@pytest.mark.parametrize("detection", [(BOX, 0.9, 1, 0), (BOX, 0.9, 0, 1)], ids=["class", "picture"])
def test_objects_of_another_class_or_picture_are_not_met(detection: tuple):
    assert match(found(detection), truths((BOX, 0, False, 0)), 2).verdicts.tolist() == [FALSE]


def test_nothing_found_and_nothing_there_is_legal():
    for detections, ground_truths in [(found(), truths((BOX, 0, False, 0))), (found(), truths())]:
        matches = match(detections, ground_truths, 1)
        assert matches.verdicts.shape == matches.ground_truths.shape == matches.ranking.shape == (0,)


def test_boxes_without_area_are_false_and_divide_nothing_by_zero():
    point = (5.0, 5.0, 5.0, 5.0)
    matches = match(found((point, 0.9, 0, 0)), truths((point, 0, False, 0)), 1, iou_threshold=0.0)
    assert matches.verdicts.tolist() == [FALSE]


@pytest.mark.parametrize("class_id", [-1, 3])
def test_a_class_id_that_is_no_class_is_refused(class_id: int):
    with pytest.raises(ValueError, match="do not fit 3 classes"):
        match(found((BOX, 0.9, class_id, 0)), truths(), 3)


@pytest.mark.parametrize(
    "box, score", [(BOX, np.nan), (BOX, np.inf), ((0, 0, np.nan, 1), 0.5), ((-np.inf, 0, 1, 1), 1)]
)
def test_g6_a_score_or_box_that_is_not_finite_is_refused_with_its_picture(box: tuple, score: float):
    with pytest.raises(DataError, match="picture at place 8 of the split"):
        found((BOX, 0.5, 0, 0), (box, score, 0, 7))


def test_pictures_become_one_table_in_the_order_of_the_split():
    empty = Detections(
        np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, int), np.empty(0, object), (9, 9)
    )
    two = Detections(
        np.array([BOX, BOX], np.float32),
        np.array([0.9, 0.1], np.float32),
        np.array([1, 0]),
        np.array(["b", "a"], object),
        (9, 9),
    )
    flat = FlatDetections.from_pictures([empty, two, empty, two])
    assert flat.image_indices.tolist() == [1, 1, 3, 3]
    assert flat.class_ids.tolist() == [1, 0, 1, 0]
    assert len(FlatDetections.from_pictures([])) == len(GroundTruths.from_samples([])) == 0
