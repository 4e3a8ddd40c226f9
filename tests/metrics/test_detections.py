from __future__ import annotations

import numpy as np
import pytest

from singleshot.errors import DataError
from singleshot.metrics.detections import FlatDetections, GroundTruths
from singleshot.structures import Detections

BOX = (0.0, 0.0, 10.0, 10.0)


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


@pytest.mark.parametrize(
    "box, score", [(BOX, np.nan), (BOX, np.inf), ((0, 0, np.nan, 1), 0.5), ((-np.inf, 0, 1, 1), 1)]
)
def test_g6_a_score_or_box_that_is_not_finite_is_refused_with_its_image(box: tuple, score: float):
    with pytest.raises(DataError, match="in image 8 of the split"):
        dets((BOX, 0.5, 0, 0), (box, score, 0, 7))


def test_images_become_one_table_in_the_order_of_the_split():
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
    flat = FlatDetections.from_images([empty, two, empty, two])
    assert flat.image_indices.tolist() == [1, 1, 3, 3]
    assert flat.class_ids.tolist() == [1, 0, 1, 0]
    assert len(FlatDetections.from_images([])) == len(GroundTruths.from_samples([])) == 0
