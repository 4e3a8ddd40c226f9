from __future__ import annotations

import numpy as np
import pytest

from singleshot.metrics.bootstrap import drawings, interval, resampled_map
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.metrics.voc_ap import Metric, mean_ap, voc_ap

CLASSES = 3


def split(images: int = 12, seed: int = 0) -> tuple[FlatDetections, GroundTruths]:
    """Objects, and detections that are some of them moved a little, with others at random."""
    rng = np.random.default_rng(seed)
    count = 4 * images
    corners = rng.uniform(0, 80, (count, 2))
    truths = np.concatenate([corners, corners + rng.uniform(10, 30, (count, 2))], axis=1)
    ids, where = rng.integers(0, CLASSES, count), np.sort(rng.integers(0, images, count))
    difficult = rng.random(count) < 0.1
    moved = truths + rng.normal(0, 2, truths.shape)
    wrong = rng.uniform(0, 60, (count, 2))
    others = np.concatenate([wrong, wrong + 20], axis=1)
    boxes = np.concatenate([moved, others])
    places = np.concatenate([where, rng.integers(0, images, count)])
    order = np.argsort(places, kind="stable")
    scores = rng.random(2 * count).astype(np.float32)
    labels = np.concatenate([ids, rng.integers(0, CLASSES, count)])
    found = FlatDetections(boxes[order], scores[order], labels[order], places[order])
    return found, GroundTruths(truths, ids, difficult, where)


def copied(found: FlatDetections, truths: GroundTruths, drawn: np.ndarray) -> tuple[FlatDetections, GroundTruths]:
    """The split of these images, each copy an image of its own."""
    rows = [np.flatnonzero(found.image_indices == image) for image in drawn]
    objects = [np.flatnonzero(truths.image_indices == image) for image in drawn]
    at = np.repeat(np.arange(len(drawn)), [len(each) for each in rows])
    there = np.repeat(np.arange(len(drawn)), [len(each) for each in objects])
    row, object_ = np.concatenate(rows), np.concatenate(objects)
    return (
        FlatDetections(found.boxes_xyxy[row], found.scores[row], found.class_ids[row], at),
        GroundTruths(truths.boxes_xyxy[object_], truths.class_ids[object_], truths.difficult[object_], there),
    )


@pytest.mark.parametrize("metric", ["voc07", "voc12"])
def test_a_drawing_is_worth_what_the_protocol_gives_a_split_of_its_copies(metric: Metric) -> None:
    images = 12
    found, truths = split(images)
    values = resampled_map(found, truths, CLASSES, images=images, metric=metric, samples=20, seed=3)
    rng = np.random.default_rng(3)
    for value in values:
        drawn = np.sort(rng.integers(images, size=images))
        expected = mean_ap(voc_ap(*copied(found, truths, drawn), CLASSES, metric=metric))
        assert expected is not None and value == pytest.approx(expected, abs=1e-12)


def test_the_figure_of_the_split_lies_within_its_interval() -> None:
    found, truths = split(60)
    whole = mean_ap(voc_ap(found, truths, CLASSES, metric="voc12"))
    bounds = interval(resampled_map(found, truths, CLASSES, images=60, metric="voc12"))
    assert bounds is not None and whole is not None
    assert bounds[0] < whole < bounds[1] and 0.01 < bounds[1] - bounds[0] < 0.3


def test_more_images_make_a_narrower_interval() -> None:
    widths = []
    for images in (30, 480):
        bounds = interval(resampled_map(*split(images), CLASSES, images=images, metric="voc12"))
        assert bounds is not None
        widths.append(bounds[1] - bounds[0])
    assert widths[1] < widths[0] / 2.5  # a sixteenth of the images is four times the deviation


def test_several_thresholds_are_averaged_and_equal_seeds_draw_equal_images() -> None:
    found, truths = split()
    one, other = (
        resampled_map(found, truths, CLASSES, images=12, metric="voc12", iou_thresholds=(each,), samples=30)
        for each in (0.5, 0.75)
    )
    both = resampled_map(found, truths, CLASSES, images=12, metric="voc12", iou_thresholds=(0.5, 0.75), samples=30)
    np.testing.assert_allclose(both, (one + other) / 2)


def test_without_detections_every_drawing_scores_nought_and_without_objects_none_is_measured() -> None:
    found, truths = split()
    none = FlatDetections(np.zeros((0, 4)), np.zeros(0, np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64))
    assert interval(resampled_map(none, truths, CLASSES, images=12, metric="voc12")) == (0.0, 0.0)
    nothing = GroundTruths(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, np.int64))
    assert interval(resampled_map(found, nothing, CLASSES, images=12, metric="voc07")) is None


def test_every_drawing_has_as_many_images_as_the_split_and_the_seed_settles_it() -> None:
    drawn = drawings(7, samples=5, seed=2)
    assert drawn.shape == (5, 7) and drawn.sum(axis=1).tolist() == [7] * 5 and drawn.min() >= 0
    assert np.array_equal(drawn, drawings(7, samples=5, seed=2)) and not np.array_equal(drawn, drawings(7, samples=5))
    assert drawings(1, samples=2).tolist() == [[1], [1]]
