"""VOC AP: published results on real detections, cases that other programs get wrong, and the devkit written twice."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.voc_ap import (
    FALSE,
    IGNORED,
    NO_OBJECT,
    TRUE,
    Metric,
    above,
    match,
    mean_ap,
    voc_ap,
    voc_ap_of_sizes,
)

METRICS: dict[str, Metric] = {"11_point": "voc07", "all_point": "voc12"}
BOX = (0.0, 0.0, 10.0, 10.0)


def truths(boxes: list, *, images: list[int], class_ids: list[int] | None = None, difficult: list[bool] | None = None):
    count = len(boxes)
    return GroundTruths(
        np.array(boxes, float).reshape(-1, 4),
        np.array(class_ids or [0] * count, int),
        np.array(difficult or [False] * count, bool),
        np.array(images, int),
    )


def found(boxes: list, scores: list[float], *, images: list[int], class_ids: list[int] | None = None):
    return FlatDetections(
        np.array(boxes, float).reshape(-1, 4),
        np.array(scores, float),
        np.array(class_ids or [0] * len(boxes), int),
        np.array(images, int),
    )


NOTHING_FOUND = found([], [], images=[])
NOTHING_THERE = truths([], images=[])


def rows(folder: Path) -> tuple[list[list[float]], list[int]]:
    """The numbers of every line, and the place of the file that it came from."""
    lines = [
        (place, line)
        for place, path in enumerate(sorted(folder.glob("*.txt")))
        for line in path.read_text().splitlines()
    ]
    return [[float(text) for text in line.split()[1:]] for _, line in lines], [place for place, _ in lines]


def seven_images(shared: Path, *, inclusive: bool) -> tuple[FlatDetections, GroundTruths]:
    """The set with its corners x, y, x + w, y + h read as inclusive pixels (as published) or as continuous edges."""

    def corners(x: float, y: float, width: float, height: float) -> list[float]:
        return [x - inclusive, y - inclusive, x + width, y + height]

    folder = shared / "data" / "eval_voc_ap" / "seven_images"
    detections, images = rows(folder / "dets")
    objects, object_images = rows(folder / "gts")
    return (
        found([corners(*row[1:]) for row in detections], [row[0] for row in detections], images=images),
        truths([corners(*row) for row in objects], images=object_images),
    )


def ten_cats(shared: Path) -> tuple[FlatDetections, GroundTruths]:
    folder = shared / "data" / "eval_voc_ap" / "ten_cats"
    detections, images = rows(folder / "dets")
    boxes, object_images = [], []
    for place, path in enumerate(sorted((folder / "Annotations").glob("*.xml"))):
        for box in ElementTree.parse(path).iter("bndbox"):
            x1, y1, x2, y2 = (float(box.findtext(tag, "")) for tag in ("xmin", "ymin", "xmax", "ymax"))
            boxes.append([x1 - 1, y1 - 1, x2, y2])
            object_images.append(place)
    shifted = [[row[1] - 1, row[2] - 1, row[3], row[4]] for row in detections]
    return found(shifted, [row[0] for row in detections], images=images), truths(boxes, images=object_images)


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict:
    return json.loads((shared / "data" / "eval_voc_ap" / "expected.json").read_text())


@pytest.mark.parametrize("iou", ["0.1", "0.3", "0.5", "0.75"])
@pytest.mark.parametrize("points", METRICS)
def test_inclusive_pixels_give_the_published_figures_without_adding_one(shared, expected, points, iou):
    published = expected["seven_images"]["published (box width = x2-x1+1)"][points][iou]
    [result] = voc_ap(*seven_images(shared, inclusive=True), 1, metric=METRICS[points], iou_threshold=float(iou))
    assert result.num_ground_truths == 15
    assert result.num_detections == 24
    assert result.ap == pytest.approx(published, abs=1e-9)


@pytest.mark.parametrize("iou", ["0.1", "0.3", "0.5", "0.75"])
@pytest.mark.parametrize("points", METRICS)
def test_continuous_edges_give_the_continuous_figures(shared, expected, points, iou):
    continuous = expected["seven_images"]["computed for this copy, continuous boxes (width = x2-x1)"][points][iou]
    [result] = voc_ap(*seven_images(shared, inclusive=False), 1, metric=METRICS[points], iou_threshold=float(iou))
    assert result.ap == pytest.approx(continuous, abs=1e-9)


@pytest.mark.parametrize("iou", ["0.5", "0.75"])
@pytest.mark.parametrize("points", METRICS)
def test_ten_cats_give_the_published_figures(shared, expected, points, iou):
    [result] = voc_ap(*ten_cats(shared), 1, metric=METRICS[points], iou_threshold=float(iou))
    assert result.num_ground_truths == 12
    assert result.ap == pytest.approx(expected["ten_cats"]["published"][iou][points], abs=1e-4)
    digits = expected["ten_cats"]["computed, more digits (same with and without the +1 convention)"]
    assert result.ap == pytest.approx(digits[iou][points], abs=1e-9)


def test_g8_the_tie_in_seven_images_goes_to_the_earlier_image_however_the_rows_lie(shared, expected):
    detections, ground_truths = seven_images(shared, inclusive=True)
    published = expected["seven_images"]["published (box width = x2-x1+1)"]["all_point"]["0.3"]
    backwards = np.arange(len(detections))[::-1]
    turned = FlatDetections(
        detections.boxes_xyxy[backwards],
        detections.scores[backwards],
        detections.class_ids[backwards],
        detections.image_indices[backwards],
    )
    [result] = voc_ap(turned, ground_truths, 1, metric="voc12", iou_threshold=0.3)
    assert result.ap == pytest.approx(published, abs=1e-9)
    # The other order of the pictures is the other figure that the set's description names.
    images_backwards = FlatDetections(
        detections.boxes_xyxy, detections.scores, detections.class_ids, 6 - detections.image_indices
    )
    turned_truths = GroundTruths(
        ground_truths.boxes_xyxy, ground_truths.class_ids, ground_truths.difficult, 6 - ground_truths.image_indices
    )
    [other] = voc_ap(images_backwards, turned_truths, 1, metric="voc12", iou_threshold=0.3)
    assert other.ap == pytest.approx(0.2235, abs=5e-5)


@pytest.mark.parametrize("metric", METRICS.values())
def test_g1_no_detections_give_zero_not_a_crash(metric: Metric):
    results = voc_ap(NOTHING_FOUND, truths([BOX], images=[0]), 1, metric=metric)
    assert results[0].ap == 0.0
    assert mean_ap(results) == 0.0


@pytest.mark.parametrize("metric", METRICS.values())
def test_g2_no_ground_truths_give_none_not_minus_one_or_nan(metric: Metric):
    results = voc_ap(found([BOX], [0.9], images=[0]), NOTHING_THERE, 2, metric=metric)
    assert [result.ap for result in results] == [None, None]
    assert results[0].num_detections == 1
    assert mean_ap(results) is None
    assert mean_ap([]) is None


@pytest.mark.parametrize("metric", METRICS.values())
def test_g10_only_difficult_ground_truths_give_none(metric: Metric):
    results = voc_ap(found([BOX], [0.9], images=[0]), truths([BOX], images=[0], difficult=[True]), 1, metric=metric)
    assert results[0].ap is None
    assert mean_ap(results) is None


def test_g4_the_same_detection_twice_counts_as_a_false_one():
    # Hits: true, false, true of 2 objects. Area: ½ · 1 + ½ · ⅔.
    detections = found([BOX, BOX, BOX], [0.9, 0.8, 0.7], images=[0, 0, 1])
    [result] = voc_ap(detections, truths([BOX, BOX], images=[0, 1]), 1, metric="voc12")
    assert result.ap == pytest.approx(5 / 6)


def test_a_class_without_objects_is_not_in_the_mean():
    detections = found([BOX, BOX], [0.9, 0.8], images=[0, 0], class_ids=[0, 1])
    results = voc_ap(detections, truths([BOX, BOX], images=[0, 1], class_ids=[0, 0]), 2, metric="voc12")
    assert [result.ap for result in results] == [0.5, None]
    assert mean_ap(results) == 0.5


def test_ignored_detections_leave_no_point_on_the_curve():
    there = truths([BOX, BOX], images=[0, 1], difficult=[True, False])
    [result] = voc_ap(found([BOX, BOX], [0.9, 0.8], images=[0, 1]), there, 1, metric="voc07")
    assert (result.ap, result.precision.tolist(), result.scores.tolist()) == (1.0, [1.0], [0.8])
    assert (result.num_ground_truths, result.num_detections) == (1, 2)


def test_cutting_a_curve_equals_evaluating_the_better_detections_alone():
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 5, (200, 2))
    boxes = np.concatenate([corners, corners + rng.integers(3, 8, (200, 2))], axis=1)
    scores, images = rng.random(200), rng.integers(0, 10, 200)
    there = truths(boxes[:40].tolist(), images=images[:40].tolist())
    [whole] = voc_ap(found(boxes.tolist(), scores.tolist(), images=images.tolist()), there, 1, metric="voc12")
    kept = scores >= 0.4
    alone = found(boxes[kept].tolist(), scores[kept].tolist(), images=images[kept].tolist())
    [expected_result] = voc_ap(alone, there, 1, metric="voc12")
    assert 0 < expected_result.ap < whole.ap
    assert above(whole, 0.4, metric="voc12").ap == expected_result.ap


def test_a_float32_score_of_a_threshold_is_above_it():
    detections = FlatDetections(np.array([BOX]), np.array([0.01], np.float32), np.array([0]), np.array([0]))
    [result] = voc_ap(detections, truths([BOX], images=[0]), 1, metric="voc07")
    assert result.count_above(0.01) == 1
    assert result.count_above(0.0101) == 0


def test_cutting_leaves_a_class_without_objects_as_it_is():
    [result] = voc_ap(found([BOX], [0.9], images=[0]), NOTHING_THERE, 1, metric="voc07")
    assert above(result, 0.5, metric="voc07") is result


def test_a_size_range_evaluates_its_own_objects_only():
    small, large = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 100.0, 100.0)
    nowhere_small, nowhere_large = (200.0, 0.0, 210.0, 10.0), (200.0, 0.0, 260.0, 60.0)
    there = truths([small, large], images=[0, 0])
    detections = found([nowhere_large, large, nowhere_small, small], [0.9, 0.8, 0.7, 0.6], images=[0, 0, 0, 0])
    # Small: the two large ones are ignored; what is left is false, true. Large: true after false.
    for band in ((0.0, 24.0), (24.0, np.inf)):
        [result] = voc_ap_of_sizes(detections, there, 1, size_px=band, metric="voc12")
        assert (result.ap, result.num_ground_truths) == (0.5, 1)
        assert result.precision.tolist() == [0.0, 0.5]
    [none] = voc_ap_of_sizes(detections, there, 1, size_px=(10.5, 20.0), metric="voc12")
    assert none.ap is None


def test_a_duplicate_of_a_small_object_is_false_though_its_own_size_is_of_another_band():
    there = truths([(0.0, 0.0, 10.0, 10.0)], images=[0])
    detections = found([(0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 11.0, 11.0)], [0.9, 0.8], images=[0, 0])
    [result] = voc_ap_of_sizes(detections, there, 1, size_px=(0.0, 10.5), metric="voc12")
    assert result.precision.tolist() == [1.0, 0.5]


def table(rows: list, width: int) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, width)


def gts(*rows: tuple) -> GroundTruths:
    """Rows (box, class id, difficult, image)."""
    boxes, class_ids, difficult, images = zip(*rows, strict=True) if rows else ((), (), (), ())
    return GroundTruths(
        table(list(boxes), 4), np.array(class_ids, int), np.array(difficult, bool), np.array(images, int)
    )


def dets(*rows: tuple) -> FlatDetections:
    """Rows (box, score, class id, image)."""
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
    detections, ground_truths = dets(*rows), gts(*objects)
    verdicts = match(detections, ground_truths, 3, iou_threshold=iou_threshold).verdicts
    assert verdicts.tolist() == slow_match(detections, ground_truths, iou_threshold)


@given(detection_rows, truth_rows, st.randoms(use_true_random=False))
def test_g8_ties_are_settled_by_index_whatever_the_order_of_images(rows: list, objects: list, random):
    # Images may come in any order; within an image detections keep theirs.
    order = list(range(4))
    random.shuffle(order)
    moved = [row for image in order for row in rows if row[3] == image]
    indices = [index for image in order for index, row in enumerate(rows) if row[3] == image]
    expected = match(dets(*rows), gts(*objects), 3).verdicts
    np.testing.assert_array_equal(match(dets(*moved), gts(*objects), 3).verdicts, expected[indices])


def test_of_tied_detections_that_of_the_earlier_image_ranks_first():
    detections = dets((BOX, 0.5, 0, 1), (BOX, 0.5, 0, 0))
    assert match(detections, gts(), 1).ranking.tolist() == [1, 0]


def test_a_duplicate_is_false():
    matches = match(dets((BOX, 0.9, 0, 0), (BOX, 0.8, 0, 0)), gts((BOX, 0, False, 0)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]
    assert matches.ground_truths.tolist() == [0, 0], "the duplicate met the same object"


def test_the_better_score_wins_whatever_its_overlap():
    matches = match(dets(((0, 0, 10, 6), 0.9, 0, 0), (BOX, 0.8, 0, 0)), gts((BOX, 0, False, 0)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]


def test_a_detection_whose_best_object_is_taken_is_false_though_a_second_one_overlaps_enough():
    near = (0.0, 0.0, 10.0, 8.0)
    matches = match(dets((BOX, 0.9, 0, 0), (BOX, 0.8, 0, 0)), gts((BOX, 0, False, 0), (near, 0, False, 0)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]


def test_a_difficult_object_is_never_used_up():
    detections = dets(*[(BOX, score, 0, 0) for score in (0.9, 0.8, 0.7)])
    assert match(detections, gts((BOX, 0, True, 0)), 1).verdicts.tolist() == [IGNORED] * 3


def test_a_difficult_object_that_overlaps_most_hides_an_easy_one_behind_it():
    near = (0.0, 0.0, 10.0, 8.0)
    matches = match(dets((BOX, 0.9, 0, 0)), gts((near, 0, False, 0), (BOX, 0, True, 0)), 1)
    assert matches.verdicts.tolist() == [IGNORED]
    assert matches.ground_truths.tolist() == [1]


def test_an_overlap_of_exactly_the_threshold_is_enough():
    half, below = (0.0, 0.0, 10.0, 5.0), (0.0, 0.0, 10.0, 4.999)
    matches = match(dets((half, 0.9, 0, 0), (below, 0.8, 0, 1)), gts((BOX, 0, False, 0), (BOX, 0, False, 1)), 1)
    assert matches.verdicts.tolist() == [TRUE, FALSE]
    assert matches.ground_truths.tolist() == [0, NO_OBJECT]


def test_of_two_objects_that_overlap_the_same_the_first_is_taken():
    matches = match(dets((BOX, 0.9, 0, 0)), gts((BOX, 0, False, 0), (BOX, 0, False, 0)), 1)
    assert matches.ground_truths.tolist() == [0]


@pytest.mark.parametrize("detection", [(BOX, 0.9, 1, 0), (BOX, 0.9, 0, 1)], ids=["class", "picture"])
def test_objects_of_another_class_or_image_are_not_matched(detection: tuple):
    assert match(dets(detection), gts((BOX, 0, False, 0)), 2).verdicts.tolist() == [FALSE]


def test_no_detections_and_no_objects_are_legal():
    for detections, ground_truths in [
        (dets(), gts((BOX, 0, False, 0))),
        (dets(), gts()),
    ]:
        matches = match(detections, ground_truths, 1)
        assert matches.verdicts.shape == matches.ground_truths.shape == matches.ranking.shape == (0,)


def test_boxes_without_area_are_false_and_divide_nothing_by_zero():
    point = (5.0, 5.0, 5.0, 5.0)
    matches = match(dets((point, 0.9, 0, 0)), gts((point, 0, False, 0)), 1, iou_threshold=0.0)
    assert matches.verdicts.tolist() == [FALSE]


@pytest.mark.parametrize("class_id", [-1, 3])
def test_a_class_id_that_is_no_class_is_refused(class_id: int):
    with pytest.raises(ValueError, match="do not fit 3 classes"):
        match(dets((BOX, 0.9, class_id, 0)), gts(), 3)
